"""How does stored data arrive again, as it once did?

A dataset's stored data is cut into landing files: events by their time, labels by theirs, a pair of files a step, each
renamed into place when it is whole.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from millrace import catalog, landing
from millrace.casting import UTC_MICROSECONDS
from millrace.clock import aware
from millrace.dataset import Dataset
from millrace.errors import DatasetError, UsageError, unknown

FORMATS = ("ndjson", "csv", "parquet", "ndjson.gz", "csv.gz")
_RFC3339 = "%Y-%m-%dT%H:%M:%S%.6fZ"


@dataclass
class FeedReport:
    """What was put into the landing folder."""

    dataset: str
    files: list[Path] = field(default_factory=list)
    events: int = 0
    labels: int = 0

    def __str__(self) -> str:
        return (
            f"{len(self.files):,} files with {self.events:,} events and {self.labels:,} labels in {landing.folder(self.dataset)}/"
        )


def history(dataset: Dataset) -> pl.DataFrame:
    """Return a dataset's stored data, in order of event time.

    Columns are ``event_id``, ``event_time``, the raw columns, ``label`` (null: never answered) and ``label_time``.

    Raises
    ------
    UsageError
        When the dataset has none.
    DatasetError
        When it lacks a column.
    """
    if dataset.history is None:
        raise UsageError(f"dataset {dataset.name!r} has no stored data; give its file history=, a Parquet file or a function")
    if callable(dataset.history):
        frame = dataset.history()
    else:
        path = dataset.path.parent / dataset.history
        if not path.is_file():
            raise DatasetError(f"{dataset.path}: history {path} is not there")
        frame = pl.read_parquet(path)
    wanted = ["event_id", "event_time", *dataset.event.columns, "label", "label_time"]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DatasetError(f"{dataset.path}: the history has no column {missing[0]!r}; it has {', '.join(frame.columns)}")
    times = pl.col("event_time", "label_time").cast(UTC_MICROSECONDS)
    return frame.select(wanted).with_columns(times).sort("event_time", maintain_order=True)


def feed(
    name: str,
    start: datetime | None = None,
    end: datetime | None = None,
    every: timedelta = timedelta(days=1),
    format: str = "ndjson",
) -> FeedReport:
    """Cut a dataset's stored data into landing files.

    Parameters
    ----------
    start, end
        From this moment to (and without) that one; all of it by default.
    every
        How much time a pair of files covers.
    format
        ``ndjson``, ``csv``, ``parquet``, ``ndjson.gz`` or ``csv.gz``.

    Raises
    ------
    UsageError
        When there is no such dataset or format, or the dataset has no stored data.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    dataset = catalog.load(name)
    report = FeedReport(name)
    stored = history(dataset)
    for moment in moments(stored, start, end, every):
        put(dataset, stored, moment, moment + every, report, format)
    return report


def moments(stored: pl.DataFrame, start: datetime | None, end: datetime | None, every: timedelta) -> Iterator[datetime]:
    """Return the beginnings of the steps from one moment to another; the first lies on the grid of days and hours."""
    if not stored.height:
        return
    first = stored["event_time"].dt.truncate("1d" if every >= timedelta(days=1) else "1h")[0]
    moment = aware(start) if start else first
    last = aware(end) if end else stored.select(pl.max_horizontal(pl.col("event_time").max(), pl.col("label_time").max())).item()
    while moment < last or (end is None and moment == last):
        yield moment
        moment += every


def put(
    dataset: Dataset, stored: pl.DataFrame, start: datetime, end: datetime, report: FeedReport, format: str = "ndjson"
) -> None:
    """Put one step's events and labels into the landing folder; a file without rows is not made."""
    event, label = dataset.event, dataset.labels
    events = stored.filter(pl.col("event_time").is_between(start, end, closed="left")).drop("label", "label_time")
    answered = stored.filter(pl.col("label").is_not_null() & pl.col("label_time").is_between(start, end, closed="left"))
    labels = answered.select("event_id", "label", "label_time").sort("label_time", maintain_order=True)
    report.events += events.height
    report.labels += labels.height
    names = {"event_id": event.id, "event_time": event.time}
    _write(dataset, "events", events.rename(names), start, format, report)
    _write(
        dataset,
        "labels",
        labels.rename({"event_id": label.id, "label": label.label, "label_time": label.time}),
        start,
        format,
        report,
    )


def _write(dataset: Dataset, kind: str, rows: pl.DataFrame, start: datetime, format: str, report: FeedReport) -> None:
    if not rows.height:
        return
    final = landing.folder(dataset.name) / f"{kind}-{start:%Y-%m-%dT%H%M}.{format}"
    aside = final.with_name(final.name + ".tmp")
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.write_bytes(_encoded(rows, format))
    aside.replace(final)
    report.files.append(final)


def _encoded(rows: pl.DataFrame, format: str) -> bytes:
    buffer = io.BytesIO()
    if format == "parquet":
        rows.write_parquet(buffer)
        return buffer.getvalue()
    times = [pl.col(name).dt.strftime(_RFC3339) for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    text = rows.with_columns(times)
    if format.startswith("csv"):
        text.write_csv(buffer)
    else:
        text.write_ndjson(buffer)
    return gzip.compress(buffer.getvalue(), mtime=0) if format.endswith(".gz") else buffer.getvalue()
