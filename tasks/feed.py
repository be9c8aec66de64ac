"""Stored data arrives again, as landing files."""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect import task

import millrace.feed as stage
from tasks.artifacts import show


@task(task_run_name="feed-{dataset}")
async def feed(dataset: str, start: datetime | None, end: datetime | None, every: timedelta, format: str) -> None:
    """Cut stored data into landing files."""
    await show("feed", stage.feed(dataset, start, end, every, format))
