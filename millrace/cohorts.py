"""Which events have matured, which are still open, and what had each model said of them?

An event has matured when nothing can change what became of it (the table ``outcomes``): a cohort of matured events is a fair
sample. Open are those whose window has not closed yet; some of them have a label already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from millrace import task
from millrace.clock import microseconds
from millrace.dataset import Dataset
from millrace.loss import Prediction
from millrace.tables import Table, at_arrivals
from millrace.waiting import WaitingRoom

MOST = 10_000
"""So many matured events, and so many open ones, are looked at, where they are more."""
STRETCH = 1_000
"""These are stretches of so many, one after the other; of all stretches every second, third …, so that few files are read."""
_WINDOWS = 4
"""Matured events are looked at over so many windows: what was known before a cohort is a window older than it."""


# Of those that are looked at the answer: the first label, or the first that is contrary to the default that was learned.
_OPEN = """
SELECT arrival, time, CASE labelled WHEN 0 THEN NULL ELSE (
    SELECT value FROM label WHERE event_id = e.event_id AND event = e.arrival AND label.time >= e.time
    ORDER BY value IS ?, arrival LIMIT 1
) END FROM (
    SELECT *, (row_number() OVER (ORDER BY arrival) - 1) / ? AS stretch FROM event WHERE {}
) e WHERE stretch % ? = 0 ORDER BY arrival
"""


@dataclass(frozen=True)
class Events:
    """Events, stretch by stretch; each stands for ``each`` of its kind (nearly, where the last stretch is cut short).

    Columns of ``frame``: ``arrival``, ``event_time``, ``label`` (null while there is none) and ``known``, the data's clock when
    they were matured (of open ones null).
    """

    frame: pl.DataFrame
    each: int


@dataclass(frozen=True)
class Said:
    """What one model had said of events before it could know, in order of arrival.

    ``time`` and ``known`` are microseconds; ``label`` is None while there is none.
    """

    predictions: list[Prediction]
    label: list[Any]
    time: np.ndarray[Any, np.dtype[np.int64]]
    known: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def nothing(cls) -> Said:
        """Return what a model had said that was not asked."""
        return cls([], [], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def matured(dataset: Dataset) -> Events:
    """Return the last matured events: 10,000, or as many of the last four windows, in stretches."""
    outcomes = Table(dataset.name, "outcomes")
    last = outcomes.cursor("number")
    newest = outcomes.read("clock", where=pl.col("number") == last)["clock"]
    reach = MOST
    if newest.len() and dataset.labels.window is not None:
        since = newest[0] - _WINDOWS * dataset.labels.window
        reach = max(reach, outcomes.read("number", where=pl.col("clock") >= since).height)
    each = -(-reach // MOST)
    place = pl.col("number") - (last - reach + 1)
    wanted = (place >= 0) & (place // STRETCH % each == 0)
    columns = (pl.col("event_arrival").alias("arrival"), "event_time", "label", pl.col("clock").alias("known"))
    return Events(outcomes.read(*columns, where=wanted), each)


def open_events(dataset: Dataset, room: WaitingRoom, clock: datetime | None) -> Events:
    """Return the events whose window is open; without a window those that wait for a label, and may get one."""
    schema = {"arrival": pl.Int64(), "event_time": pl.Datetime("us", "UTC"), "label": dataset.label_column.dtype}
    lasts = dataset.labels.window or dataset.id_horizon
    since = 0 if clock is None or lasts is None else microseconds(clock - lasts)
    which = "time >= ?" if dataset.labels.window else "labelled = 0 AND time >= ?"
    events = room.select(f"SELECT count(*) FROM event WHERE {which}", since, columns={"events": pl.Int64}).item()
    each = max(1, -(-events // MOST))
    columns = {"arrival": pl.Int64, "event_time": schema["event_time"], "value": pl.String}
    learned = str(dataset.labels.default).lower() if dataset.labels.policy == "provisional" else None
    rows = room.select(_OPEN.format(which), learned, STRETCH, since, each, columns=columns)
    label = pl.col("value") == "true" if schema["label"] == pl.Boolean else pl.col("value").cast(schema["label"])
    known = pl.lit(None, dtype=schema["event_time"]).alias("known")
    return Events(rows.select("arrival", "event_time", label.alias("label"), known), each)


def said(dataset: Dataset, events: Events) -> Iterator[tuple[str, Said]]:
    """Yield what each model had said of these events, by its name; events of which it had said nothing in time are left out."""
    fair = ~pl.col("answered") & pl.col("origin").is_in(["live", "backfill"])
    stretches = [events.frame["arrival"].slice(at, STRETCH) for at in range(0, max(events.frame.height, 1), STRETCH)]
    where = pl.any_horizontal(map(at_arrivals, stretches)) & fair
    rows = Table(dataset.name, "predictions").read("arrival", "model", *task.columns(dataset), where=where)
    rows = rows.unique(["arrival", "model"], keep="last", maintain_order=True)
    rows = rows.join(events.frame, on="arrival", how="inner", maintain_order="left")
    for (model,), own in rows.group_by("model", maintain_order=True):
        time, known = (own[name].to_physical().fill_null(0).to_numpy() for name in ("event_time", "known"))
        yield str(model), Said(task.from_columns(dataset, own), own["label"].to_list(), time, known)


def cohort_length(events: list[Events]) -> timedelta:
    """Return the length of cohorts: an hour, six, a day, a week, four, or a year.

    It is the shortest by which they are 40 at most, with 50 of these events each on average.
    """
    times = pl.concat([one.frame["event_time"] for one in events]).to_physical().to_numpy()
    span = timedelta(microseconds=int(np.ptp(times))) if times.size else timedelta(0)
    lengths = [timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(weeks=1), timedelta(weeks=4)]
    fitting = (length for length in lengths if span <= 40 * length and 50 * span <= times.size * length)
    return next(fitting, timedelta(days=365))
