"""Tables stay quick to read: small files are joined, and what nothing needs any more is removed."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from millrace import catalog
from millrace.maintain import KEEP_FILES
from millrace.maintain import due as is_due
from millrace.maintain import maintain as join_and_remove
from tasks.artifacts import show
from tasks.forms import ALL


def due(chosen: str) -> tuple[list[str], list[str]]:
    """Return the datasets to maintain, the chosen one or all that are due, and what is wrong with broken ones."""
    if chosen != ALL:
        return [chosen], []
    datasets, broken = catalog.load_all()
    return [one.name for one in datasets if is_due(one.name)], [str(error) for error in broken]


@task(task_run_name="maintain-{dataset}")
async def maintain(dataset: str, keep: timedelta = KEEP_FILES, dry_run: bool = False) -> list[str]:
    """Join a dataset's small files, and remove what nothing needs, or tell what that is. Return what did not work."""
    report = join_and_remove(dataset, keep, dry_run)
    await show("maintain", report)
    return report.problems
