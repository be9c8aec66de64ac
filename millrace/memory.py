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

from millrace.clock import declared_duration, write_duration
from millrace.errors import DatasetError

NAME = "memory"
"""The name under which its definition and its checkpoints are on record."""
_AGG = "river.feature_extraction.agg"
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


def _duration(given: timedelta | str, what: str) -> timedelta:
    found = declared_duration(f"memory: {what}({given!r})", given, unit="s")
    if found <= timedelta(0):
        raise DatasetError(f"memory: {what}({given!r}) must be longer than nothing")
    return found


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
        return replace(self, keys=names)

    def last(self, period: timedelta | str) -> Aggregate:
        """Let only events of the last while count: those whose time is later than that of the newest by less than this."""
        return replace(self, period=_duration(period, "last"))

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
    return Aggregate("count", on)


def since() -> Aggregate:
    """How many seconds before this event the newest earlier one was; null where there is none, negative before a late event."""
    return Aggregate("since")


def mean(on: str) -> Aggregate:
    """The mean of a column; null where there is no value."""
    return Aggregate("mean", on)


def total(on: str) -> Aggregate:
    """The sum of a column; zero where there is no value."""
    return Aggregate("total", on)


def low(on: str) -> Aggregate:
    """The smallest value of a column; null where there is none."""
    return Aggregate("low", on)


def high(on: str) -> Aggregate:
    """The largest value of a column; null where there is none."""
    return Aggregate("high", on)


def distinct(on: str) -> Aggregate:
    """How many values of a column there were, equal ones counted once; within a stretch of time, which bounds what is kept."""
    return Aggregate("distinct", on)


def last_value(on: str) -> Aggregate:
    """The value of a column at the newest event that has one, by ``event_time``; of several at one moment the last to arrive."""
    return Aggregate("last_value", on)


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
        When a part is none of these.
    """

    def __init__(self, parts: Sequence[Any], itself: bool = False, idle: timedelta | str | None = "90d") -> None:
        self.declared = tuple(parts)
        self.itself = itself
        self.idle = None if idle is None else _duration(idle, "idle")
        for part in self.declared:
            _check_part(part)

    @classmethod
    def of(cls, declared: Memory | Sequence[Any]) -> Memory:
        """Return the memory for what a dataset's file may declare: one, or just its parts."""
        return declared if isinstance(declared, Memory) else cls(declared)

    def __bool__(self) -> bool:
        return bool(self.declared)


def _check_part(part: Any) -> None:
    """Check what stands in a dataset's file; River is not imported for it."""
    if isinstance(part, Aggregate) or inspect.isfunction(part) or is_agg(part):
        return
    if hasattr(part, "transform_one"):
        raise DatasetError(f"memory holds {type(part).__name__}(…); write a function that builds it, and name that")
    raise DatasetError(f"memory holds {part!r}; write count(), mean('column') or others, or Agg(…) of River")


def is_agg(part: Any) -> bool:
    """Tell whether this is River's ``Agg`` itself (``TargetAgg`` learns from labels), without importing River."""
    bases = {f"{one.__module__}.{one.__name__}" for one in type(part).__mro__}
    return f"{_AGG}.Agg" in bases and f"{_AGG}.TargetAgg" not in bases
