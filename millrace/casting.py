"""Which rows fit the schema, and why do the others not?

Text becomes typed values column by column; a value that was there and is null afterwards is the reason. Nothing is
guessed: a naive time is refused, ``"false"`` is False, and a number that is not finite is null and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace.schema import Column, Dtype

UTC_MICROSECONDS = pl.Datetime("us", "UTC")
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
_TRUE, _FALSE = ("true", "1", "1.0", "yes", "t", "y"), ("false", "0", "0.0", "no", "f", "n")


@dataclass(frozen=True)
class Id(Column):
    """The column that names a row: text, never null, never empty."""


@dataclass(frozen=True)
class Cast:
    """Typed rows.

    Parameters
    ----------
    good
        ``@position`` and the typed columns, in the order of the file.
    bad
        ``@position`` and ``@reasons`` (a list of sentences).
    nonfinite
        How many numbers were not finite and became null.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    nonfinite: int


def cast(rows: pl.DataFrame, columns: Mapping[str, Column], latest: Mapping[str, datetime]) -> Cast:
    """Cast rows to their columns' types, and check what the columns say.

    Parameters
    ----------
    rows
        ``@position``, ``@missing`` (a list of the columns that a row did not have) and the columns as they were read.
    columns
        The columns by their names in ``rows``.
    latest
        For a time column, the moment after which a value lies too far in the future.
    """
    values: list[pl.Expr] = []
    reasons: list[pl.Expr] = []
    floats: list[pl.Expr] = []
    for name, column in columns.items():
        raw = pl.col(name)
        value, why = _value(rows[name].dtype, column.dtype, raw)
        if column.dtype in (pl.Float64, pl.Float32):
            floats.append((value.is_not_null() & ~value.is_finite()).sum())
            unread = value.is_null()
            value = pl.when(value.is_finite()).then(value)
        else:
            unread = value.is_null()
        values.append(value.alias(f"value:{name}"))
        missing = pl.col("@missing").list.contains(name)
        reasons.append(_when(raw.is_not_null() & unread, _sentence(name, raw, why)))
        if column.required:
            reasons.append(_when(missing, pl.lit(f"missing column {name!r}")))
        if not column.null:
            reasons.append(_when(raw.is_null() & ~missing, pl.lit(f"{name} is null")))
            if column.dtype in (pl.Float64, pl.Float32):
                reasons.append(_when(raw.is_not_null() & ~unread & value.is_null(), pl.lit(f"{name} is not finite")))
        reasons.extend(_rules(name, column, value, raw, latest.get(name)))
    checked = rows.select(
        "@position",
        *values,
        pl.concat_list(reasons).list.drop_nulls().alias("@reasons"),
        *[total.cast(pl.Int64).alias(f"nonfinite:{i}") for i, total in enumerate(floats)],
    )
    wrong = pl.col("@reasons").list.len() > 0
    nonfinite = sum(checked[f"nonfinite:{i}"][0] for i in range(len(floats))) if rows.height else 0
    good = checked.filter(~wrong).select("@position", *[pl.col(f"value:{name}").alias(name) for name in columns])
    return Cast(good, checked.filter(wrong).select("@position", "@reasons"), nonfinite)


def _when(condition: pl.Expr, reason: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(reason.cast(pl.String))


def _sentence(name: str, raw: pl.Expr, why: pl.Expr | str) -> pl.Expr:
    shown = raw.cast(pl.String, strict=False).fill_null("?").str.slice(0, 60)
    return pl.concat_str(pl.lit(f"{name} '"), shown, pl.lit("' "), pl.lit(why) if isinstance(why, str) else why)


def _rules(name: str, column: Column, value: pl.Expr, raw: pl.Expr, latest: datetime | None) -> list[pl.Expr]:
    found = []
    if column.between is not None:
        low, high = column.between
        outside = pl.lit(False)
        if low is not None:
            outside = outside | (value < low)
        if high is not None:
            outside = outside | (value > high)
        ends = f"{'…' if low is None else low} to {'…' if high is None else high}"
        found.append(_when(outside, _sentence(name, raw, f"lies outside {ends}")))
    if column.known is not None:
        unknown = value.is_not_null() & ~value.is_in(list(column.known))
        known = ", ".join(map(str, column.known))
        found.append(_when(unknown, _sentence(name, raw, f"is not known; known: {known}")))
    if isinstance(column, Id):
        found.append(_when(value == "", pl.lit(f"{name} is empty")))
    if latest is not None:
        far = value > pl.lit(latest, dtype=UTC_MICROSECONDS)
        found.append(_when(far, _sentence(name, raw, f"lies far in the future of {latest:%Y-%m-%d}, when the file came")))
    return found


def _value(given: pl.DataType, wanted: Dtype, raw: pl.Expr) -> tuple[pl.Expr, pl.Expr | str]:
    """Return the typed value (null where it cannot be had) and, after the value, what is wrong with it then."""
    if wanted == pl.Datetime:
        return _time(given, raw)
    text = raw.cast(pl.String, strict=False).str.strip_chars()
    if wanted == pl.String:
        return raw.cast(pl.String, strict=False), "is no text"
    if wanted == pl.Boolean:
        if given == pl.Boolean:
            return raw, "is no truth value"
        lower = text.str.to_lowercase()
        truth = pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False)
        return truth, "is no truth value; write true or false"
    if wanted == pl.Date:
        day = raw.cast(pl.Date, strict=False) if given.is_temporal() else text.str.to_date("%Y-%m-%d", strict=False)
        return day, "is no date; write 2013-01-22"
    if given == pl.Boolean:
        return pl.when(raw.is_null()).then(None).cast(wanted), "is a truth value, not a number"
    number = raw if given.is_numeric() else text.cast(pl.Float64, strict=False)
    if wanted in (pl.Float64, pl.Float32):
        return number.cast(wanted, strict=False), "is no number"
    whole = raw if given.is_integer() else text.cast(pl.Int64, strict=False)
    exact = pl.when(number.is_finite() & (number == number.floor()) & (number.abs() < 2**53)).then(number)
    return pl.coalesce(whole.cast(wanted, strict=False), exact.cast(wanted, strict=False)), "is no whole number"


def _time(given: pl.DataType, raw: pl.Expr) -> tuple[pl.Expr, pl.Expr | str]:
    never = pl.lit(None, dtype=UTC_MICROSECONDS)
    if isinstance(given, pl.Datetime):
        if given.time_zone is None:
            return never, "is naive: it does not say its time zone; write the column as UTC"
        return raw.cast(pl.Datetime("us", given.time_zone)).dt.convert_time_zone("UTC"), "is no time"
    if given != pl.String:
        return never, "is no time; write the column as a time in UTC"
    text = raw.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T").str.replace(r"[Zz]$", "+00:00")
    zoned = pl.when(text.str.contains(_ZONE)).then(text)
    parsed = pl.coalesce(*[zoned.str.to_datetime(form, time_unit="us", strict=False) for form in _FORMATS])
    naive = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False).is_not_null()
    why = pl.when(naive).then(pl.lit("is naive: it does not say its time zone; for UTC, end it with Z"))
    return parsed, why.otherwise(pl.lit("is no time; write RFC 3339, such as 2013-01-22T12:00:00Z"))
