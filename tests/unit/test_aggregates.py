"""Does each statistic say what its window holds, in whatever order events come?"""

from __future__ import annotations

import marshal
import statistics
from collections.abc import Sequence
from datetime import timedelta
from time import process_time
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from millrace import aggregates
from millrace.clock import from_microseconds
from millrace.memory import Aggregate, count, distinct, high, last_value, low, mean, since, total

_ROWS = st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(-4, 4).map(float)), min_size=1, max_size=25)
"""Times in microseconds, in any order, and values."""
_PERIOD = timedelta(microseconds=10)


def _run(rows: Sequence[tuple[int, float | None]]) -> list[tuple[int, int, int | None, Any]]:
    """Add to each event the largest time up to it, and before it."""
    times = [time for time, _ in rows]
    return [(time, max(times[: i + 1]), max(times[:i], default=None), value) for i, (time, value) in enumerate(rows)]


def _plainly(one: Aggregate, held: list[tuple[int, float]]) -> float | None:
    """Say it from what the window holds, in order of arrival."""
    values = [value for _, value in held]
    newest = max((time for time, _ in held), default=0)
    return {
        "count": float(len(values)),
        "total": sum(values, 0.0),
        "mean": statistics.fmean(values) if values else None,
        "low": min(values, default=None),
        "high": max(values, default=None),
        "distinct": float(len(set(values))),
        "last_value": [value for time, value in held if time == newest][-1] if held else None,
    }[one.kind]


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("period", [_PERIOD, None])
@pytest.mark.parametrize("one", [count("v"), total("v"), mean("v"), low("v"), high("v"), distinct("v"), last_value("v")], ids=str)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=_ROWS, cuts=st.sets(st.integers(0, 25)))
def test_a_window_is_what_it_holds(
    one: Aggregate, period: timedelta | None, itself: bool, rows: list[tuple[int, float | None]], cuts: set[int]
) -> None:
    if one.kind == "distinct" and period is None:
        return
    run = _run(rows)
    statistic = aggregates.of(one.last(period) if period else one, itself)
    kept, said = statistic.fresh(), []
    for i, event in enumerate(run):
        said += statistic.go_on(kept, [event])
        if i in cuts:
            kept = statistic.loaded(marshal.loads(marshal.dumps(statistic.stored(kept))))
    at_once = statistic.go_on(statistic.fresh(), run)
    assert [repr(answer) for answer in said] == [repr(answer) for answer in at_once]
    for i, (_, mark, _, _) in enumerate(run):
        held, oldest = [], -1
        for time, then, _, value in run[: i + itself]:
            oldest = then - 10 if period else -1
            if value is not None and time > oldest:
                held.append((time, value))
        horizon = mark - 10 if period else -1
        expected = _plainly(one, [(time, value) for time, value in held if time > horizon])
        assert said[i] == (expected if expected is None else pytest.approx(expected, abs=1e-12)), (i, held)


def test_an_empty_window_leaves_no_rounding_behind() -> None:
    statistic = aggregates.of(total("v").last(_PERIOD), itself=False)
    run = _run([(0, 0.1), (1, 0.2), (2, 1e17), (13, 0.1), (14, 0.2), (40, None)])
    assert statistic.go_on(statistic.fresh(), run) == [0.0, 0.1, 0.1 + 0.2, 0.0, 0.1, 0.0]


def test_values_are_let_go_and_late_ones_put_in_place_in_one_pass() -> None:
    started, many = process_time(), 100_000
    statistic = aggregates.of(distinct("v").last(timedelta(microseconds=many)), itself=False)
    kept = statistic.fresh()
    statistic.go_on(kept, [(at, at, at - 1, float(at)) for at in range(many)])
    late = [(at, many - 1, many - 1, float(many + at)) for at in range(10_000, 0, -1)]
    assert statistic.go_on(kept, [*late, (3 * many, 3 * many, many - 1, 0.0)])[-2:] == [float(many + 9_999), 0.0]
    assert kept == {0.0: 3 * many}
    assert process_time() - started < 3, "it grows with the square of what is kept"


def test_since_is_from_the_newest_event() -> None:
    run = _run([(0, None), (5_000_000, None), (2_000_000, None), (9_000_000, None)])
    assert aggregates.of(since(), itself=False).go_on([], run) == [None, 5.0, -3.0, 4.0]
    assert aggregates.of(since().last("4s"), itself=False).go_on([], run) == [None, None, -3.0, None]


@pytest.mark.parametrize("name", ["Mean", "Sum", "Var", "SEM"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows=_ROWS)
def test_events_in_order_are_told_what_river_tells_them(name: str, rows: list[tuple[int, float | None]]) -> None:
    from river import stats, utils

    ordered = sorted((time, value) for time, value in rows if value is not None)
    theirs, expected = utils.TimeRolling(getattr(stats, name), period=_PERIOD), []
    for time, value in ordered:
        theirs.update(value, t=from_microseconds(time).replace(tzinfo=None))
        expected.append(theirs.get())
    one = Aggregate(name, "v", how=getattr(stats, name)()).last(_PERIOD)
    ours = aggregates.of(one, itself=True)
    assert ours.go_on(ours.fresh(), _run(ordered)) == pytest.approx(expected, abs=1e-9)
    if name in ("Mean", "Sum"):
        own = aggregates.of((mean if name == "Mean" else total)("v").last(_PERIOD), itself=True)
        assert own.go_on(own.fresh(), _run(ordered)) == pytest.approx(expected, abs=1e-9)


class Touchy:
    """A sum that raises when it is told 3, when 4 is past, and when it is asked at 5; it is half changed by then."""

    def __init__(self) -> None:
        self.total = 0.0

    def update(self, x: float) -> None:
        self.total += x
        if x == 3:
            raise ValueError("three")

    def revert(self, x: float) -> None:
        self.total -= 2 * x if x == 4 else x
        if x == 4:
            raise ValueError("four")

    def get(self) -> float:
        if self.total == 5:
            raise ValueError("five")
        return self.total


@pytest.mark.parametrize(
    ("itself", "expected"),
    [(False, [0.0, "three", 1.0, "five", 6.0, "four", 2.0]), (True, [1.0, "three", "five", 6.0, 7.0, "four", 4.5])],
)
def test_a_statistic_that_raises_says_so_of_that_event_and_goes_on_with_what_its_window_holds(
    itself: bool, expected: list[Any]
) -> None:
    rows: list[tuple[int, float | None]] = [(0, 1.0), (1, 3.0), (2, 4.0), (3, 1.0), (9, 1.0), (12, 1.0), (13, 2.5)]
    statistic, said = aggregates.of(Aggregate("touchy", "v", how=Touchy()).last(_PERIOD), itself), []
    kept = statistic.fresh()
    for event in _run(rows):
        said += statistic.go_on(kept, [event])
    assert [str(one) if isinstance(one, ValueError) else one for one in said] == expected
    at_once = statistic.go_on(statistic.fresh(), _run(rows))
    assert list(map(str, at_once)) == list(map(str, said))


def test_rounding_from_which_rivers_statistic_cannot_draw_a_root_is_gone_with_the_next_event() -> None:
    from river import stats

    statistic = aggregates.of(Aggregate("SEM", "v", how=stats.SEM()).last(timedelta(microseconds=3)), itself=False)
    run = _run([(0, 0.1), (1, 31.7), (2, 0.1), (3, 0.1), (4, 0.1), (4, 0.1)])
    *_, wrong, right = statistic.go_on(statistic.fresh(), run)
    assert (str(wrong), right) == ("math domain error", 0.0)
