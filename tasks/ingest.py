"""Stage 1, ingest: files of events and labels become rows of tables."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from millrace.ingest import ingest as take_in
from tasks.artifacts import show


@task(task_run_name="ingest-{dataset}", retries=2, retry_delay_seconds=5)
async def ingest(dataset: str, docs: str | None = None) -> None:
    """Take in what lies in the landing folder."""
    await show("ingest", take_in(dataset, Path(docs) if docs else None))
