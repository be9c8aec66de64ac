"""What becomes of each row of a batch of files?

A row is good, a duplicate, or quarantined with its reasons; nothing else, and every one is counted. What becomes of it
depends on the rows that arrived before it, never on how they were cut into files or batches (but for expectations of a
whole table, which are told of the batch).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from millrace import tables
from millrace.casting import UTC_MICROSECONDS, Id, cast
from millrace.dataset import Dataset
from millrace.errors import DatasetError
from millrace.landing import TakenFile
from millrace.reading import read
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

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.schemas = tables.schemas(dataset)
        self.good: dict[str, list[pl.DataFrame]] = {"events": [], "labels": []}
        self.bad: list[pl.DataFrame] = []
        self.files: list[dict[str, Any]] = []
        self.readings: dict[int, tuple[Any, int, TakenFile]] = {}

    def quarantine(self, kind: str, rows: pl.DataFrame) -> None:
        """Quarantine rows (``arrival``, ``file``, ``line``, ``event_id``, ``reasons``), with their bytes as they came."""
        for (number,), some in rows.group_by("file", maintain_order=True):
            reading, first, file = self.readings[int(number)]
            raw = reading.raw((some["arrival"] - first).to_list())
            self._keep(file, some.with_columns(raw=pl.Series(raw, dtype=pl.Binary), kind=pl.lit(kind)))

    def _keep(self, file: TakenFile, rows: pl.DataFrame) -> None:
        stamped = rows.with_columns(
            file=pl.lit(file.number), stage=pl.lit("ingest"), at=pl.lit(file.received, dtype=UTC_MICROSECONDS)
        )
        self.bad.append(stamped.select(pl.col(name).cast(dtype) for name, dtype in self.schemas["quarantine"].items()))

    def read(self, file: TakenFile, first: int) -> int:
        """Read one file whose first row has this arrival number; return how many rows it has."""
        columns, latest = _columns(self.dataset, file)
        reading = read(file.name, file.data, list(columns))
        self.readings[file.number] = (reading, first, file)
        place = [
            (pl.col("@position") + first).alias("arrival"),
            pl.lit(file.number, dtype=pl.Int64).alias("file"),
            pl.col("@line").alias("line"),
        ]
        unread = reading.bad.select(*place, "raw", pl.concat_list("reason").alias("reasons"))
        self._keep(file, unread.with_columns(kind=pl.lit(file.kind), event_id=pl.lit(None, dtype=pl.String)))
        found = cast(reading.rows, columns, latest)
        id = pl.col(next(iter(columns))).cast(pl.String, strict=False).alias("event_id")
        lines = reading.rows.select("@position", "@line")
        wrong = found.bad.join(reading.rows.select("@position", "@line", id), on="@position").sort("@position")
        self.quarantine(file.kind, wrong.select(*place, "event_id", pl.col("@reasons").alias("reasons")))
        right = found.good.join(lines, on="@position").sort("@position")
        self.good[file.kind].append(right.select(*place, *_stored(self.dataset, file.kind)))
        self.files.append(
            {
                "number": file.number, "name": file.name, "kind": file.kind, "sha256": file.sha256,
                "bytes": len(file.data), "modified": file.modified, "received": file.received,
                "first_arrival": first, "rows": reading.total, "nonfinite": found.nonfinite, "extra": reading.extra,
            }
        )  # fmt: skip
        return reading.total


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
    batch = _Batch(dataset)
    total = 0
    for file in files:
        total += batch.read(file, first + total)
    events, notes = _expected(batch, docs)
    events = _first_of_each(batch, events, room, first)
    labels = _changes(batch, room, first)
    events, labels, clock = _clocked(events, labels, clock)
    quarantine = pl.concat(batch.bad) if batch.bad else pl.DataFrame(schema=batch.schemas["quarantine"])
    accounts = _accounts(batch, events, labels, quarantine, notes, clock)
    return Parsed(accounts, events, labels, quarantine, total, clock)


def _columns(dataset: Dataset, file: TakenFile) -> tuple[dict[str, Column], dict[str, datetime]]:
    """Return a file's columns, as the file calls them, the id first; and the latest times allowed."""
    latest = file.received + dataset.future
    time = Column(pl.Datetime, null=False)
    if file.kind == "events":
        event = dataset.event
        return {event.id: Id(pl.String, null=False), event.time: time, **event.columns}, {event.time: latest}
    names = dataset.labels
    label = dataset.label_column
    value = Column(label.dtype, null=False, between=label.between, known=label.known)
    source = Column(pl.String, required=False, known=("natural", "human"))
    return {names.id: Id(pl.String, null=False), names.label: value, names.time: time, names.source: source}, {names.time: latest}


def _stored(dataset: Dataset, kind: str) -> list[pl.Expr]:
    """Return what is stored of a good row, as the tables call it."""
    event, label = dataset.event, dataset.labels
    if kind == "events":
        id_and_time = [pl.col(event.id).alias("event_id"), pl.col(event.time).alias("event_time")]
        return [*id_and_time, pl.struct(*event.columns).alias("raw")]
    renamed = {label.id: "event_id", label.label: "label", label.time: "label_time", label.source: "label_source"}
    return [pl.col(theirs).alias(ours) for theirs, ours in renamed.items()]


def _all(batch: _Batch, kind: str) -> pl.DataFrame:
    """Return the good rows of all files of a kind, in order of arrival."""
    if batch.good[kind]:
        return pl.concat(batch.good[kind])
    stored = batch.schemas[kind]
    return pl.DataFrame(schema={name: dtype for name, dtype in stored.items() if name not in ("clock", "correction")})


def _expected(batch: _Batch, docs: Path | None) -> tuple[pl.DataFrame, list[str]]:
    """Hold events against the dataset's expectations; return the good ones, and what was found of the whole batch."""
    events = _all(batch, "events")
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


def _first_of_each(batch: _Batch, events: pl.DataFrame, room: WaitingRoom, first: int) -> pl.DataFrame:
    """Keep the first event of each id; the same again is a duplicate, another of the same id is quarantined."""
    known = room.events(events["event_id"], before=first)
    earliest = events.group_by("event_id").agg(pl.col("arrival").min().alias("first"))
    firsts = earliest.join(known.select("event_id", pl.col("arrival").alias("known")), on="event_id", how="left")
    firsts = firsts.select("event_id", pl.coalesce("known", "first").alias("first"))
    judged = events.join(firsts, on="event_id", maintain_order="left")
    again = judged.filter(pl.col("arrival") != pl.col("first"))
    if again.height:
        content = ("event_time", "raw")
        here = events.select(pl.col("arrival").alias("first"), "file", "line", *content)
        stored = pl.concat([here, _taken_before(batch, again["first"], here)])
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
    return judged.filter(pl.col("arrival") == pl.col("first")).drop("first")


def _taken_before(batch: _Batch, arrivals: pl.Series, here: pl.DataFrame) -> pl.DataFrame:
    """Read events of earlier batches by their arrivals, as those of this one are at hand."""
    earlier = arrivals.filter(~arrivals.is_in(here["first"].implode())).unique()
    columns = (pl.col("arrival").alias("first"), "file", "line", "event_time", "raw")
    rows = Table(batch.dataset.name, "events").read(*columns, where=tables.at_arrivals(earlier))
    return rows.with_columns(tables.as_struct(rows, "raw", here.schema["raw"]))


def _changes(batch: _Batch, room: WaitingRoom, first: int) -> pl.DataFrame:
    """Keep each id's first label, and later ones of another value as corrections; the same value again is a duplicate."""
    labels = _all(batch, "labels")
    known = room.labels(labels["event_id"], before=first).group_by("event_id", maintain_order=True).agg(pl.col("value").last())
    text = pl.col("label").cast(pl.String)
    before = pl.coalesce(text.shift(1).over("event_id"), "value")
    judged = labels.join(known, on="event_id", how="left", maintain_order="left").with_columns(
        before.alias("before"), text.alias("text")
    )
    kept = judged.filter(pl.col("before").is_null() | (pl.col("before") != pl.col("text")))
    correction = pl.col("before").is_not_null().alias("correction")
    return kept.with_columns(correction, pl.col("label_source").fill_null("natural")).drop("before", "text", "value")


def _clocked(
    events: pl.DataFrame, labels: pl.DataFrame, clock: datetime | None
) -> tuple[pl.DataFrame, pl.DataFrame, datetime | None]:
    """Add the data's clock to each row: the largest time of all accepted rows up to it."""
    times = pl.concat([events.select("arrival", time="event_time"), labels.select("arrival", time="label_time")]).sort("arrival")
    running = pl.col("time").cum_max()
    if clock is not None:
        running = pl.max_horizontal(running, pl.lit(clock, dtype=UTC_MICROSECONDS))
    clocks = times.select("arrival", running.alias("clock"))
    events = events.join(clocks, on="arrival", maintain_order="left")
    labels = labels.join(clocks, on="arrival", maintain_order="left")
    return events, labels, clocks["clock"][-1] if clocks.height else clock


def _accounts(
    batch: _Batch, events: pl.DataFrame, labels: pl.DataFrame, quarantine: pl.DataFrame, notes: list[str], clock: datetime | None
) -> pl.DataFrame:
    counts = [dict(frame.group_by("file").len().iter_rows()) for frame in (events, labels, quarantine)]
    for row in batch.files:
        of_events, of_labels, bad = (count.get(row["number"], 0) for count in counts)
        row["good"] = of_events + of_labels
        row["quarantined"] = bad
        row["duplicates"] = row["rows"] - row["good"] - bad
        row["notes"] = notes if row is batch.files[-1] else []
        row["clock"] = clock
    return pl.DataFrame(
        batch.files, schema_overrides={"extra": pl.List(pl.String), "notes": pl.List(pl.String), "clock": UTC_MICROSECONDS}
    )
