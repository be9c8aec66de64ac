"""Let stored data of one dataset arrive again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from prefect import flow

from tasks.feed import feed as cut
from tasks.forms import DatasetName


@flow(flow_run_name="feed-{dataset}")
async def feed(
    dataset: DatasetName,
    start: datetime | None = None,
    end: datetime | None = None,
    every: timedelta = timedelta(days=1),
    format: Literal["ndjson", "csv", "parquet", "ndjson.gz", "csv.gz"] = "ndjson",
) -> None:
    """Cut a dataset's stored data into landing files.

    Args:
        dataset: The dataset.
        start: From this moment; the beginning by default.
        end: To (and without) this moment; the end by default.
        every: How much time a pair of files covers.
        format: What kind of files.
    """
    await cut(dataset, start, end, every, format)
