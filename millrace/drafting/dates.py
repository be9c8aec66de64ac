"""When was that, as people write dates?

A column is read in one way of writing that fits all of its values; nothing is guessed where two fit. What names no zone
is taken for UTC.
"""

from __future__ import annotations

import polars as pl

from millrace.casting import UTC_MICROSECONDS, other_times
from millrace.errors import UsageError

_WAYS = {
    "2013-01-20": "%Y-%m-%d",
    "2013/01/20": "%Y/%m/%d",
    "20130120": "%Y%m%d",
    "20.01.2013": "%d.%m.%Y",
    "20-01-2013": "%d-%m-%Y",
    "01/20/2013": "%m/%d/%Y",
    "20/01/2013": "%d/%m/%Y",
}
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
_UNITS = (("seconds", 1e8, 1e11, 1e6), ("milliseconds", 1e11, 1e14, 1e3), ("microseconds", 1e14, 1e17, 1.0))
"""Epochs: the name, from which number to which (1973 to 5138 in seconds), and how many microseconds one is."""
_SAMPLE = 1_000


def parse(column: pl.Series) -> tuple[pl.Series, str]:
    """Read a column of dates or times.

    Parameters
    ----------
    column
        Text, numbers (seconds, milliseconds or microseconds since 1970, or 20130120), dates or times.

    Returns
    -------
    Series, str
        UTC in microseconds, null where there is no value or none that can be read; and how it was written.

    Raises
    ------
    UsageError
        When day and month cannot be told apart.

    Examples
    --------
    >>> times, way = parse(pl.Series(["20.01.2013", "21.01.2013 14:30"]))
    >>> [f"{time:%Y-%m-%dT%H:%M}" for time in times], way
    (['2013-01-20T00:00', '2013-01-21T14:30'], '20.01.2013')
    """
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        return column.dt.convert_time_zone("UTC").cast(UTC_MICROSECONDS), "times with a zone"
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), "times without a zone"
    text = column.cast(pl.Int64) if column.dtype.is_float() and _whole(column) else column
    text = text.cast(pl.String).str.strip_chars()
    sample = text.drop_nulls().head(_SAMPLE)
    fitting = {way: _read(sample, way).null_count() for way in _WAYS}
    least = min(fitting.values())
    if not sample.len() or least == sample.len():
        return _epoch(text)
    read = {way: _read(text, way) for way, failed in fitting.items() if failed == least}
    failed = {way: times.null_count() for way, times in read.items()}
    best = [way for way in read if failed[way] == min(failed.values())]
    if len(best) > 1 and not read[best[0]].equals(read[best[1]]):
        raise UsageError(f"it can be read as {best[0]} and as {best[1]}, and no day is after the 12th; write dates as 2013-01-20")
    return read[best[0]], best[0]


def _whole(column: pl.Series) -> bool:
    return bool((column == column.floor()).all())


def _read(text: pl.Series, way: str) -> pl.Series:
    raw = pl.lit(text)
    if way == "2013-01-20":  # months and years alone, too; and RFC 3339, with or without its zone
        full = raw.str.replace(r"^(\d{4})$", "$1-01").str.replace(r"^(\d{4}-\d\d)$", "$1-01")
        naive = full.str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "$1 ")
        zoned = [other_times(raw)]
    else:
        naive, zoned = raw, []
    forms = [naive.str.to_datetime(_WAYS[way] + clock, time_unit="us", strict=False) for clock in _CLOCKS]
    times = pl.coalesce(*zoned, *[form.dt.replace_time_zone("UTC") for form in forms])
    # 20.01.13 reads as the year 13
    return pl.select(pl.when(times.dt.year().is_between(1000, 9999)).then(times)).to_series().alias(text.name)


def _epoch(text: pl.Series) -> tuple[pl.Series, str]:
    numbers = text.cast(pl.Float64, strict=False)
    largest = float(numbers.abs().max() or 0.0)  # type: ignore[arg-type]
    for unit, low, high, factor in _UNITS:
        if low <= largest < high:
            return (numbers * factor).round().cast(pl.Int64).cast(UTC_MICROSECONDS), f"{unit} since 1970"
    return numbers.clear(text.len()).cast(UTC_MICROSECONDS), "nothing that is known"
