"""Everything about one event is told."""

from __future__ import annotations

from prefect import task

from millrace.explain import explain as account
from tasks.artifacts import show
from tasks.progress import shown


@task(task_run_name="explain-{dataset}")
async def explain(dataset: str, event_id: str, from_nothing: bool) -> list[str]:
    """Tell everything about one event, as an artifact. Return what differs when it is made again."""
    report = await shown("explain", dataset, lambda progress: account(dataset, event_id, from_nothing, progress))
    await show("explain", report)
    return list(report.problems)
