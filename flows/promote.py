"""Make a model champion by hand, or see what the rule of the race would do."""

from __future__ import annotations

from prefect import flow

from tasks.control import give
from tasks.forms import DatasetName
from tasks.run import succeed


@flow(flow_run_name="promote-{dataset}")
async def promote(dataset: DatasetName, model: str | None = None, reason: str = "", dry_run: bool = False) -> None:
    """Serve a model's predictions from the next events on, whatever the race says.

    Args:
        dataset: The dataset.
        model: The model.
        reason: Why; it is kept with the promotion.
        dry_run: Change nothing; show what the rule of the race would do now, and what is missing.
    """
    succeed(await give("promote", dataset, model=model, reason=reason, dry_run=dry_run))
