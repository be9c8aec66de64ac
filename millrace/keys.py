"""What do the next events add to what is known of their keys, and what was known of each when it came?

Events are folded key by key, in order of arrival: what is known of a key depends on no other. Only the keys that come are
read, all of a stretch at once.
"""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
import polars as pl

from millrace import aggregates, collector, features, state
from millrace.aggregates import Statistic
from millrace.clock import MICROSECOND
from millrace.memory import Aggregate
from millrace.recall import Recall, Whole

Row = tuple[int, bytes, int, bytes]
"""A key as it is stored: the number of its part of memory, the key, the data's clock when it was seen last, its state."""
Read = Callable[[int, Sequence[bytes]], Iterable[tuple[bytes, int, bytes]]]
"""Reads the keys of a part that are known: key, seen, state."""
_FOR_EVER = 2**62


class Keys:
    """The keys of a stretch of events.

    Parameters
    ----------
    recall
        The memory.
    read
        Reads what is known of keys.
    newest
        The largest time of an event before.

    Attributes
    ----------
    rows
        What is known of the keys after the stretch.
    new
        How many were not known before.
    late, nulls
        How many events came late, and how many had a key that is null.
    clock, newest
        The data's clock at the last event, and the largest time of an event, in microseconds.
    """

    def __init__(self, recall: Recall, read: Read, newest: int) -> None:
        self._recall, self._read = recall, read
        self._idle = _FOR_EVER if recall.memory.idle is None else recall.memory.idle // MICROSECOND
        self.rows: list[Row] = []
        self.new = self.late = self.nulls = self.clock = 0
        self.newest = newest

    def fold(self, events: pl.DataFrame, x: pl.DataFrame, problems: list[str] | None) -> pl.DataFrame:
        """Say of each event what is known before it (or with it), and remember it; as :meth:`Remembered.fold`."""
        times, clocks = (events[name].to_physical().to_list() for name in ("event_time", "clock"))
        values, said = Values(events, x), dict[str, list[Any]]()
        self.clock = clocks[-1] if clocks else 0
        for time in times:
            self.late += time < self.newest
            self.newest = max(time, self.newest)
        null = [False] * len(times)
        with collector.paused():
            for part, (names, group) in enumerate(self._recall.groups.items()):
                keys = values.keys(names)
                null = [was or None in key for was, key in zip(null, keys, strict=True)]
                told = self._fold_group(part, group, keys, values, times, clocks)
                for one in group:
                    if one.how is not None:
                        self._take(f"{one}", {one.name: told[one.name]}, events["event_id"], {}, problems)
                said |= told
            for part, whole in enumerate(self._recall.wholes, len(self._recall.groups)):
                said |= self._fold_whole(part, whole, features.rows(x), times, events["event_id"], problems)
        self.nulls = sum(null)
        return pl.DataFrame([_column(name, dtype, said[name]) for name, dtype in self._recall.schema.items()])

    def _fold_group(
        self, part: int, group: Sequence[Aggregate], keys: Sequence[tuple[Any, ...]], values: Values, times: list[int],
        clocks: list[int],
    ) -> dict[str, list[Any]]:  # fmt: skip
        statistics = [aggregates.of(one, self._recall.memory.itself) for one in group]
        of_each = [values.of(one.on) if one.on else times for one in group]
        said: list[list[Any]] = [[None] * len(times) for _ in group]
        places = dict[tuple[Any, ...], list[int]]()
        for at, key in enumerate(keys):
            places.setdefault(key, []).append(at)
        encoded = {orjson.dumps(key): ats for key, ats in places.items()}
        known = {key: (seen, data) for key, seen, data in self._read(part, list(encoded))}
        self.new += len(encoded) - len(known)
        for name, ats in encoded.items():
            seen, data = known.get(name, (-_FOR_EVER, b""))
            mark, kept = _loaded(statistics, data)
            for run in self._runs(ats, clocks):
                if clocks[run[0]] - seen > self._idle:
                    mark, kept = None, [one.fresh() for one in statistics]
                seen = clocks[run[-1]]
                own, marks, before = [times[at] for at in run], [], []
                for time in own:
                    before.append(mark)
                    mark = time if mark is None or time > mark else mark
                    marks.append(mark)
                for statistic, of, was, column in zip(statistics, of_each, kept, said, strict=True):
                    answers = statistic.go_on(was, zip(own, marks, before, [of[at] for at in run], strict=True))
                    for at, answer in zip(run, answers, strict=True):
                        column[at] = answer
            stored = [one.stored(was) for one, was in zip(statistics, kept, strict=True)]
            self.rows.append((part, name, seen, marshal.dumps((mark, stored))))
        return {one.name: column for one, column in zip(group, said, strict=True)}

    def _runs(self, ats: list[int], clocks: list[int]) -> Iterator[list[int]]:
        """Cut the places of a key where it was idle for so long that it is let go."""
        if clocks[ats[-1]] - clocks[ats[0]] <= self._idle:
            yield ats
            return
        start = 0
        for i in range(1, len(ats)):
            if clocks[ats[i]] - clocks[ats[i - 1]] > self._idle:
                yield ats[start:i]
                start = i
        yield ats[start:]

    def _fold_whole(
        self, part: int, whole: Whole, xs: list[dict[str, Any]], times: list[int], ids: pl.Series, problems: list[str] | None
    ) -> dict[str, list[Any]]:
        known = [data for *_, data in self._read(part, [b""])]
        self.new += not known
        transformer = state.load(known[0] if known else state.slim(whole.transformer))
        said: dict[str, list[Any]] = {name: [None] * len(times) for name in whole.names}
        failed = dict[int, Exception]()
        for at, x in enumerate(xs):
            try:
                if self._recall.memory.itself:
                    whole.learn(transformer, x, times[at])
                given = transformer.transform_one(x)
                if not self._recall.memory.itself:
                    whole.learn(transformer, x, times[at])
                if odd := given.keys() - said.keys():
                    raise KeyError(*odd)
                for name in given:
                    said[name][at] = given[name]
            except Exception as error:  # noqa: BLE001 - whatever a transformer raises, it holds up no event
                failed[at] = error
        self.rows.append((part, b"", _FOR_EVER, state.slim(transformer)))
        self._take(f"{whole.function.__name__}()", said, ids, failed, problems)
        return said

    def _take(
        self, part: str, said: dict[str, list[Any]], ids: pl.Series, failed: dict[int, Exception], problems: list[str] | None
    ) -> None:
        """Put null where a part of River's raised, or gave something else than it promised; and tell how often it did."""
        for name, column in said.items():
            is_text = self._recall.schema[name] == pl.String
            for at, value in enumerate(column):
                try:
                    column[at] = _promised(value, is_text)
                except Exception as error:  # noqa: BLE001 - as above, or what it gave is no number
                    column[at] = None
                    failed.setdefault(at, error)
        if failed and problems is not None:
            first = min(failed)
            problems.append(
                f"memory: {part} could not tell {len(failed):,} of {len(ids):,} events anything (first: event {ids[first]!r}: "
                f"{failed[first]!r})"
            )


def _promised(value: Any, is_text: bool) -> Any:
    """Return what a part of River's said as what it is logged as; raise what it raised."""
    if isinstance(value, Exception):
        raise value
    if value is not None and isinstance(value, str) != is_text:
        raise TypeError(f"it gave {value!r} where {'text' if is_text else 'a number'} was promised")
    return value if value is None or is_text else float(value)


def _loaded(statistics: Sequence[Statistic], data: bytes) -> tuple[int | None, list[Any]]:
    if not data:
        return None, [one.fresh() for one in statistics]
    try:
        mark, stored = marshal.loads(data)  # noqa: S302 - numbers and lists, written by ourselves
        return mark, [one.loaded(was) for one, was in zip(statistics, stored, strict=True)]
    except (ValueError, EOFError, TypeError) as error:
        raise sqlite3.DatabaseError(f"what is known of a key is damaged: {error}") from error


class Values:
    """The columns of some events as lists: a feature, or else the raw column of that name.

    Parameters
    ----------
    events, x
        The events, with their raw columns in ``raw``, and their features.
    """

    def __init__(self, events: pl.DataFrame, x: pl.DataFrame) -> None:
        self._raw, self._x = events["raw"].struct.unnest(), x
        self._lists: dict[str, list[Any]] = {}

    def of(self, name: str) -> list[Any]:
        """List a column's values; times as microseconds, and null where a number is not finite."""
        if name not in self._lists:
            frame = self._x if name in self._x.columns else self._raw
            column = frame[name] if name in frame.columns else pl.repeat(None, frame.height, eager=True)
            if column.dtype.is_float():  # -0.0 is the same key as 0.0
                column = pl.select(pl.when(column.is_finite()).then(column + 0.0)).to_series()
            self._lists[name] = column.to_physical().to_list()
        return self._lists[name]

    def keys(self, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """List each event's key."""
        return list(zip(*map(self.of, names), strict=True)) if names else [()] * self._x.height


def _column(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    if dtype != pl.Float64:
        return pl.Series(name, values, dtype=dtype)
    column = pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    return pl.select(pl.when(column.is_finite()).then(column).alias(name)).to_series()
