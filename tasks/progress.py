"""How far has a long piece of work come? A bar in the Prefect UI, once it turns out to be long."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from millrace.parallel import Progress

T = TypeVar("T")


async def shown(stage: str, dataset: str, work: Callable[[Progress], T]) -> T:
    """Do a piece of work beside the event loop, and show how far each of its models has come.

    Parameters
    ----------
    stage, dataset
        Of which the artifact's key is made: ``<stage>-<dataset>-<model>``.
    work
        Is given what to tell its progress to.
    """
    loop = asyncio.get_running_loop()
    bars: dict[str, UUID] = {}

    async def show(model: str, seq: int, head: int) -> None:
        percent = 100 * seq / max(head, 1)  # a race without outcomes has nothing to go over
        if model in bars:
            await aupdate_progress_artifact(bars[model], progress=percent)
        elif seq < head:  # what is done at once needs no bar
            key = re.sub(r"[^a-z0-9]+", "-", f"{stage}-{dataset}-{model}".lower()).strip("-")
            made = await acreate_progress_artifact(progress=percent, key=key, description=f"{stage} {dataset} {model}")
            bars[model] = made if isinstance(made, UUID) else made.id

    def tell(model: str, seq: int, head: int) -> None:
        asyncio.run_coroutine_threadsafe(show(model, seq, head), loop).result()

    return await asyncio.to_thread(work, tell)
