"""Take in the files of one dataset."""

from __future__ import annotations

from prefect import flow

from tasks.forms import DatasetName
from tasks.ingest import ingest as take_in


@flow(flow_run_name="ingest-{dataset}")
async def ingest(dataset: DatasetName, docs: str | None = None) -> None:
    """Take in what lies in a dataset's landing folder.

    Args:
        dataset: The dataset.
        docs: A folder into which Great Expectations writes its Data Docs.
    """
    await take_in(dataset, docs)
