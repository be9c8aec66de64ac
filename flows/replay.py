"""Answer one question about a dataset's past: build its models again, prove them, bring one back, or give them a past."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from prefect import flow

from tasks.forms import DatasetName
from tasks.replay import replay as answer
from tasks.run import succeed


@flow(flow_run_name="replay-{dataset}")
async def replay(
    dataset: DatasetName,
    model: str | None = None,
    verify: bool = False,
    every: bool = False,
    to: str | None = None,
    backfill: bool = False,
    events: tuple[Path, ...] = (),
    labels: tuple[Path, ...] = (),
    cadence: timedelta | None = None,
    what_if: bool = False,
    policy: tuple[str, ...] = (),
) -> None:
    """Fold a dataset's models from the first example of the log, by their definitions as they are now.

    Or, one at a time: verify what is on record, make a model as it was a version, bring in history, compute features again,
    or tell what would have been served under another policy.

    Args:
        dataset: The dataset.
        model: The model; all by default.
        verify: Change nothing; compare with what is on record, and fail where it differs.
        every: In verifying, compare the digest of every checkpoint, not only of as many as cost little.
        to: Make the model as it was at this time or seq a version in MLflow: 2013-01-20T12:00Z, 12000.
        backfill: Bring in history in one go, and race over it; without files, go on with one that was cut off.
        events: Files of past events: Parquet, CSV, NDJSON.
        labels: Files of their labels.
        cadence: In a backfill, predictions as if models had been published so often; the dataset's own by default.
        what_if: Compute past events' features by today's definitions, beside the log, for validate.
        policy: What would have been served under another rule, cadence or set of models: minimum=500, cadence=1d, models=a+b.
    """
    asked = {"verify": verify, "every": every, "to": to, "backfill": backfill, "events": events, "labels": labels}
    succeed(await answer(dataset, model, {**asked, "cadence": cadence, "what_if": what_if, "policy": policy}))
