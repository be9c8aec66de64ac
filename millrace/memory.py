"""Which features depend on earlier events, and what may a dataset's file say of them?

Memory is a fold over the dataset's events, in order of arrival and without labels: how many flights left here within the last
hour, how long ago this card was used last. What it says of an event is a feature like any other: computed when the event
arrives, logged, and never computed again for learning.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import polars as pl

from millrace.clock import declared_duration, write_duration
from millrace.errors import DatasetError

NAME = "memory"
"""The name under which its definition and its checkpoints are on record."""
_AGGS = ("river.feature_extraction.agg.Agg", "millrace.substitutes.Agg")
"""River's ``Agg``, and what stands in for it once it is built."""
_KINDS = {
    "count": "number of events",
    "total": "total",
    "mean": "mean",
    "low": "smallest value",
    "high": "largest value",
    "distinct": "number of distinct values",
    "last_value": "last value",
    "since": "seconds since the last event",
}


def _duration(given: timedelta | str, what: str, unit: str) -> timedelta:
    found = declared_duration(f"memory: {what}", given, unit)
    if found <= timedelta(0):
        raise DatasetError(f"memory: {what} must be longer than nothing")
    return found


def _name(given: Any, call: str) -> str:
    """Check that a column is given by its name, in a call that is written so: ``mean(…)``."""
    if isinstance(given, str):
        return given
    what, right, example = repr(given), "it takes a column's name; write", "'name'"
    if isinstance(given, pl.Expr):
        names, what = given.meta.root_names(), str(given)
        plain = len(names) == 1 and given.meta.eq(pl.col(names[0]))
        made, example = ("", repr(names[0])) if plain else ("make a feature of it with .alias('name'), and ", example)
        right = f"it takes a column's name, not an expression; {made}write"
    elif isinstance(given, list | tuple) and given:
        right = f"names are not given as a {type(given).__name__}; write"
        example = ", ".join(map(repr, given)) if call == ".by(…)" else repr(given[0])
    raise DatasetError(f"memory: {call.replace('…', what)}: {right} {call.replace('…', example)}")


@dataclass(frozen=True)
class Aggregate:
    """One feature of memory: a statistic of the earlier events of the same key.

    Parameters
    ----------
    kind
        Which statistic.
    on
        The feature or raw column whose values it is of; None for the events themselves. Nulls do not enter it.
    keys
        The features or raw columns that must be equal; none for all events.
    period
        How far back it goes, by ``event_time``; None for as long as the key is known.
    chosen
        Its name, where the dataset's file gives one.
    how
        A statistic of River's in place of ours.

    Examples
    --------
    >>> count().by("origin").last("1h").name
    'count_by_origin_1h'
    >>> mean("distance").by("carrier", "origin").alias("usual").name
    'usual'
    """

    kind: str
    on: str | None = None
    keys: tuple[str, ...] = ()
    period: timedelta | None = None
    chosen: str | None = None
    how: Any = None

    def by(self, *names: str) -> Aggregate:
        """Keep it apart by the values of these features or raw columns; a null is a value, too."""
        return replace(self, keys=tuple(_name(name, ".by(…)") for name in names))

    def last(self, period: timedelta | str) -> Aggregate:
        """Let only events of the last while count: those whose time is later than that of the newest by less than this."""
        return replace(self, period=_duration(period, f"last({period!r})", unit="s"))

    def alias(self, name: str) -> Aggregate:
        """Give the feature a name."""
        return replace(self, chosen=name)

    @property
    def name(self) -> str:
        """The feature's name."""
        if self.chosen:
            return self.chosen
        by = f"by_{'_and_'.join(self.keys)}" if self.keys else ""
        period = write_duration(self.period) if self.period else ""
        return "_".join(filter(None, [self.kind, self.on, by, period]))

    def __str__(self) -> str:
        said = _KINDS.get(self.kind, self.kind)
        said += f" of {self.on}" if self.on else ""
        said += f" by {', '.join(self.keys)}" if self.keys else " over all events"
        return said + (f", last {write_duration(self.period)}" if self.period else "")


def count(on: str | None = None) -> Aggregate:
    """How many events there were; with a column, how many where it is not null."""
    return Aggregate("count", None if on is None else _name(on, "count(…)"))


def since() -> Aggregate:
    """How many seconds before this event the newest earlier one was; null where there is none, negative before a late event."""
    return Aggregate("since")


def mean(on: str) -> Aggregate:
    """The mean of a column; null where there is no value."""
    return Aggregate("mean", _name(on, "mean(…)"))


def total(on: str) -> Aggregate:
    """The sum of a column; zero where there is no value."""
    return Aggregate("total", _name(on, "total(…)"))


def low(on: str) -> Aggregate:
    """The smallest value of a column; null where there is none."""
    return Aggregate("low", _name(on, "low(…)"))


def high(on: str) -> Aggregate:
    """The largest value of a column; null where there is none."""
    return Aggregate("high", _name(on, "high(…)"))


def distinct(on: str) -> Aggregate:
    """How many values of a column there were, equal ones counted once; within a stretch of time, which bounds what is kept."""
    return Aggregate("distinct", _name(on, "distinct(…)"))


def last_value(on: str) -> Aggregate:
    """The value of a column at the newest event that has one, by ``event_time``; of several at one moment the last to arrive."""
    return Aggregate("last_value", _name(on, "last_value(…)"))


class Memory:
    """The memory of a dataset.

    Parameters
    ----------
    parts
        Aggregates (:func:`count`, :func:`mean` …), River's ``feature_extraction.Agg`` of any univariate ``stats``, plain or in
        ``utils.TimeRolling`` or ``utils.Rolling``, or functions that build one, or another transformer of River.
    itself
        Whether an event counts itself. By default it is asked about first, and remembered then.
    idle
        A key none of whose events arrived for so long, on the data's clock, is let go, and begins anew; None is for ever.

    Raises
    ------
    DatasetError
        When a part is none of these, or looks back longer than a key is known.
    """

    def __init__(self, parts: Sequence[Any], itself: bool = False, idle: timedelta | str | None = "90d") -> None:
        if not isinstance(parts, list | tuple):
            _check_part(parts)
            raise DatasetError(f"memory is {_said(parts)}, and no list; write memory=[{_said(parts)}]")
        self.declared = tuple(parts)
        self.itself = itself
        self.idle = None if idle is None else _duration(idle, f"idle={idle!r}", unit="d")
        for part in self.declared:
            _check_part(part)
            if isinstance(part, Aggregate):
                self.check_period(part.name, part.period)

    @classmethod
    def of(cls, declared: Memory | Sequence[Any]) -> Memory:
        """Return the memory for what a dataset's file may declare: one, or just its parts."""
        return declared if isinstance(declared, Memory) else cls(declared)

    def check_period(self, name: str, period: timedelta | None) -> None:
        """Refuse a window that is longer than a key is known: what it holds would be let go before it is past."""
        if period is not None and self.idle is not None and period > self.idle:
            long, idle = write_duration(period), write_duration(self.idle)
            raise DatasetError(
                f"memory: {name} looks back {long}, and a key is let go when no event of it came for {idle}; write "
                f"Memory([…], idle={long!r}), or a window of {idle!r} at most"
            )

    def __bool__(self) -> bool:
        return bool(self.declared)


def _check_part(part: Any) -> None:
    """Check what stands in a dataset's file; River is not imported for it."""
    if isinstance(part, Aggregate) or inspect.isfunction(part) or is_agg(part):
        return
    if hasattr(part, "transform_one"):
        raise DatasetError(f"memory holds {_said(part)}; write a function that builds it, and name that")
    raise DatasetError(f"memory holds {part!r}; write count(), mean('column') or others, or Agg(…) of River")


def _said(part: Any) -> str:
    """Write a part as it may stand in a dataset's file."""
    if isinstance(part, Aggregate):
        said = f"{part.kind}({repr(part.on) if part.on else ''})"
        said += f".by({', '.join(map(repr, part.keys))})" if part.keys else ""
        said += f".last({write_duration(part.period)!r})" if part.period else ""
        return said + (f".alias({part.chosen!r})" if part.chosen else "")
    return part.__name__ if inspect.isfunction(part) else f"{type(part).__name__}(…)"


def is_agg(part: Any) -> bool:
    """Tell whether this is River's ``Agg`` itself, without importing River; a class of it may do something else."""
    return f"{type(part).__module__}.{type(part).__name__}" in _AGGS
