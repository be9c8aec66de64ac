"""How does one statistic of one key go on, event by event?

What is kept of a key is plain data (lists and numbers), so that it is small and quick to store. A window holds the events
whose time is later than ``mark - period``; ``mark`` is the largest time seen of the key, the asking event's among them. So
an event is let go when the key is asked about next, whether it is remembered again or not; and an event that comes late
takes its place by its time, or none where the window has passed it. When a window has become empty its statistic begins
afresh, and no rounding stays behind.
"""

from __future__ import annotations

import copy
import pickle
from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from millrace import pickles
from millrace.clock import MICROSECOND
from millrace.memory import Aggregate

Run = Iterable[tuple[int, int, int | None, Any]]
"""Events of one key in order of arrival: ``event_time``, the mark with it, the mark before it, and the value."""


class Statistic(ABC):
    """A statistic, which goes on with what is kept of a key: a list, or a dict.

    Parameters
    ----------
    period
        The window's length in microseconds; None without a window.
    itself
        Whether an event counts itself.
    """

    def __init__(self, period: int | None, itself: bool) -> None:
        self.period, self.itself = period, itself

    def fresh(self) -> Any:
        """Return what is kept before the first event."""
        return []

    @abstractmethod
    def go_on(self, kept: Any, run: Run) -> list[Any]:
        """Remember events, and return what is said of each; ``kept`` is changed."""

    def stored(self, kept: Any) -> Any:
        """Return it as data that can be stored."""
        return kept

    def loaded(self, stored: Any) -> Any:
        """Return what was stored as it was."""
        return stored


class _Counted(Statistic):
    """How many; of a window the times are kept."""

    def fresh(self) -> Any:
        return [0] if self.period is None else []

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        period, itself, said, start = self.period, self.itself, [], 0
        if period is None:
            for *_, value in run:
                said.append(float(kept[0] + (itself and value is not None)))
                kept[0] += value is not None
            return said
        for time, mark, _, value in run:
            horizon = mark - period
            while start < len(kept) and kept[start] <= horizon:
                start += 1
            if not itself:
                said.append(float(len(kept) - start))
            if value is not None and time > horizon:
                if not kept or time >= kept[-1]:
                    kept.append(time)
                else:
                    insort(kept, time, lo=start)
            if itself:
                said.append(float(len(kept) - start))
        del kept[:start]
        return said


class _Since(Statistic):
    """Seconds from the newest event before this one, which the mark tells: nothing is kept."""

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        period = self.period
        return [
            None if before is None or (period is not None and before <= mark - period) else (time - before) / 1e6
            for time, mark, before, _ in run
        ]


class _Last(Statistic):
    """The value at the newest event: its time and it are kept."""

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        period, itself, said = self.period, self.itself, []
        for time, mark, _, value in run:
            if period is not None and kept and kept[0] <= mark - period:
                kept.clear()
            if not itself:
                said.append(kept[1] if kept else None)
            if value is not None and (period is None or time > mark - period) and (not kept or time >= kept[0]):
                kept[:] = time, value
            if itself:
                said.append(kept[1] if kept else None)
        return said


class _Extreme(Statistic):
    """The largest value within a window, or with sign -1 the smallest: those are kept that no later one outdoes."""

    def __init__(self, period: int, itself: bool, sign: int) -> None:
        super().__init__(period, itself)
        self.sign = sign

    def fresh(self) -> Any:
        return [[], []]

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        period, itself, sign, said, start = self.period or 0, self.itself, self.sign, [], 0
        times, values = kept
        for time, mark, _, value in run:
            horizon = mark - period
            while start < len(times) and times[start] <= horizon:
                start += 1
            if not itself:
                said.append(sign * values[start] if start < len(times) else None)
            if value is not None and time > horizon:
                signed = sign * float(value)
                first = at = bisect_right(times, time, lo=start)
                if at == len(times) or values[at] < signed:
                    while first > start and values[first - 1] <= signed:
                        first -= 1
                    times[first:at], values[first:at] = [time], [signed]
            if itself:
                said.append(sign * values[start] if start < len(times) else None)
        del times[:start], values[:start]
        return said


class _Distinct(Statistic):
    """How many values within a window: the newest time of each is kept, the oldest first."""

    def fresh(self) -> Any:
        return {}

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        period, itself, said, start = self.period or 0, self.itself, [], 0
        times, values = list(kept.values()), list(kept)  # a value that comes again is there again, and was before for nothing
        for time, mark, _, value in run:
            horizon = mark - period
            while start < len(times) and times[start] <= horizon:
                if kept.get(values[start]) == times[start]:
                    del kept[values[start]]
                start += 1
            if not itself:
                said.append(float(len(kept)))
            if value is not None and time > horizon and kept.get(value, horizon) < time:
                kept[value] = time
                at = len(times) if not times or time >= times[-1] else bisect_right(times, time, lo=start)
                times.insert(at, time)
                values.insert(at, value)
            if itself:
                said.append(float(len(kept)))
        newest = {value: at for at, value in zip(times[start:], values[start:], strict=True) if kept[value] == at}
        kept.clear()
        kept.update(newest)
        return said


class _Total:
    """A sum, as River's ``stats.Sum``."""

    __slots__ = ("n", "total")

    def __init__(self, n: int = 0, total: float = 0.0) -> None:
        self.n, self.total = n, total

    def update(self, x: float) -> None:
        self.total += x

    def revert(self, x: float) -> None:
        self.total -= x

    def get(self) -> float | None:
        return self.total


class _Mean(_Total):
    """A mean, as River's ``stats.Mean``; of nothing there is none."""

    __slots__ = ()

    def update(self, x: float) -> None:
        self.n += 1
        self.total += (x - self.total) / self.n

    def revert(self, x: float) -> None:
        self.n -= 1
        self.total -= (x - self.total) / self.n

    def get(self) -> float | None:
        return self.total if self.n else None


class _High(_Total):
    """The largest value."""

    __slots__ = ()

    def update(self, x: float) -> None:
        if not self.n or x > self.total:
            self.n, self.total = 1, float(x)

    def get(self) -> float | None:
        return self.total if self.n else None


class _Low(_High):
    """The smallest value."""

    __slots__ = ()

    def update(self, x: float) -> None:
        if not self.n or x < self.total:
            self.n, self.total = 1, float(x)


class _Running(Statistic):
    """A statistic that is updated, and over a window reverted: ours, or River's.

    Of an event for which River's raises, the error is said. It may have been left half changed: so it learns afresh what the
    window holds, or without a window goes on as it was left.
    """

    def __init__(self, period: int | None, itself: bool, how: Any) -> None:
        super().__init__(period, itself)
        self.how = how
        self._ours = isinstance(how, _Total)

    def fresh(self) -> Any:
        return [self._begun(), [], []]

    def _begun(self) -> Any:
        return type(self.how)() if self._ours else copy.deepcopy(self.how)

    def go_on(self, kept: Any, run: Run) -> list[Any]:
        how, times, values = kept
        period, itself, said, start = self.period, self.itself, [], 0
        for time, mark, _, value in run:
            horizon = time - 1 if period is None else mark - period
            try:
                if period is not None and start < len(times) and times[start] <= horizon:
                    past, start = start, bisect_right(times, horizon, lo=start)
                    if start == len(times):
                        how = self._begun()
                    else:
                        for old in values[past:start]:
                            how.revert(old)
                answer = None if itself else how.get()
            except Exception as error:  # noqa: BLE001 - whatever a statistic of River's raises, it holds up no event
                answer, how = error, self._mended(error, how, values[start:])
            try:
                if value is not None and time > horizon:
                    how.update(value)
                    if period is not None:
                        at = len(times) if not times or time >= times[-1] else bisect_right(times, time, lo=start)
                        times.insert(at, time)
                        values.insert(at, value)
                if itself and answer is None:
                    answer = how.get()
            except Exception as error:  # noqa: BLE001 - as above
                answer, how = error, self._mended(error, how, values[start:])
            said.append(answer)
        del times[:start], values[:start]
        kept[0] = how
        return said

    def _mended(self, error: Exception, how: Any, held: list[Any]) -> Any:
        if isinstance(error, MemoryError):  # the machine's failure, not the statistic's
            raise error
        if self.period is None:
            return how
        how = self._begun()
        for value in held:
            with suppress(Exception):
                how.update(value)
        return how

    def stored(self, kept: Any) -> Any:
        how, times, values = kept
        return [[how.n, how.total] if self._ours else pickle.dumps(how, protocol=5), times, values]

    def loaded(self, stored: Any) -> Any:
        how, times, values = stored
        return [type(self.how)(*how) if self._ours else pickles.loads(how), times, values]


def of(aggregate: Aggregate, itself: bool) -> Statistic:
    """Return the statistic of an aggregate.

    Examples
    --------
    >>> from millrace.memory import count
    >>> minute, events = of(count().last("60s"), itself=False), [0, 30_000_000, 100_000_000]
    >>> minute.go_on(minute.fresh(), [(time, time, None, 1) for time in events])
    [0.0, 1.0, 0.0]
    """
    period = None if aggregate.period is None else aggregate.period // MICROSECOND
    if aggregate.how is not None:
        return _Running(period, itself, aggregate.how)
    if aggregate.kind in ("low", "high") and period is not None:
        return _Extreme(period, itself, 1 if aggregate.kind == "high" else -1)
    running = {"total": _Total, "mean": _Mean, "low": _Low, "high": _High}
    if aggregate.kind in running:
        return _Running(period, itself, running[aggregate.kind]())
    kinds: dict[str, type[Statistic]] = {"count": _Counted, "since": _Since, "last_value": _Last, "distinct": _Distinct}
    return kinds[aggregate.kind](period, itself)
