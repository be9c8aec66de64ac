"""Models are built again from the log, or proven to be what it gives."""

from __future__ import annotations

from prefect import task

from millrace.replay import replay as rebuild
from millrace.replay import verify as prove
from tasks.artifacts import show


@task(task_run_name="replay-{dataset}")
async def replay(dataset: str, model: str | None, verify: bool, every: bool) -> list[str]:
    """Build models again from the first example, or fold them again and compare. Return what did not work."""
    report = prove(dataset, model, every) if verify else rebuild(dataset, model)
    await show("verify" if verify else "replay", report)
    return report.problems
