"""Make the champion before the present one champion again."""

from __future__ import annotations

from prefect import flow

from tasks.control import give
from tasks.forms import DatasetName
from tasks.run import succeed


@flow(flow_run_name="rollback-{dataset}")
async def rollback(dataset: DatasetName, reason: str) -> None:
    """Promote the champion before the present one again; a second rollback takes the first one back.

    Args:
        dataset: The dataset.
        reason: Why; it is kept with the promotion.
    """
    succeed(await give("rollback", dataset, reason=reason))
