"""Build models of one dataset again from its log, or prove that they are what it gives."""

from __future__ import annotations

from prefect import flow

from tasks.forms import DatasetName
from tasks.replay import replay as fold_again
from tasks.run import succeed


@flow(flow_run_name="replay-{dataset}")
async def replay(dataset: DatasetName, model: str | None = None, verify: bool = False, every: bool = False) -> None:
    """Fold a dataset's models from the first example of the log, by their definitions as they are now.

    Args:
        dataset: The dataset.
        model: The model; all by default.
        verify: Change nothing; compare with what is on record, and fail where it differs.
        every: In verifying, compare the digest of every checkpoint, not only of as many as cost little.
    """
    succeed(await fold_again(dataset, model, verify, every))
