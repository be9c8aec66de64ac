"""Stage 2, infer: every model predicts the new events, and the champion's word is served."""

from __future__ import annotations

from prefect import task

from millrace.infer import infer as predict
from tasks.artifacts import show


@task(task_run_name="infer-{dataset}", retries=2, retry_delay_seconds=5)
async def infer(dataset: str) -> None:
    """Compute features, predict, and fill the outbox."""
    await show("infer", predict(dataset))
