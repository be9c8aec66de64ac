"""Learn from the new answers of one dataset."""

from __future__ import annotations

from prefect import flow

from tasks.forms import DatasetName
from tasks.run import learn as join_fold_score_publish
from tasks.run import succeed


@flow(flow_run_name="learn-{dataset}")
async def learn(dataset: DatasetName) -> None:
    """Join a dataset's new answers, learn them, score the race, and publish.

    Args:
        dataset: The dataset.
    """
    succeed(await join_fold_score_publish(dataset))
