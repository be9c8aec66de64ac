"""What is a dataset's file to say of a table that was looked at?

Choices that a person may change: features, a few expectations, how often models are published and refitted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from datetime import timedelta

import polars as pl

from millrace.drafting.findings import Answer, Raw
from millrace.drafting.sheet import Sheet
from millrace.drafting.template import WIDTH, Draft, quoted
from millrace.drafting.timeline import STEPS, Timeline
from millrace.errors import UsageError

_REFITS = 40
"""The batch model is fitted no more often than this over the whole table."""
_WINDOW = 10_000
_SETS, _RANGES, _VALUES = 4, 4, 8
"""So many expectations of sets (of at most so many values) and of ranges, for a person to go on from."""
_OFTEN = 10
"""A value of such a set comes so often, on average."""
_FEW = 500


def draft(table: Sheet, answer: Answer, line: Timeline, raw: list[Raw]) -> Draft:
    """Choose what a dataset's file says.

    Raises
    ------
    UsageError
        When no column is left for models to see.
    """
    left = list(_left_out(raw))
    if not any(one.kind for one in raw):
        raise UsageError(
            f"{table.path}: no column is left that models could see; {'; '.join(left) or 'there is no other column'}"
        )
    numbers = [one.name for one in raw if one.kind == "number"]
    categories = [one.name for one in raw if one.kind == "category"]
    label = answer.values.name
    when = f"answered at its `{line.answers.get('time', 'label_time')}`" if line.window else "answered at once"
    rows = f"{table.frame.height:,} rows in {table.path.name}"
    found = [f"`millrace new` found {rows}, {line.answered:,} with a label; change what you like"]
    found += [f"`{label}`: {answer.said}{_share(answer)}", *table.said, *line.said, *left]
    if line.answered < _FEW:
        found.append(f"{line.answered:,} labels are few: what the models score here says little")
    return Draft(
        asks=f"What is `{label}` of a row of {table.path.name}? Asked at its `{line.names.get('time', 'event_time')}`, {when}.",
        found=found,
        task=answer.task,
        label=str(answer.dtype),
        raw={one.name: _dtype(one.values) for one in raw},
        numbers=numbers,
        categories=categories,
        calendar=[name for name in _calendar(line) if name not in {one.name for one in raw}],
        names=line.names,
        answers=line.answers,
        cadence=line.cadences[0],
        refit=next((step for step in STEPS if line.span / step <= _REFITS), STEPS[-1]),
        last=_WINDOW,
        window=line.window,
        scale=_scale(answer.values) if answer.task == "regression" else None,
        flags=any(one.kind == "number" and one.values.dtype == pl.Boolean for one in raw),
        expect=[*itertools.islice(_sets(raw), _SETS), *itertools.islice(_ranges(raw), _RANGES)],
    )


def _left_out(raw: list[Raw]) -> Iterator[str]:
    """Say which columns are no features, or should be none, once a reason."""
    for kind, why in dict.fromkeys((one.kind, one.why) for one in raw if one.why):
        names = [f"`{one.name}`" for one in raw if one.why == why]
        are = "is no feature" if len(names) == 1 else "are no features"
        yield f"{', '.join(names)} {'is a feature, for there is no other' if kind else are}: {why}"


def _share(answer: Answer) -> str:
    return f"; {answer.values.drop_nulls().mean():.1%} are true" if answer.task == "binary" else ""  # type: ignore[str-bytes-safe]


def _dtype(values: pl.Series) -> str:
    return "Datetime" if isinstance(values.dtype, pl.Datetime) else str(values.dtype)


def _calendar(line: Timeline) -> Iterator[str]:
    """Name what of the event's time comes again within the table, and differs."""
    times = line.rows["event_time"]
    for name, least in (("hour", timedelta(days=2)), ("weekday", timedelta(days=14)), ("month", timedelta(days=730))):
        if line.span >= least and getattr(times.dt, name)().n_unique() > 1:
            yield name


def _scale(labels: pl.Series) -> float:
    """Return the error that is as bad as it gets: the width of the middle 98%."""
    known = labels.drop_nulls()
    low, high, least, most = (float(known.quantile(share) or 0.0) for share in (0.01, 0.99, 0.0, 1.0))
    return float(f"{high - low or most - least:.2g}")


def _sets(raw: list[Raw]) -> Iterator[str]:
    categories = [one for one in raw if one.kind == "category"]
    few = [one for one in categories if one.values.n_unique() <= min(_VALUES, one.values.len() / _OFTEN)]
    for one in few:
        values = ", ".join(map(quoted, one.values.drop_nulls().unique().sort().to_list()))
        expected = f"expect.column_values_to_be_in_set({quoted(one.name)}, [{values}])"
        if len(expected) <= WIDTH:
            yield expected


def _ranges(raw: list[Raw]) -> Iterator[str]:
    """Expect numbers not to lie farther out than the whole width of what was seen, nor below zero where none did."""
    numbers = [one for one in raw if one.kind == "number" and one.values.dtype == pl.Float64]
    for one in numbers:
        low, high = float(one.values.min()), float(one.values.max())  # type: ignore[arg-type]
        width = high - low
        least, most = 0.0 if low >= 0 else low - width, high + width
        yield f"expect.column_values_to_be_between({quoted(one.name)}, {_outward(least)}, {_outward(most, up=True)})"


def _outward(value: float, up: bool = False) -> str:
    """Round to two digits, away from what was seen."""
    if not value:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return f"{(math.ceil if up else math.floor)(value / step) * step:.12g}"
