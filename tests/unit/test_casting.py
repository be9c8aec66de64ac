"""Is a time read alike the usual way, which is fast, and the general one?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.casting import UTC_MICROSECONDS, Moment, cast, other_times

USUAL = "2013-01-22T12:00:00.123Z"
PIECES = ["", "0", "9", " ", ":", "-", "+", ".", ",", "Z", "z", "T", "00", "60", "24", "1234567890", "+01:00"]
TIMES = st.lists(st.tuples(st.integers(0, len(USUAL)), st.integers(0, 2), st.sampled_from(PIECES)), max_size=3)


def changed(edits: list[tuple[int, int, str]]) -> str:
    text = USUAL
    for at, width, piece in edits:
        text = text[:at] + piece + text[at + width :]
    return text


def times(texts: list[str | None]) -> list[Any]:
    raw = pl.DataFrame({"at": pl.Series(texts, dtype=pl.String)})
    latest = pl.lit(datetime(9999, 1, 1, tzinfo=UTC), dtype=UTC_MICROSECONDS)
    rows = raw.select(raw=pl.struct("at"), missing=pl.lit([], dtype=pl.List(pl.String)), latest=latest).with_row_index()
    good = cast(rows, {"at": Moment(pl.Datetime)}).good
    read = dict(good.select("index", pl.col("value").struct.field("at")).iter_rows())
    return [read.get(i) for i in range(len(texts))]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), TIMES.map(changed)), min_size=1, max_size=5))
@example(
    ["2013-01-22T12:00:60Z", "2013-1-2T3:4:5Z", "+2013-01-22T12:00:00Z", "0000-01-01T00:00:00Z", "2013-01-22T12:00:00.1234567Z"]
)
def test_the_usual_way_reads_what_the_general_way_reads(texts: list[str | None]) -> None:
    general = pl.select(other_times(pl.lit(pl.Series(texts, dtype=pl.String)))).to_series()
    known = general.dt.year().is_between(1, 9999)
    assert times(texts) == [one.item() if ok else None for one, ok in zip(_each(general), known, strict=True)]


def _each(values: pl.Series) -> list[pl.Series]:
    return [values[i : i + 1] for i in range(values.len())]


def test_both_ways_read_times() -> None:
    noon = datetime(2013, 1, 22, 12, tzinfo=UTC)
    assert times(["2013-01-22T12:00:00Z", "2013-01-22 13:00+0100", "2013-01-22T12:00:00", None]) == [noon, noon, None, None]


def test_a_year_that_python_does_not_know_is_no_time() -> None:
    assert times(["0000-06-01T00:00:00Z", "+12013-01-22T12:00:00Z", "0001-01-01T00:00:00Z"])[:2] == [None, None]
