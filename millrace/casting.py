"""Which rows fit the schema, and why do the others not?

Text becomes typed values column by column; a value that was there and is null afterwards is the reason. Nothing is
guessed: a naive time is refused, ``"false"`` is False, and a number that is not finite is null and counted. What is
wrong is found on whole columns; sentences are made for the rows alone that need one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from millrace.schema import Column, Dtype

UTC_MICROSECONDS = pl.Datetime("us", "UTC")
_USUAL = "%Y-%m-%dT%H:%M:%S%.fZ"
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
_CALENDAR = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_TRUE, _FALSE = ("true", "1", "1.0", "yes", "t", "y"), ("false", "0", "0.0", "no", "f", "n")
_FLOATS = (pl.Float64, pl.Float32)

# What may be wrong: in which rows (a condition, null meaning no), and the sentence that says it.
_Rule = tuple[pl.Expr, pl.Expr]


@dataclass(frozen=True)
class Id(Column):
    """The column that names a row: text, never null, never empty."""


@dataclass(frozen=True)
class Moment(Column):
    """The column that says when: a time that does not lie far in the future of the moment at which its file came."""


@dataclass(frozen=True)
class Cast:
    """What became of rows.

    Parameters
    ----------
    good
        The rows that fit, in the order in which they came, with ``value``, a struct of their typed columns.
    bad
        The others, with ``reasons`` (a list of sentences).
    nonfinite
        How many numbers of each row, good or bad, were not finite and became null.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    nonfinite: pl.Series


def cast(rows: pl.DataFrame, columns: Mapping[str, Column]) -> Cast:
    """Cast rows to their columns' types, and check what the columns say.

    Parameters
    ----------
    rows
        ``raw`` (a struct of the columns as they were read), ``missing`` (a list of the columns that a row did not have)
        and, where a column is a :class:`Moment`, ``latest`` (after it a time lies too far in the future); what else there
        is, is kept.
    columns
        The columns by their names in ``raw``.
    """
    raw = rows["raw"].struct.unnest()
    read = raw.select(_value(raw[name], column.dtype) for name, column in columns.items())
    floats = [name for name, column in columns.items() if column.dtype in _FLOATS]
    endless = read.select((~pl.col(name).is_finite()).fill_null(False) for name in floats)
    endless = endless.select(name for name in floats if endless[name].any())
    value = read.with_columns(pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in endless.columns)
    whole = rows.with_columns(read.to_struct("read"), value.to_struct("value"))
    nonfinite = sum((endless[name].cast(pl.Int64) for name in endless.columns), pl.Series([0]).new_from_index(0, rows.height))
    incomplete = bool(rows["missing"].list.len().max())
    rules = [rule for name, column in columns.items() for rule in _rules(name, column, raw.schema[name], incomplete)]
    wrong = whole.select(condition.fill_null(False).alias(f"wrong:{i}") for i, (condition, _) in enumerate(rules))
    broken = [i for i in range(len(rules)) if wrong[f"wrong:{i}"].any()]
    good = whole.drop("raw", "read", "missing", "latest", strict=False)
    if not broken:
        return Cast(good, rows.clear().with_columns(reasons=pl.Series([], dtype=pl.List(pl.String))), nonfinite)
    is_bad = wrong.select(pl.any_horizontal(f"wrong:{i}" for i in broken)).to_series()
    bad = pl.concat([whole.filter(is_bad), wrong.filter(is_bad)], how="horizontal")
    reasons = [pl.when(f"wrong:{i}").then(rules[i][1]) for i in broken]
    return Cast(good.filter(~is_bad), bad.select(*rows.columns, reasons=pl.concat_list(reasons).list.drop_nulls()), nonfinite)


def _rules(name: str, column: Column, given: pl.DataType, incomplete: bool) -> Iterator[_Rule]:
    raw, read, value = (pl.col(part).struct.field(name) for part in ("raw", "read", "value"))
    missing = pl.col("missing").list.contains(name) if incomplete else pl.lit(False)
    yield raw.is_not_null() & read.is_null(), _sentence(name, raw, _why(given, column.dtype, raw))
    if column.required:
        yield missing, pl.lit(f"missing column {name!r}")
    if not column.null:
        yield raw.is_null() & ~missing, pl.lit(f"{name} is null")
        if column.dtype in _FLOATS:
            yield read.is_not_null() & value.is_null(), pl.lit(f"{name} is not finite")
    if column.between is not None:
        low, high = column.between
        outside = pl.lit(False)
        if low is not None:
            outside = outside | (value < low)
        if high is not None:
            outside = outside | (value > high)
        ends = f"{'…' if low is None else low} to {'…' if high is None else high}"
        yield outside, _sentence(name, raw, pl.lit(f"lies outside {ends}"))
    if column.known is not None:
        known = ", ".join(map(str, column.known))
        yield (
            value.is_not_null() & ~value.is_in(list(column.known)),
            _sentence(name, raw, pl.lit(f"is not known; known: {known}")),
        )
    if isinstance(column, Id):
        yield value == "", pl.lit(f"{name} is empty")
    if isinstance(column, Moment):
        day = pl.col("latest").dt.strftime("%Y-%m-%d")
        far = pl.format("lies far in the future of {}, when the file came", day)
        yield value > pl.col("latest"), _sentence(name, raw, far)


def _sentence(name: str, raw: pl.Expr, why: pl.Expr) -> pl.Expr:
    shown = raw.cast(pl.String, strict=False).fill_null("?").str.slice(0, 60)
    return pl.concat_str(pl.lit(f"{name} '"), shown, pl.lit("' "), why)


def _value(raw: pl.Series, wanted: Dtype) -> pl.Expr | pl.Series:
    """Return the typed values, null where one cannot be had."""
    if wanted == pl.Datetime:
        return _times(raw)
    given, column = raw.dtype, pl.col(raw.name)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    if wanted == pl.String:
        return column.cast(pl.String, strict=False)
    if wanted == pl.Boolean:
        if given == pl.Boolean:
            return column
        lower = text.str.to_lowercase()
        return pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False).alias(raw.name)
    if wanted == pl.Date:
        return column.cast(pl.Date, strict=False) if given.is_temporal() else text.str.to_date("%Y-%m-%d", strict=False)
    if given == pl.Boolean:
        return pl.when(column.is_null()).then(None).cast(wanted).alias(raw.name)
    number = column if given.is_numeric() else text.cast(pl.Float64, strict=False)
    if wanted in _FLOATS:
        return number.cast(wanted, strict=False)
    whole = column if given.is_integer() else text.cast(pl.Int64, strict=False)
    exact = pl.when(number.is_finite() & (number == number.floor()) & (number.abs() < 2**53)).then(number)
    return pl.coalesce(whole.cast(wanted, strict=False), exact.cast(wanted, strict=False)).alias(raw.name)


def _times(raw: pl.Series) -> pl.Expr | pl.Series:
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        return _within_calendar(raw.cast(pl.Datetime("us", raw.dtype.time_zone)).dt.convert_time_zone("UTC"))
    if raw.dtype != pl.String:
        return pl.lit(None, dtype=UTC_MICROSECONDS).alias(raw.name)
    usual = raw.str.to_datetime(_USUAL, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    rest = (usual.is_null() & raw.is_not_null()).arg_true()
    if rest.len():
        usual = usual.scatter(rest, pl.select(other_times(pl.lit(raw.gather(rest)))).to_series())
    return _within_calendar(usual)


def _within_calendar(times: pl.Series) -> pl.Series:
    """Make null of what Python has no time for, before the year 1 and after 9999."""
    known = times.is_between(*_CALENDAR).fill_null(True)
    return times if known.all() else times.zip_with(known, times.clear(len(times)))


def other_times(raw: pl.Expr) -> pl.Expr:
    """Parse the ways to write a time that are not the usual one; slower, and the same where both can."""
    text = _with_t(raw).str.replace(r"[Zz]$", "+00:00")
    zoned = pl.when(text.str.contains(_ZONE)).then(text)
    return pl.coalesce(*[zoned.str.to_datetime(form, time_unit="us", strict=False) for form in _FORMATS])


def _with_t(raw: pl.Expr) -> pl.Expr:
    return raw.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")


def _why(given: pl.DataType, wanted: Dtype, raw: pl.Expr) -> pl.Expr:
    """Say what is wrong with a value that could not be had."""
    if wanted == pl.Datetime and given == pl.String:
        naive = _with_t(raw).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False).is_not_null()
        said = pl.when(naive).then(pl.lit("is naive: it does not say its time zone; for UTC, end it with Z"))
        return said.otherwise(pl.lit("is no time; write RFC 3339, such as 2013-01-22T12:00:00Z"))
    if wanted == pl.Datetime:
        if isinstance(given, pl.Datetime):
            return pl.lit("is no time" if given.time_zone else "is naive: it does not say its time zone; write the column as UTC")
        return pl.lit("is no time; write the column as a time in UTC")
    if wanted == pl.Boolean:
        return pl.lit("is no truth value" if given == pl.Boolean else "is no truth value; write true or false")
    if wanted == pl.String:
        return pl.lit("is no text")
    if wanted == pl.Date:
        return pl.lit("is no date; write 2013-01-22")
    if given == pl.Boolean:
        return pl.lit("is a truth value, not a number")
    return pl.lit("is no number" if wanted in _FLOATS else "is no whole number")
