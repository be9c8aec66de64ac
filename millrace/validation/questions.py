"""Which questions does a stretch of the log ask, and when do their answers come?

An event asks at its ``event_time``; what answers it is its example in the log, so an answer that production never accepted
is none here. When the answer comes depends on what is to be supposed::

    arrival   when it was delivered: the data's clock, at the moment when event and label were both there; of those at one
              moment in the order in which they were learned
    labels    at its label_time, as if each were delivered at once
    none      at once, right after the question
    2h        so long after the question

An answer that comes later than the dataset's window would not have been accepted, and is none. A default comes when the window
closes. Where answers are held until then (``learn="window"``), none comes sooner, unless it is to come at once. Where the default
is learned provisionally it is a first answer, right after the question, and what is contrary to it a second; what was said is
scored once, by the last of them.

Where there is a default, an event is scored once its window has closed, as in the race: of those whose window is open only one
class is answered. Its answer is learned when it comes. Without a default each event that is answered is scored, also while its
window is open, which the race does not do: so it is by River's own function of delayed progressive validation.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from millrace import catalog, features, progressive, tables
from millrace.clock import MICROSECOND, from_microseconds, parse_duration, write_moment
from millrace.dataset import Dataset
from millrace.errors import MillraceError, UsageError, unknown
from millrace.tables import Table
from millrace.what_if import NAME as WHAT_IF

if TYPE_CHECKING:
    from numpy.typing import NDArray

DELAYS = ("arrival", "labels", "none")
"""When answers come, by name; or so long after the question, such as ``2h``."""


_LOGGED = ("seq", "event_arrival", "event_time", "label", "weight", "label_time", "label_source", "clock")


@dataclass(frozen=True)
class Position:
    """How much of a log is looked at: events up to an ``arrival``, and examples up to a ``seq``."""

    arrival: int
    seq: int


@dataclass(frozen=True)
class Stretch:
    """What is asked between two moments (UTC, the second left out); what was asked before ``scored`` does not count."""

    start: datetime
    end: datetime
    scored: datetime


@dataclass
class Questions:
    """Events in order of ``(event_time, arrival)``, and what answers them.

    Parameters
    ----------
    asked
        When each is asked: microseconds since 1970.
    answered, of
        When each answer comes, likewise or :data:`millrace.progressive.NEVER`, and of which question it is: one a question, in
        their order, by which it is scored; then the defaults that are learned before another answer.
    ranks
        The order of answers that come at the same time: as they were learned, where they come when they were delivered; None:
        that of their questions.
    counts
        Which of them count: not those that were asked before the stretch, or before what is scored of it, nor, where there is
        a default, those whose window is open.
    rows
        ``x``, the logged features, and ``label``, null where there is none.
    default
        What those further answers are.
    weights
        How much each answer counts, for models that take ``w``; None where each counts 1.
    segments
        Each one's value of a column, as text; None where no column was asked for.
    """

    asked: NDArray[np.int64]
    answered: NDArray[np.int64]
    of: NDArray[np.int64]
    counts: NDArray[np.bool_]
    rows: pl.DataFrame
    segments: NDArray[np.str_] | None
    ranks: NDArray[np.int64] | None = None
    default: Any = None
    weights: list[float] | None = None

    @functools.cached_property
    def xs(self) -> list[dict[str, Any]]:
        """The features as models take them; of each answer."""
        of_questions = features.rows(self.rows["x"].struct.unnest())
        return of_questions + [of_questions[i] for i in self.of[self.asked.size :]]

    @functools.cached_property
    def labels(self) -> list[Any]:
        """The labels; None where there is none; of each answer."""
        return self.rows["label"].to_list() + [self.default] * (self.of.size - self.asked.size)

    @functools.cached_property
    def times(self) -> list[datetime]:
        """The moments at which they are asked, for models that take ``t``; of each answer."""
        return [from_microseconds(moment) for moment in self.asked[self.of].tolist()]


def position(dataset: Dataset, what_if: bool = False) -> Position:
    """Return how much of the log there is now, or of the what-if log.

    Raises
    ------
    MillraceError
        When there is nothing yet.
    """
    name = dataset.name
    if not tables.created(name) or not (seq := Table(name, "examples").cursor("seq")):
        raise MillraceError(f"the log of {name} has no example yet; try: millrace run {name}")
    if what_if and not (tables.folder(name) / WHAT_IF).is_dir():
        raise MillraceError(f"{name} has no what-if features yet; to compute them, run: millrace replay {name} --what-if")
    return Position(Table(name, WHAT_IF if what_if else "features").cursor("infer"), seq)


def check_delay(delay: str) -> timedelta | None:
    """Return a delay that is given as a length of time; None for one that has a name.

    Raises
    ------
    UsageError
        When it is neither.
    """
    if delay in DELAYS:
        return None
    if not re.match(r"\d", delay):
        raise UsageError(f"{unknown('delay', delay, DELAYS)}; or a length of time after the question, such as 2h or 1d")
    return parse_duration(delay)


def span(dataset: Dataset, at: Position) -> tuple[datetime, datetime]:
    """Return when the first event of the log is asked, and the moment after the last."""
    times = Table(dataset.name, "features").read("event_time", where=pl.col("arrival") <= at.arrival)["event_time"]
    first, last = times.min(), times.max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return first, last + MICROSECOND


def read(
    name: str,
    at: Position,
    stretch: Stretch,
    delay: str,
    by: str | None = None,
    known: int | None = None,
    what_if: bool = False,
) -> Questions:
    """Read the questions of a stretch, and their answers.

    Parameters
    ----------
    name, at, stretch, delay
        The dataset, the position of its log, what is asked, and when answers are to come.
    by
        A feature or raw column whose values are the segments.
    known
        What models know before it begins: the examples up to this ``seq``, which are not learned again. What was asked before
        the stretch and is answered in it is then learned, and does not count. None: they begin with nothing.
    what_if
        Take the features of the what-if log rather than those that were logged.

    Raises
    ------
    UsageError
        When the delay does not parse, or there is no such column.
    """
    dataset = catalog.load(name)
    length = check_delay(delay)
    before = pl.col("event_time") < stretch.end
    every = Table(name, "examples").read(*_LOGGED, where=pl.col("seq").is_between((known or 0) + 1, at.seq) & before)
    closed = _closed(dataset, at, stretch.end)
    log, provisional = _last(dataset, every, closed)
    open_still = every.filter((pl.col("event_time") < stretch.start) & (pl.col("clock") > stretch.start))
    events = _events(dataset, at, stretch, log.clear() if known is None else open_still, what_if)
    rows = events.join(log.drop("event_time"), left_on="arrival", right_on="event_arrival", how="left").sort(
        "event_time", "arrival"
    )
    asked = progressive.times(rows["event_time"])
    answered = _answered(dataset, rows, asked, delay, length)
    first = rows.with_row_index("of").select("of", "arrival").join(provisional, left_on="arrival", right_on="event_arrival")
    first, at_once = first.sort("of"), asked[first.sort("of")["of"].to_numpy()]
    weights, seqs = (pl.concat([rows[name], first[name]]) for name in ("weight", "seq"))
    return Questions(
        asked=asked,
        answered=np.concatenate([answered, progressive.times(first["clock"]) if delay == "arrival" else at_once]),
        of=np.concatenate([np.arange(asked.size), first["of"].to_numpy()]).astype(np.int64),
        ranks=seqs.fill_null(0).to_numpy() if delay == "arrival" else None,
        default=dataset.labels.default,
        counts=rows.select((pl.col("event_time") >= stretch.scored) & _final(closed, "arrival")).to_series().to_numpy(),
        rows=rows.select("x", "label"),
        weights=weights.to_list() if (weights != 1.0).any() else None,
        segments=_segments(dataset, rows, by),
    )


def _closed(dataset: Dataset, at: Position, end: datetime) -> pl.Series | None:
    """Return the arrivals of the events before a moment whose window has closed; None where there is no default."""
    if dataset.labels.default is None:
        return None
    there = (pl.col("arrival") <= at.arrival) & (pl.col("seq") <= at.seq) & (pl.col("event_time") < end)
    return Table(dataset.name, "outcomes").read("event_arrival", where=there)["event_arrival"]


def _final(closed: pl.Series | None, arrival: str) -> pl.Expr:
    """Tell of which events what became of them is known, by the column of their arrivals."""
    return pl.lit(value=True) if closed is None else pl.col(arrival).is_in(closed.implode())


def _last(dataset: Dataset, log: pl.DataFrame, closed: pl.Series | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tell the examples by which events are scored from those that are learned before: defaults that are not final."""
    if dataset.labels.policy != "provisional":
        return log, log.clear()
    open_still = (pl.col("label_source") == "default") & ~_final(closed, "event_arrival")
    last = log.unique("event_arrival", keep="last", maintain_order=True)
    provisional = log.filter((pl.col("event_arrival").is_duplicated() & (pl.col("label_source") == "default")) | open_still)
    never = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    moments = [pl.when(~open_still).then(name).otherwise(never).alias(name) for name in ("clock", "label_time")]
    return last.with_columns(moments), provisional


def _answered(
    dataset: Dataset, rows: pl.DataFrame, asked: NDArray[np.int64], delay: str, length: timedelta | None
) -> NDArray[np.int64]:
    """Return when the answer comes by which each question is scored."""
    labels, came = dataset.labels, progressive.times(rows["clock"])
    if delay == "arrival":
        return came
    answered = progressive.times(rows["label_time"])
    if delay == "none" or length is not None:
        answered = np.where(came == progressive.NEVER, came, asked + (length or timedelta(0)) // MICROSECOND)
    if labels.window is None or delay == "none":
        return answered
    closed = asked + labels.window // MICROSECOND
    answered = np.where(answered > closed, progressive.NEVER, answered)  # what was delivered too late is not in the log
    if labels.policy == "window":
        answered = np.maximum(answered, closed)
    is_default = (rows["label_source"] == "default").fill_null(False).to_numpy() & (came != progressive.NEVER)
    return np.where(is_default, asked if labels.policy == "provisional" else closed, answered)


def _events(dataset: Dataset, at: Position, stretch: Stretch, pending: pl.DataFrame, what_if: bool) -> pl.DataFrame:
    """Read the events of a stretch, and those before it that are answered in it."""
    table = Table(dataset.name, WHAT_IF if what_if else "features")
    inside = pl.col("event_time").is_between(stretch.start, stretch.end, closed="left")
    wanted = inside | tables.at_arrivals(pending["event_arrival"])
    return table.read("arrival", "event_time", "x", where=wanted & (pl.col("arrival") <= at.arrival))


def _segments(dataset: Dataset, rows: pl.DataFrame, by: str | None) -> NDArray[np.str_] | None:
    if by is None:
        return None
    if by in rows["x"].struct.fields:
        values = rows["x"].struct.field(by)
    elif by in dataset.event.columns:
        raw = Table(dataset.name, "events").read(
            "arrival", pl.col("raw").struct.field(by), where=tables.at_arrivals(rows["arrival"])
        )
        values = rows.select("arrival").join(raw, on="arrival", how="left", maintain_order="left")[by]
    else:
        raise unknown("column", by, sorted({*rows["x"].struct.fields, *dataset.event.columns}))
    return values.cast(pl.String).fill_null("(none)").to_numpy().astype(str)


def labelled(dataset: Dataset, at: Position, stretch: Stretch) -> int:
    """Count the events of a stretch that count and have an answer in the log by which they are scored."""
    counts = pl.col("event_time").is_between(stretch.scored, stretch.end, closed="left") & (pl.col("seq") <= at.seq)
    log = Table(dataset.name, "examples").read(*_LOGGED, where=counts)
    closed = _closed(dataset, at, stretch.end)
    return int(_last(dataset, log, closed)[0].filter(_final(closed, "event_arrival"))["clock"].count())


def nothing(dataset: Dataset, at: Position, stretch: Stretch) -> MillraceError:
    """Say that a stretch has no labelled event, and where there are some."""
    first, last = span(dataset, at)
    counts = "" if dataset.labels.default is None else "; with a default an event counts once its window has closed"
    return MillraceError(
        f"no labelled event of {dataset.name} counts between {write_moment(stretch.scored)} and {write_moment(stretch.end)}; its "
        f"log has {at.seq:,} examples, of events from {write_moment(first)} to {write_moment(last - MICROSECOND)}{counts}"
    )
