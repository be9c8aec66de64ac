"""Stage 2, infer: every model predicts the new events, and the champion's word is served."""

from __future__ import annotations

import functools

from prefect import task

from millrace.infer import infer as predict
from tasks.artifacts import show
from tasks.progress import shown


@task(task_run_name="infer-{dataset}", retries=2, retry_delay_seconds=5)
async def infer(dataset: str) -> list[str]:
    """Compute features, predict, and fill the outbox. Return what did not work: all else is committed, and trying again
    would only forget it.
    """
    report = await shown("infer", dataset, functools.partial(predict, dataset))
    await show("infer", report)
    return report.problems
