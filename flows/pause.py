"""Stop learning, or go on with it; predicting and serving go on."""

from __future__ import annotations

from prefect import flow

from tasks.control import give
from tasks.forms import DatasetName
from tasks.run import succeed


@flow(flow_run_name="pause-{dataset}")
async def pause(dataset: DatasetName, reason: str, off: bool = False) -> None:
    """Let answers wait: they are learned later, in the same order, so that the models are those without a pause.

    Args:
        dataset: The dataset.
        reason: Why; it is kept with the order, and shown while the pause lasts.
        off: Learn again, from the next tick on.
    """
    succeed(await give("pause", dataset, reason=reason, off=off))
