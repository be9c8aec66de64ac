"""Tell everything about one event of a dataset."""

from __future__ import annotations

from prefect import flow

from tasks.explain import explain as tell
from tasks.forms import DatasetName
from tasks.run import succeed


@flow(flow_run_name="explain-{dataset}")
async def explain(dataset: DatasetName, event_id: str, from_nothing: bool = False) -> None:
    """Tell where an event came from, what was said of it, what became of its label, and say each prediction again.

    Args:
        dataset: The dataset.
        event_id: The event.
        from_nothing: Fold each model from its fresh state, not from the checkpoint before: slow.
    """
    succeed(await tell(dataset, event_id, from_nothing))
