"""Stored data arrives again, as landing files."""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect import task

from millrace.feed import feed as cut
from tasks.artifacts import show


@task(task_run_name="feed-{dataset}")
async def feed(dataset: str, start: datetime | None, end: datetime | None, every: timedelta, format: str) -> None:
    """Cut stored data into landing files."""
    await show("feed", cut(dataset, start, end, every, format))
