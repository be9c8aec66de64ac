"""Which events and labels are the rows of a table, and when were they?

A row of a table is an event and its label at once; here each gets its id and its time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from millrace.clock import write_duration
from millrace.drafting.findings import Answer, Raw
from millrace.drafting.sheet import Sheet
from millrace.errors import UsageError

STEPS = (
    *(timedelta(minutes=count) for count in (1, 10)),
    *(timedelta(hours=count) for count in (1, 6)),
    *(timedelta(days=count) for count in (1, 7, 28, 91, 364)),
)
"""The lengths of time among which cadences and windows are chosen."""

_JUDGED = 20_000
"""Models are judged on so many events at most: within a minute a person should see whether it is worth it."""
_REFRESHES = 2_000
"""The finest cadence refreshes no more often than this over the events that are judged."""
RESERVED = ("event_id", "event_time")
"""What every event has, whatever its files call it: a raw column cannot have this name."""
_USUAL = {"id": "event_id", "time": "event_time", "label": "label"}


@dataclass(frozen=True)
class Timeline:
    """A table's rows, in its order, as events and labels.

    Parameters
    ----------
    rows
        ``event_id``, ``event_time``, ``label`` (null: never answered) and ``label_time``; times are UTC.
    names, answers
        What files call them, where it is not the usual word: the arguments of `Schema` and of `Labels`.
    window
        How long the longest answer took, rounded up; None where answers come at once.
    said
        What was found, a sentence each.
    others
        Raw columns beside those that were asked about: an id that comes more than once.
    """

    rows: pl.DataFrame
    names: dict[str, str]
    answers: dict[str, str]
    window: timedelta | None
    said: list[str]
    others: list[Raw]

    @property
    def span(self) -> timedelta:
        """From the first event to the last."""
        first, last = _ends(self.rows["event_time"])
        return last - first

    @property
    def answered(self) -> int:
        """How many rows have a label."""
        return self.rows.height - self.rows["label"].null_count()

    @property
    def judged_from(self) -> datetime:
        """The first event of those on which models are judged: the last 20,000 with a label."""
        return _ends(self._judged)[0]

    @property
    def unscored(self) -> timedelta:
        """How much of their time does not count: the longest cadence, and a quarter at most."""
        first, last = _ends(self._judged)
        return min(self.cadences[-1], (last - first) / 4)

    @property
    def cadences(self) -> list[timedelta]:
        """Three cadences that make a difference: the finest that is no waste, one that refreshes four times, and between.

        Where the time is too short for three, the shortest that there are.
        """
        usual: timedelta = self.rows["event_time"].unique().sort().diff().median()  # type: ignore[assignment]
        first, last = _ends(self._judged)
        span = last - first
        steps = [step for step in STEPS if step <= span / 4]
        worth = [step for step in steps if step >= max(usual, span / _REFRESHES)]
        found = worth if len(worth) >= 3 else steps[-3:] if len(steps) >= 3 else list(STEPS[:3])
        middle = min(found[1:-1], key=lambda step: abs(math.log((step / found[0]) / (found[-1] / step))))
        return [found[0], middle, found[-1]]

    @property
    def _judged(self) -> pl.Series:
        return self.rows.drop_nulls("label")["event_time"].sort().tail(_JUDGED)

    def events(self, raw: list[Raw]) -> pl.DataFrame:
        """Return the events as a file has them, with raw columns."""
        names = {"event_id": self.names.get("id", "event_id"), "event_time": self.names.get("time", "event_time")}
        return self.rows.select("event_id", "event_time").rename(names).with_columns(one.values for one in raw)

    def labels(self) -> pl.DataFrame:
        """Return the labels as a file has them."""
        names = {"event_id": "id", "label": "label", "label_time": "time"}
        known = self.rows.filter(pl.col("label").is_not_null()).drop("event_time")
        return known.rename({column: self.answers.get(key, column) for column, key in names.items()})


def lay(table: Sheet, answer: Answer, time: str, id: str | None, label_time: str | None) -> Timeline:
    """Give each row of a table its id and its times.

    Raises
    ------
    UsageError
        When a time cannot be read or is missing, all are the same, or an id is missing.
    """
    times, way = table.times(time)
    first, last = _ends(times)
    if first == last:
        raise UsageError(
            f"{table.path}: {time} is {first:%Y-%m-%d %H:%M} in all rows: without an order there is nothing to replay"
        )
    said = [f"from {first:%Y-%m-%d} to {last:%Y-%m-%d} by `{time}`, written as {way}; what names no time zone is taken for UTC"]
    if not times.is_sorted():
        said.append("the rows are not in order of time: they are sorted")
    ids, called, others = _ids(table, id, said)
    known = answer.values.is_not_null()
    if not known.all():
        said.append(f"rows without a label, events that were never answered: {(~known).sum():,}")
    answered, window = _answers(table, times, known, label_time, said)
    rows = pl.DataFrame({"event_id": ids, "event_time": times, "label": answer.values, "label_time": answered})
    names = {"id": called, "time": time}
    answers = {"id": called, "label": answer.values.name, "time": label_time or "label_time"}
    return Timeline(rows, dict(_unusual(names, "event_time")), dict(_unusual(answers, "label_time")), window, said, others)


def _unusual(names: dict[str, str], time: str) -> Iterator[tuple[str, str]]:
    return ((key, name) for key, name in names.items() if name != (time if key == "time" else _USUAL[key]))


def _ends(times: pl.Series) -> tuple[datetime, datetime]:
    return times.min(), times.max()  # type: ignore[return-value]


def _ids(table: Sheet, id: str | None, said: list[str]) -> tuple[pl.Series, str, list[Raw]]:
    """Return an id a row, and what files call it; one that comes more than once is of something else, and a raw column."""
    numbers = pl.Series([f"{number:06d}" for number in range(1, table.frame.height + 1)])
    if id is None:
        stem = table.path.name.partition(".")[0]
        said.append(f"ids are made of the file's name and the row: {stem}-{numbers[0]}")
        return f"{stem}-" + numbers, "event_id", []
    column = table.column(id)
    whole = column.dtype == pl.Float64 and bool((column == column.floor()).all())
    ids = (column.cast(pl.Int64) if whole else column).cast(pl.String)
    if (absent := ids.is_null().arg_true()).len():
        raise UsageError(
            f"{table.path}:{table.lines[absent[0]]}: there is no {id} ({absent.len():,} such rows); fill it in, or leave --id "
            "out: ids are then made of the file's name and the row"
        )
    if not (again := (~ids.is_first_distinct()).arg_true()).len():
        return ids, id, []
    kept = id not in RESERVED
    becomes = "kept as a raw column" if kept else "left out, for the name is the event's own"
    said.append(
        f"`{id}` is no id of a row: {ids[again[0]]!r} comes again in line {table.lines[again[0]]}, {again.len():,} in all; ids "
        f"are made of it and the row, such as {ids[again[0]]}-{numbers[again[0]]}, and `{id}` is {becomes}"
    )
    others = [Raw(ids.alias(id), None, "it names what the event is about, more than once")] if kept else []
    return ids + "-" + numbers, "event_id", others


def _answers(
    table: Sheet, times: pl.Series, known: pl.Series, label_time: str | None, said: list[str]
) -> tuple[pl.Series, timedelta | None]:
    """Return when labels became known, and how long that took at most."""
    if label_time is None:
        said.append("answers are taken to come at once; where a column says when they became known, name it by --label-time")
        return times, None
    answered, _ = table.times(label_time, known)
    delays = (answered - times).filter(known)
    median: timedelta = delays.median()  # type: ignore[assignment]
    longest: timedelta = delays.max()  # type: ignore[assignment]
    said.append(
        f"answers come by `{label_time}`, half of them within {write_duration(timedelta(seconds=median // timedelta(seconds=1)))}"
    )
    early = (delays < timedelta(0)).arg_true()
    if early.len():
        said.append(f"answers that were known before the event, whose predictions count for nothing: {early.len():,}")
    if longest <= timedelta(0):
        return answered, None
    return answered, next((step for step in STEPS if step >= longest), timedelta(days=math.ceil(longest / timedelta(days=1))))
