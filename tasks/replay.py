"""Models are built again from the log, or proven to be what it gives."""

from __future__ import annotations

from prefect import task

from millrace.replay import replay as rebuild
from millrace.replay import verify as prove
from tasks.artifacts import show
from tasks.progress import shown


@task(task_run_name="replay-{dataset}")
async def replay(dataset: str, model: str | None, verify: bool, every: bool) -> list[str]:
    """Build models again from the first example, or fold them again and compare. Return what did not work."""
    if verify:
        proven = await shown("verify", dataset, lambda progress: prove(dataset, model, every, progress))
        await show("verify", proven)
        return proven.problems
    rebuilt = await shown("replay", dataset, lambda progress: rebuild(dataset, model, progress))
    await show("replay", rebuilt)
    return rebuilt.problems
