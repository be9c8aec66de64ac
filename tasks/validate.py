"""Models are judged by progressive validation."""

from __future__ import annotations

from typing import Any

from prefect import task

from millrace.validate import validate as judge
from tasks.artifacts import picture, show
from tasks.progress import shown


@task(task_run_name="validate-{dataset}")
async def validate(dataset: str, models: tuple[str, ...], asked: dict[str, Any]) -> list[str]:
    """Judge models, and show the scores. Return what did not work."""
    report = await shown("validate", dataset, lambda progress: judge(dataset, *models, **asked, progress=progress))
    await show("validate", report)
    if report.picture:
        await picture("validate", dataset, report.picture)
    return report.problems
