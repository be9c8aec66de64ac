"""What do the models see of an event?

The features are computed once, when the event arrives, by one function (live, in replay, in explanation and in a
loaded version), and logged. Polars divides one row and many rows differently in the last bit, so a row's features are
always computed on a contiguous frame that ends in a row of nulls: then a row is alone or among others to the same bits.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from millrace import collector
from millrace.casting import UTC_MICROSECONDS
from millrace.dataset import Dataset
from millrace.errors import DatasetError
from millrace.schema import Column

_SUPPORTED = (pl.String, pl.Boolean, pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.Int16, pl.Int8)
_UNSIGNED = (pl.UInt8, pl.UInt16, pl.UInt32)
_PYTHON = (b"PLPYFN", b"cloudpickle", b"millrace_datasets.")
"""By which a Python function is known in what Polars writes down: its own mark, or the pickle of one in a fold or the like."""


def raw_schema(dataset: Dataset) -> dict[str, Any]:
    """Return what a feature may be computed from: the id, the time and the raw columns, with their types."""
    return {"event_id": pl.String(), "event_time": UTC_MICROSECONDS, **dataset.event.dtypes}


def compute(dataset: Dataset, events: pl.DataFrame) -> pl.DataFrame:
    """Compute the features of events.

    Parameters
    ----------
    events
        ``event_id``, ``event_time`` and the raw columns.

    Returns
    -------
    DataFrame
        A column a feature, a row an event, in the order of ``events``. Numbers are 64 bits wide, and null where they
        are not finite.
    """
    schema = raw_schema(dataset)
    nulls = pl.DataFrame({name: [None] for name in schema}, schema=schema)
    padded = pl.concat([events.select(pl.col(name).cast(dtype) for name, dtype in schema.items()), nulls], rechunk=True)
    x = padded.select(*dataset.features)
    if x.height != padded.height:
        raise DatasetError(
            f"features give {x.height} rows for {padded.height} events; a feature is computed row by row, without means, "
            "ranks or shifts (what depends on earlier events is declared in memory=)"
        )
    return x.head(events.height).select(_normal(name, dtype) for name, dtype in x.schema.items())


def expressions(dataset: Dataset) -> dict[str, pl.Expr]:
    """Return by feature the expression that computes it; one expression may compute several."""
    empty = pl.LazyFrame(schema=raw_schema(dataset))
    return {name: one for one in dataset.features for name in empty.select(one).collect_schema().names()}


def definition(dataset: Dataset, expression: pl.Expr) -> str:
    """Tell an expression from another by its definition: a sha256 of what Polars writes down.

    Where it holds a Python function, the text of the dataset's file is part of it: a function of that file is written down by
    its name alone, and what others name in it, too. So any change of the file is then another definition.
    """
    written = expression.meta.serialize()
    holds_python = any(mark in written for mark in _PYTHON)
    return hashlib.sha256(written + (dataset.text.encode() if holds_python else b"")).hexdigest()


def of_events(dataset: Dataset, events: pl.DataFrame, problems: list[str]) -> pl.DataFrame:
    """Compute the features of rows of the table ``events``.

    Where a row's cannot be computed its features are null, so that it holds up no other, and it is told among the problems.

    Parameters
    ----------
    events
        ``event_id``, ``event_time`` and ``raw``.
    problems
        Is added to.
    """
    return _halved(dataset, flat(dataset, events), problems)


def flat(dataset: Dataset, events: pl.DataFrame) -> pl.DataFrame:
    """Spread out rows of the table ``events``: ``event_id``, ``event_time``, each raw column; null where the table has none."""
    spread = events.select("event_id", "event_time", pl.col("raw").struct.unnest())
    absent = {name: dtype for name, dtype in raw_schema(dataset).items() if name not in spread.columns}
    return spread.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in absent.items())


def _halved(dataset: Dataset, events: pl.DataFrame, problems: list[str]) -> pl.DataFrame:
    try:
        return compute(dataset, events)
    except Exception as error:  # noqa: BLE001 - one row's values must not hold up the others
        if events.height > 1:
            half = events.height // 2
            return pl.concat([_halved(dataset, events.head(half), problems), _halved(dataset, events.tail(-half), problems)])
        problems.append(f"the features of event {events['event_id'][0]!r} cannot be computed: {str(error).splitlines()[0]}")
        return pl.DataFrame({n: [None] for n in of_rows(dataset)}, schema=of_rows(dataset))


def _normal(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype.is_float():
        wide = column.cast(pl.Float64)
        return pl.when(wide.is_finite()).then(wide).alias(name)
    if dtype in _UNSIGNED or dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return column


def of_rows(dataset: Dataset) -> dict[str, pl.DataType]:
    """Return the names and types of the features that are computed row by row, in the order of the dataset's file."""
    return dict(compute(dataset, pl.DataFrame(schema=raw_schema(dataset))).schema)


def schema(dataset: Dataset) -> dict[str, pl.DataType]:
    """Return the names and types of all features: in the order of the dataset's file, and those of memory after them."""
    from millrace import recall

    return of_rows(dataset) | (recall.of(dataset).schema if dataset.remembers else {})


def rows(x: pl.DataFrame) -> list[dict[str, Any]]:
    """Turn features into what River's models take: a dict an event, nulls left out, keys in the order of the columns."""
    names = [sys.intern(name) for name in x.columns]
    values = zip(*map(_values, x.get_columns()), strict=True)
    with collector.paused():
        if not any(x.null_count().row(0)):
            return [dict(zip(names, row, strict=True)) for row in values]
        return [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in values]


def _values(column: pl.Series) -> list[Any]:
    """List a column's values; equal texts are one object, which a model's dicts then find without comparing letters."""
    values = column.to_list()
    return [text and sys.intern(text) for text in values] if column.dtype == pl.String else values


def in_order(x: pl.DataFrame, registered: Sequence[str]) -> pl.DataFrame:
    """Put the features in the order in which they were first registered, new ones last."""
    known = [name for name in registered if name in x.columns]
    return x.select(*known, *[name for name in x.columns if name not in registered])


def check(dataset: Dataset) -> None:
    """Check that every feature is computed row by row, to the bit, on a made-up sample.

    Raises
    ------
    DatasetError
        When a feature cannot be computed, is of a type that River cannot take, or depends on its neighbours.
    """
    try:
        empty = compute(dataset, pl.DataFrame(schema=raw_schema(dataset)))
    except DatasetError:
        raise
    except Exception as error:
        columns = ", ".join(raw_schema(dataset))
        raise DatasetError(f"features: {first_line(error)}; the raw columns are {columns}") from error
    for name, dtype in empty.schema.items():
        if dtype not in _SUPPORTED:
            raise DatasetError(f"feature {name!r} is {dtype}; cast it to pl.Float64, pl.String or pl.Boolean")
    check_row_by_row(
        lambda rows: compute(dataset, rows),
        made_up(dataset),
        lambda name: f"feature {name!r} is not computed row by row",
        "what depends on earlier events is declared in memory=",
    )


def check_row_by_row(
    compute: Callable[[pl.DataFrame], pl.DataFrame], sample: pl.DataFrame, wrong: Callable[[str], str], instead: str
) -> None:
    """Check that what is computed of a row does not depend on those beside it, to the bit, on a sample.

    Parameters
    ----------
    compute, sample
        What gives a row for a row, and the rows on which it is tried.
    wrong, instead
        What is wrong with a column, by its name, and what to do: for the message.

    Raises
    ------
    DatasetError
        When a column is another in batches, or in another order.
    """
    try:
        whole = compute(sample)
    except DatasetError:
        raise
    except Exception:  # noqa: BLE001 - made-up values may be outside what an expression can read; real ones are checked live
        return
    order = list(range(sample.height))
    random.Random(7).shuffle(order)  # noqa: S311 - an order, no secret
    batches = [(size, [sample.slice(start, size) for start in range(0, sample.height, size)]) for size in (1, 2, 7)]
    found = [(f"in batches of {size}", whole, pl.concat(map(compute, parts))) for size, parts in batches]
    for how, expected, given in [*found, ("in another order", whole[order], compute(sample[order]))]:
        for name in expected.columns:
            if not expected[name].equals(given[name], null_equal=True):
                raise DatasetError(f"{wrong(name)}: {how} it is another; {instead}")


def made_up(dataset: Dataset, height: int = 23) -> pl.DataFrame:
    """Make up events, as :func:`compute` takes them: what expressions are tried on when a dataset is loaded."""
    source = random.Random(20130101)  # noqa: S311 - a sample, no secret
    columns: dict[str, list[Any]] = {
        "event_id": [f"event-{i}" for i in range(height)],
        "event_time": [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(minutes=97 * i) for i in range(height)],
    }
    for name, column in dataset.event.columns.items():
        columns[name] = [None if column.null and i % 11 == 10 else made_up_value(column, source) for i in range(height)]
    return pl.DataFrame(columns, schema=raw_schema(dataset))


def made_up_value(column: Column, source: random.Random) -> Any:
    """Make up a value that a column may have."""
    if column.known:
        return source.choice(list(column.known))
    low, high = column.between or (None, None)
    dtype = column.dtype
    if dtype == pl.String:
        return source.choice(["a", "b", "See", "12", "x y"])
    if dtype == pl.Boolean:
        return source.random() < 0.5
    if dtype == pl.Date:
        return date(2013, 1, 1) + timedelta(days=source.randrange(365))
    if dtype == pl.Datetime:
        return datetime(2013, 1, 1, tzinfo=UTC) + timedelta(seconds=source.randrange(10**7))
    smallest = 1 if low is None else low
    largest = smallest + 100 if high is None else high
    value = source.uniform(float(smallest), float(largest))
    return round(value) if isinstance(dtype, type) and issubclass(dtype, pl.datatypes.IntegerType) else value


def first_line(error: Exception) -> str:
    """Say in a line what was raised."""
    return f"{type(error).__name__}: {error}".split("\n")[0]
