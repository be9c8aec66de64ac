"""Maintain the tables of every dataset that has gathered many small files; a tick does the same."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow

from tasks.forms import ALL, DatasetNameOrAll
from tasks.maintain import due
from tasks.maintain import maintain as join_and_remove
from tasks.run import succeed


@flow(flow_run_name="maintain-{dataset}")
async def maintain(dataset: DatasetNameOrAll = ALL, keep: timedelta = timedelta(days=30), dry_run: bool = False) -> None:
    """Join small files, and remove what nothing needs any more, while the other flows run.

    Args:
        dataset: One dataset, now; or all that have gathered many small files.
        keep: How long files that were taken in are kept.
        dry_run: Change nothing; tell what would be removed.
    """
    datasets, broken = due(dataset)
    problems = [problem for name in datasets for problem in await join_and_remove(name, keep, dry_run)]
    succeed(broken + problems)
