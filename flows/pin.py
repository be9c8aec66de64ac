"""Freeze who is champion, or which version is served, until the pin is lifted."""

from __future__ import annotations

from prefect import flow

from tasks.control import give
from tasks.forms import DatasetName
from tasks.run import succeed


@flow(flow_run_name="pin-{dataset}")
async def pin(dataset: DatasetName, reason: str, what: str | None = None, off: bool = False) -> None:
    """Let the race promote nobody; with a version, serve that one, while learning goes on.

    Args:
        dataset: The dataset.
        reason: Why; it is kept with the order, and shown while the pin holds.
        what: A version (v12), or a model for its newest version; nothing pins the champion's place alone.
        off: Lift the pin.
    """
    succeed(await give("pin", dataset, what=what, reason=reason, off=off))
