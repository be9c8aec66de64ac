"""Predict the new events of one dataset."""

from __future__ import annotations

from prefect import flow

from tasks.forms import DatasetName
from tasks.infer import infer as predict
from tasks.run import succeed


@flow(flow_run_name="infer-{dataset}")
async def infer(dataset: DatasetName) -> None:
    """Predict a dataset's new events with every model's published version.

    Args:
        dataset: The dataset.
    """
    succeed(await predict(dataset))
