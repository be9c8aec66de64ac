"""Which events have their answer now, and where in the log do they stand?

An example becomes possible when the later of its two rows arrives, and that arrival is its place. The join goes through
arrivals in order and never back, so the log is a function of the rows that arrived, however they were grouped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import polars as pl

from millrace import catalog, tables, weights
from millrace.clock import now, write_moment
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError
from millrace.tables import Table, at_arrivals
from millrace.waiting import WaitingRoom

_ARRIVALS_AT_ONCE = 200_000


@dataclass
class JoinReport:
    """What the join appended: ``examples``; labels that came ``late`` (after the window) or ``early`` (before their event's
    time, quarantined); the ``seq`` at which the log ends; and ``problems`` with the examples' weights."""

    dataset: str
    examples: int = 0
    late: int = 0
    early: int = 0
    seq: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = f"{self.examples:,} new examples, the log ends at seq {self.seq:,}"
        said += f"; {self.late:,} labels came after the window" if self.late else ""
        return said + (f"; {self.early:,} labels are earlier than their event, quarantined" if self.early else "")


def join(name: str) -> JoinReport:
    """Append to the log what has become possible, in order of arrival.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    report = JoinReport(name)
    while True:
        examples, quarantine = Table(name, "examples"), Table(name, "quarantine")
        problems: list[str] = []
        cursor, inferred = examples.cursor("join"), Table(name, "features").cursor("infer")
        report.seq = examples.cursor("seq")
        if cursor >= inferred:
            return report
        upto = min(inferred, cursor + _ARRIVALS_AT_ONCE)
        with WaitingRoom(name) as room:
            found, early, late, clock = _possible(dataset, room, cursor, upto, problems)
        seq = pl.int_range(report.seq + 1, report.seq + 1 + found.height, dtype=pl.Int64).alias("seq")
        after = {"join": upto, "seq": report.seq + found.height, "late": examples.cursor("late") + late}
        after |= {} if clock is None else {"clock": clock}  # up to where the index of ids may forget
        try:
            if early.height and quarantine.cursor("join") < upto:
                quarantine.append(early, {"join": upto})
            examples.append(found.with_columns(seq), after)
        except ConflictError:
            continue  # another learner joined these arrivals: read again
        report.examples += found.height
        report.early += early.height
        report.late += late
        report.seq += found.height
        report.problems += problems
        if upto == inferred:
            return report


def mend(name: str) -> int:
    """Put those examples back that are missing in the log, from the tables that it is made from; return how many.

    Raises
    ------
    MillraceError
        When these tables do not give what the log held.
    """
    dataset, examples = catalog.load(name), Table(name, "examples")
    cursor, head = examples.cursor("join"), examples.cursor("seq")
    mended, seq = 0, 0
    if examples.count() == head:
        return 0
    with tempfile.TemporaryDirectory() as folder, WaitingRoom(name, whole=Path(folder) / "ids.db") as room:
        for _, found in again(dataset, room, cursor):
            there = Table(name, "examples").read("seq", where=pl.col("seq").is_between(seq + 1, seq + found.height))["seq"]
            lost = found.filter(~pl.col("seq").is_in(there.implode()))
            if lost.height:
                Table(name, "examples").append(lost, {"join": cursor, "seq": head})
            mended, seq = mended + lost.height, seq + found.height
    if seq != head:
        raise MillraceError(
            f"the log of {name} held {head:,} examples, and its tables events, labels and features give {seq:,}: they were "
            f"changed by hand, too; restore the folder {tables.folder(name)} from a copy"
        )
    return mended


def again(dataset: Dataset, room: WaitingRoom, joined: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Make the log again from the tables that it is made from, up to an arrival, without a change to anything.

    Yields
    ------
    int, DataFrame
        Up to which arrival it was made, and the examples since it was told last; in order, with their ``seq``.
    """
    seq = 0
    for after in range(0, joined, _ARRIVALS_AT_ONCE):
        upto = min(after + _ARRIVALS_AT_ONCE, joined)
        found, *_ = _possible(dataset, room, after, upto, [])
        yield upto, found.with_columns(pl.int_range(seq + 1, seq + 1 + found.height, dtype=pl.Int64).alias("seq"))
        seq += found.height


def _possible(
    dataset: Dataset, room: WaitingRoom, after: int, upto: int, problems: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, int, int | None]:
    """Find what the arrivals after one up to another make possible; what is wrong with a weight is added to the problems.

    Returns
    -------
    DataFrame, DataFrame, int, int
        The examples in order of their place; the rows for quarantine; how many labels came after the window; the data's
        clock at the last of these arrivals, in microseconds.
    """
    found, clock = room.pairs(after, upto), room.clock(upto)
    pairs = found.with_columns(place=pl.max_horizontal("arrival", "event_arrival"))
    is_new = pl.col("place") > after
    precedes = pl.col("label_time") < pl.col("event_time")
    window = dataset.labels.window
    is_late = pl.lit(False) if window is None else pl.col("clock") > pl.col("event_time") + window
    accepted = pairs.filter(~precedes & ~is_late).sort("arrival").unique("event_arrival", keep="first", maintain_order=True)
    accepted = accepted.filter(is_new).sort("place")
    early = pairs.filter(precedes & is_new).sort("arrival")
    late = pairs.filter(~precedes & is_late & is_new).height
    return _examples(dataset, accepted, problems), _quarantined(early, dataset), late, clock


def _examples(dataset: Dataset, accepted: pl.DataFrame, problems: list[str]) -> pl.DataFrame:
    of_labels, of_events = at_arrivals(accepted["arrival"]), at_arrivals(accepted["event_arrival"])
    labels = Table(dataset.name, "labels").read("arrival", "label", "label_source", where=of_labels)
    x = Table(dataset.name, "features").read("arrival", "clock", "x", where=of_events)
    pairs = accepted.rename({"arrival": "label_arrival", "clock": "label_clock"})
    pairs = pairs.join(labels.rename({"arrival": "label_arrival"}), on="label_arrival", maintain_order="left")
    pairs = pairs.join(x.rename({"arrival": "event_arrival"}), on="event_arrival", maintain_order="left")
    at_place = pl.max_horizontal("label_clock", "clock").alias("clock")
    weight = weights.of_examples(dataset, pairs, problems)
    return pairs.rename({"place": "arrival"}).with_columns(at_place, weight)


def _quarantined(early: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    kept = ("event_id", "label", "label_time", "label_source")
    rows = Table(dataset.name, "labels").read("arrival", "file", "line", *kept, where=at_arrivals(early["arrival"]))
    times = dict(early.select("arrival", "event_time").iter_rows())
    reasons, raw = [], []
    for row in rows.iter_rows(named=True):
        event_time = write_moment(times[row["arrival"]])
        reasons.append([f"label_time '{write_moment(row['label_time'])}' is earlier than its event, at '{event_time}'"])
        raw.append(orjson.dumps({key: row[key] for key in kept} | {"label_time": write_moment(row["label_time"])}))
    columns = [pl.Series("reasons", reasons, dtype=pl.List(pl.String)), pl.Series("raw", raw, dtype=pl.Binary)]
    rest = [pl.lit("labels").alias("kind"), pl.lit("join").alias("stage"), pl.lit(now()).alias("at")]
    return rows.select("arrival", "file", "line", "event_id").with_columns(*columns, *rest)
