"""What becomes of each row of a batch of files?

A row is good, a duplicate, or quarantined with its reasons; nothing else, and every one is counted. What becomes of it
depends on the rows that arrived before it, never on how they were cut into files or batches (but for expectations of a
whole table, which are told of the batch). Rows arrive in the order of their files; those of a history in that of their times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from millrace import layout, tables
from millrace.casting import UTC_MICROSECONDS, Id, Moment, cast
from millrace.dataset import Dataset
from millrace.errors import DatasetError
from millrace.identity import judge
from millrace.landing import KINDS, TakenFile
from millrace.reading import Reading, read
from millrace.schema import Column
from millrace.tables import Table
from millrace.waiting import WaitingRoom


@dataclass(frozen=True)
class Parsed:
    """The rows that a batch adds to each table; ``total`` rows came in, ``clock`` is the data's clock after them."""

    files: pl.DataFrame
    events: pl.DataFrame
    labels: pl.DataFrame
    quarantine: pl.DataFrame
    total: int
    clock: datetime | None


class _Batch:
    """What is collected while a batch's files are read, in order."""

    def __init__(self, dataset: Dataset, first: int) -> None:
        self.dataset = dataset
        self.columns = _columns(dataset)
        self.schemas = layout.schemas(dataset)
        self.first = self.next = first
        self.came: pl.Series | None = None
        self.notes: list[str] = []
        self.unjudged: dict[str, dict[pl.DataType, list[pl.DataFrame]]] = {kind: {} for kind in KINDS}
        self.bad: list[pl.DataFrame] = []
        self.files: list[dict[str, Any]] = []
        self.readings: dict[int, tuple[Reading, int, TakenFile]] = {}
        self.nonfinite: Counter[int] = Counter()

    def quarantine(self, kind: str, rows: pl.DataFrame) -> None:
        """Quarantine rows (``arrival``, ``file``, ``line``, ``event_id``, ``reasons``), with their bytes as they came."""
        for (number,), some in rows.group_by("file", maintain_order=True):
            reading, first, file = self.readings[int(number)]
            came = some["arrival"] if self.came is None else self.came.gather(some["arrival"] - self.first)
            raw = reading.raw((came - first).to_list())
            self._keep(file, some.with_columns(raw=pl.Series(raw, dtype=pl.Binary), kind=pl.lit(kind)))

    def _keep(self, file: TakenFile, rows: pl.DataFrame) -> None:
        stamped = rows.with_columns(
            file=pl.lit(file.number), stage=pl.lit("ingest"), at=pl.lit(file.received, dtype=UTC_MICROSECONDS)
        )
        self.bad.append(stamped.select(pl.col(name).cast(dtype) for name, dtype in self.schemas["quarantine"].items()))

    def read(self, file: TakenFile) -> None:
        """Read the rows of a file, which get the next arrival numbers."""
        first, columns = self.next, list(self.columns[file.kind])
        reading = read(file.name, file.data, columns)
        self.next += reading.total
        self.readings[file.number] = (reading, first, file)
        place = [
            (pl.col("@position") + first).alias("arrival"),
            pl.lit(file.number, dtype=pl.Int64).alias("file"),
            pl.col("@line").alias("line"),
        ]
        if reading.bad.height:
            unread = reading.bad.select(*place, "raw", pl.concat_list("reason").alias("reasons"))
            self._keep(file, unread.with_columns(kind=pl.lit(file.kind), event_id=pl.lit(None, dtype=pl.String)))
        latest = pl.lit(file.received + self.dataset.future, dtype=UTC_MICROSECONDS)
        rows = reading.rows.select(*place, missing="@missing", latest=latest, raw=pl.struct(columns))
        self.unjudged[file.kind].setdefault(rows.schema["raw"], []).append(rows)
        self.files.append(
            {
                "number": file.number, "name": file.name, "kind": file.kind, "sha256": file.sha256,
                "bytes": len(file.data), "modified": file.modified, "received": file.received,
                "first_arrival": first, "rows": reading.total, "extra": reading.extra,
                "path": str(file.path) if file.history else None,
            }
        )  # fmt: skip

    def by_time(self) -> None:
        """Number the rows in order of time, events before labels: as if they had arrived one by one.

        A row without a time that can be read comes right after the row before it in its file (the first ones right before
        the next).
        """
        rows = [self._timed(kind, frame) for kind, frames in self._frames() for frame in frames]
        unread = [bad.select("arrival", "file", "kind", time=pl.lit(None, dtype=UTC_MICROSECONDS)) for bad in self.bad]
        filled = pl.col("time").forward_fill().backward_fill().over("file")
        asread = pl.concat([*rows, *unread]).sort("arrival").with_columns(filled)
        back = asread.filter((pl.col("time").diff() < timedelta(0)).over("file") & (pl.col("kind") == "events"))
        self.notes = [
            f"the rows of {self.readings[number][2].name} are not in order of time: they were sorted"
            for number in back["file"].unique(maintain_order=True)
        ]
        self.came = asread.sort("time", "kind", "arrival")["arrival"]
        places = np.empty(self.came.len(), np.int64)
        places[self.came.to_numpy() - self.first] = np.arange(self.first, self.next)
        place = pl.Series("arrival", places)
        for _, frames in self._frames():
            frames[:] = [frame.with_columns(place.gather(frame["arrival"] - self.first)) for frame in frames]
        self.bad = [bad.with_columns(place.gather(bad["arrival"] - self.first)) for bad in self.bad]
        for file in self.files:
            file["first_arrival"] = self.first

    def _frames(self) -> Iterator[tuple[str, list[pl.DataFrame]]]:
        return ((kind, frames) for kind in KINDS for frames in self.unjudged[kind].values())

    def _timed(self, kind: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``arrival``, ``file``, ``kind`` and ``time`` (null where it cannot be read)."""
        name = self.dataset.event.time if kind == "events" else self.dataset.labels.time
        raw = rows.select("arrival", "file", "missing", raw=pl.struct(pl.col("raw").struct.field(name)))
        found = cast(raw, {name: Column(pl.Datetime)})
        times = [found.good.select("arrival", time=pl.col("value").struct.field(name)), found.bad.select("arrival")]
        return raw.select("arrival", "file", kind=pl.lit(kind)).join(pl.concat(times, how="diagonal"), on="arrival")

    def cast(self, kind: str) -> pl.DataFrame:
        """Return the rows of a kind that fit, as they are stored, in order of arrival; files of the same types at once."""
        good = [pl.DataFrame(schema=self.schemas[kind]).drop("clock", "correction", strict=False)]
        columns = self.columns[kind]
        id = pl.col("raw").struct.field(next(iter(columns))).cast(pl.String, strict=False).alias("event_id")
        for frames in self.unjudged[kind].values():
            rows = pl.concat(frames, rechunk=len(frames) > 1)
            found = cast(rows, columns)
            self.quarantine(kind, found.bad.select("arrival", "file", "line", id, "reasons"))
            good.append(found.good.select(_stored(self.dataset, kind, good[0].columns)))
            of_files = rows.select("file", nonfinite=found.nonfinite).filter(pl.col("nonfinite") > 0)
            self.nonfinite.update(dict(of_files.group_by("file").sum().iter_rows()))
        return pl.concat(good).sort("arrival")


def parse(
    dataset: Dataset, files: list[TakenFile], first: int, clock: datetime | None, room: WaitingRoom, docs: Path | None
) -> Parsed:
    """Read a batch of files, and judge every row.

    Parameters
    ----------
    first
        The arrival number of the first row.
    clock
        The data's clock before it.
    room
        What had arrived before.
    docs
        Where Great Expectations' Data Docs go, if they are wanted.
    """
    batch = _Batch(dataset, first)
    for file in files:
        batch.read(file)
    if any(file.history for file in files):
        batch.by_time()
    events, notes = _expected(batch, batch.cast("events"), docs)
    found = judge(events, batch.cast("labels"), room, first, clock, dataset.id_horizon)
    if found.again.height:
        _compare(batch, found.again, events)
    labels = found.labels.with_columns(pl.col("label_source").fill_null("natural"))
    quarantine = pl.concat(batch.bad) if batch.bad else pl.DataFrame(schema=batch.schemas["quarantine"])
    accounts = _accounts(batch, found.events, labels, quarantine, [*batch.notes, *notes], found.clock)
    return Parsed(accounts, found.events, labels, quarantine, batch.next - first, found.clock)


def _columns(dataset: Dataset) -> dict[str, dict[str, Column]]:
    """Return the columns of a kind of file, as the files call them, the id first."""
    event, names, label = dataset.event, dataset.labels, dataset.label_column
    id, time = Id(pl.String, null=False), Moment(pl.Datetime, null=False)
    value = Column(label.dtype, null=False, between=label.between, known=label.known)
    source = Column(pl.String, required=False, known=("natural", "human"))
    return {
        "events": {event.id: id, event.time: time, **event.columns},
        "labels": {names.id: id, names.label: value, names.time: time, names.source: source},
    }


def _stored(dataset: Dataset, kind: str, order: Sequence[str]) -> list[pl.Expr]:
    """Return what is stored of a good row, as its table calls it."""
    event, label, value = dataset.event, dataset.labels, pl.col("value").struct
    if kind == "events":
        named = {"event_id": value.field(event.id), "event_time": value.field(event.time)}
        named["raw"] = pl.struct(value.field(name) for name in event.columns)
    else:
        theirs = {"event_id": label.id, "label": label.label, "label_time": label.time, "label_source": label.source}
        named = {ours: value.field(name) for ours, name in theirs.items()}
    return [named.get(name, pl.col(name)).alias(name) for name in order]


def _expected(batch: _Batch, events: pl.DataFrame, docs: Path | None) -> tuple[pl.DataFrame, list[str]]:
    """Hold events against the dataset's expectations; return the good ones, and what was found of the whole batch."""
    if not batch.dataset.expect or not events.height:
        return events, []
    from millrace import expectations

    checked = events.select("event_id", "event_time", pl.col("raw").struct.unnest())
    try:
        findings = expectations.check(checked, batch.dataset.expect, docs, name=f"{batch.dataset.name}-events")
    except DatasetError as error:
        raise DatasetError(f"{batch.dataset.path}: {error}") from error
    if findings.rows:
        positions = sorted(findings.rows)
        reasons = pl.Series("reasons", [findings.rows[i] for i in positions], dtype=pl.List(pl.String))
        batch.quarantine("events", events[positions].select("arrival", "file", "line", "event_id").with_columns(reasons))
        kept = pl.Series([i not in findings.rows for i in range(events.height)], dtype=pl.Boolean)
        events = events.filter(kept)
    return events, findings.batch


def _compare(batch: _Batch, again: pl.DataFrame, here: pl.DataFrame) -> None:
    """Quarantine the events whose id has an event of other content; the same again is a duplicate."""
    content = ("event_time", "raw")
    at_hand = here.select(pl.col("arrival").alias("first"), "file", "line", *content)
    stored = pl.concat([at_hand, _taken_before(batch, again["first"], at_hand)])
    pair = again.join(stored, on="first", suffix=":first", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}:first")) for name in content)
    why = pl.format(
        "event_id '{}' was taken in before with other content, line {} of file {}; the first stands",
        "event_id",
        "line:first",
        "file:first",
    )
    other = pair.filter(~same).select("arrival", "file", "line", "event_id", pl.concat_list(why).alias("reasons"))
    batch.quarantine("events", other)


def _taken_before(batch: _Batch, arrivals: pl.Series, here: pl.DataFrame) -> pl.DataFrame:
    """Read events of earlier batches by their arrivals, as those of this one are at hand."""
    earlier = arrivals.filter(~arrivals.is_in(here["first"].implode())).unique()
    columns = (pl.col("arrival").alias("first"), "file", "line", "event_time", "raw")
    rows = Table(batch.dataset.name, "events").read(*columns, where=tables.at_arrivals(earlier))
    return rows.with_columns(tables.as_struct(rows, "raw", here.schema["raw"]))


def _accounts(
    batch: _Batch, events: pl.DataFrame, labels: pl.DataFrame, quarantine: pl.DataFrame, notes: list[str], clock: datetime | None
) -> pl.DataFrame:
    counts = [dict(frame.group_by("file").len().iter_rows()) for frame in (events, labels, quarantine)]
    for row in batch.files:
        of_events, of_labels, bad = (count.get(row["number"], 0) for count in counts)
        row["good"] = of_events + of_labels
        row["quarantined"] = bad
        row["nonfinite"] = batch.nonfinite[row["number"]]
        row["duplicates"] = row["rows"] - row["good"] - bad
        row["notes"] = notes if row is batch.files[-1] else []
        row["clock"] = clock
    return pl.DataFrame(
        batch.files,
        schema_overrides={
            "extra": pl.List(pl.String), "notes": pl.List(pl.String), "clock": UTC_MICROSECONDS, "path": pl.String,
        },
    )  # fmt: skip
