"""Questions about the past are answered: models are built again, proven, brought back, or given a past."""

from __future__ import annotations

from typing import Any

from prefect import task

from millrace.past import ask
from tasks.artifacts import picture, show
from tasks.progress import shown


@task(task_run_name="replay-{dataset}")
async def replay(dataset: str, model: str | None, asked: dict[str, Any]) -> list[str]:
    """Answer one question about a dataset's past. Return what did not work, or differs."""
    stage = "verify" if asked["verify"] else "replay"
    report = await shown(stage, dataset, lambda progress: ask(dataset, model, **asked, progress=progress))
    await show(stage, report)
    if drawn := getattr(report, "picture", None):
        await picture(stage, dataset, drawn)
    return report.problems
