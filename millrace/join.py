"""Which events have their answer now, and where in the log do they stand?

By the policy ``arrival`` an example becomes possible when the later of its two rows arrives, and that arrival is its place; the
default, if there is one, when a window closes without an answer. By ``window`` each event waits until its window closes, so
that both classes are learned together. By ``provisional`` an event is learned at its own arrival as the default, and at most
once more: by its first accepted label that is contrary to it, when that is there. The join goes through arrivals in order and
never back, so the log is a function of the rows that arrived, however they were grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson
import polars as pl

from millrace import answers, catalog, weights
from millrace.clock import now, write_moment
from millrace.closings import closings
from millrace.dataset import Dataset
from millrace.errors import ConflictError
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
        When there is no such dataset, its file is broken, or its ``labels`` are others than those by which the log began.
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
        answers.register(dataset)
        upto = min(inferred, cursor + _ARRIVALS_AT_ONCE)
        with WaitingRoom(name) as room:
            found, early, late, clock = _possible(dataset, room, cursor, upto, problems)
        seq = pl.int_range(report.seq + 1, report.seq + 1 + found.height, dtype=pl.Int64).alias("seq")
        after = {"join": upto, "seq": report.seq + found.height, "late": examples.cursor("late") + late}
        after |= weights.cursors(dataset, examples, report.seq + 1) if found.height else {}
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
    pairs = found.with_columns(place=pl.max_horizontal("label_arrival", "event_arrival"))
    is_new = pl.col("place") > after
    early = pairs.filter(answers.EARLY & is_new).sort("label_arrival")
    late = pairs.filter(~answers.EARLY & answers.late(dataset) & is_new).height
    met = answers.first(dataset, pairs).filter(is_new).with_columns(clock=pl.max_horizontal("label_clock", "event_clock"))
    learned = _learned(dataset, room, met, after, upto)
    return _examples(dataset, learned, problems), _quarantined(early, dataset), late, clock


def _learned(dataset: Dataset, room: WaitingRoom, met: pl.DataFrame, after: int, upto: int) -> pl.DataFrame:
    """Return the answers and defaults that are learned by the dataset's policy, in order.

    Parameters
    ----------
    met
        The answers whose event and label are both there since the first arrival.
    """
    labels, columns = dataset.labels, ("event_id", "event_time", "event_arrival", "place", "clock", "label_arrival", "label_time")
    if labels.policy == "window":
        return answers.settled(dataset, closings(room, after, upto)).select(columns)
    if labels.policy == "provisional":
        met = met.filter(answers.contrary(dataset))
        defaults = room.arrived(after, upto)
        defaults = defaults.with_columns(place="event_arrival", clock="event_clock", label_time="event_time")
    elif labels.default is not None:
        defaults = answers.settled(dataset, closings(room, after, upto)).filter(pl.col("label_arrival").is_null())
    else:
        return met.sort("place").select(columns)
    # At one place the defaults come first, in their order.
    return pl.concat([defaults.select(columns), met.select(columns)]).sort("place", maintain_order=True)


def _examples(dataset: Dataset, learned: pl.DataFrame, problems: list[str]) -> pl.DataFrame:
    x = Table(dataset.name, "features").read("arrival", "x", where=at_arrivals(learned["event_arrival"]))
    found = answers.with_labels(dataset, learned)
    found = found.join(x.rename({"arrival": "event_arrival"}), on="event_arrival", maintain_order="left")
    return found.rename({"place": "arrival"}).with_columns(weights.of_examples(dataset, found, problems))


def _quarantined(early: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    kept = ("event_id", "label", "label_time", "label_source")
    rows = Table(dataset.name, "labels").read("arrival", "file", "line", *kept, where=at_arrivals(early["label_arrival"]))
    times = dict(early.select("label_arrival", "event_time").iter_rows())
    reasons, raw = [], []
    for row in rows.iter_rows(named=True):
        event_time = write_moment(times[row["arrival"]])
        reasons.append([f"label_time '{write_moment(row['label_time'])}' is earlier than its event, at '{event_time}'"])
        raw.append(orjson.dumps({key: row[key] for key in kept} | {"label_time": write_moment(row["label_time"])}))
    columns = [pl.Series("reasons", reasons, dtype=pl.List(pl.String)), pl.Series("raw", raw, dtype=pl.Binary)]
    rest = [pl.lit("labels").alias("kind"), pl.lit("join").alias("stage"), pl.lit(now()).alias("at")]
    return rows.select("arrival", "file", "line", "event_id").with_columns(*columns, *rest)
