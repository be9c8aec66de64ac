"""Where does what is on record first differ from the same made again, to the last bit?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from millrace.clock import write_moment

_BITS = {pl.Float64(): pl.Int64, pl.Float32(): pl.Int32}


@dataclass(frozen=True)
class Difference:
    """The first difference of two tables.

    Parameters
    ----------
    row
        The row in which it is, as made again; as on record where it cannot be made again.
    field
        The column, or ``struct.field``; None where the row is in one of them alone.
    recorded, again
        Both values; or whether the row is there.
    """

    row: dict[str, Any]
    field: str | None
    recorded: Any
    again: Any

    def __str__(self) -> str:
        if self.field is None:
            return "is on record, and cannot be made again" if self.recorded else "is not on record"
        return f"{self.field} is {_shown(self.recorded)} on record, and made again {_shown(self.again)}"


def _shown(value: Any) -> str:
    return str(write_moment(value)) if isinstance(value, datetime) else repr(value)


def difference(recorded: pl.DataFrame, again: pl.DataFrame, *key: str) -> Difference | None:
    """Find the first row, in the order of its key, and in it the first field that differs; None where all are the same.

    Parameters
    ----------
    recorded, again
        Frames with the same columns; what a struct has in one of them alone is null in the other.
    key
        The columns that tell a row from others.

    Examples
    --------
    >>> one = pl.DataFrame({"seq": [1, 2], "x": [{"a": 0.0}, {"a": 0.1 + 0.2}]})
    >>> two = pl.DataFrame({"seq": [2, 1], "x": [{"a": 0.3}, {"a": 0.0}]})
    >>> print(difference(one, two, "seq"))
    x.a is 0.30000000000000004 on record, and made again 0.3
    """
    one, two = (_flat(frame).sort(key, maintain_order=True) for frame in (recorded, again))
    both = min(one.height, two.height)
    same = pl.all_horizontal(pl.col(name).eq_missing(two[name].head(both)) for name in key)
    keys = one.head(both).select(same=same)["same"]
    common = both if keys.all() else int((~keys).arg_max() or 0)
    found: tuple[int, str] | None = None
    for name in dict.fromkeys([*two.columns, *one.columns]):
        left, right = _column(one, name, two).head(common), _column(two, name, one).head(common)
        differs = _bits(left).ne_missing(_bits(right.cast(left.dtype)))
        if differs.any() and (found is None or (differs.arg_max() or 0) < found[0]):
            found = differs.arg_max() or 0, name
    if found:
        at, name = found
        values = (_column(frame, name, other).slice(at, 1).to_list()[0] for frame, other in ((one, two), (two, one)))
        return Difference(two.row(at, named=True), name, *values)
    if common == max(one.height, two.height):
        return None
    # The smaller of the next keys is in one of the two alone.
    rows = [(frame[common].select(key).row(0), frame) for frame in (one, two) if frame.height > common]
    _, alone = min(rows, key=lambda pair: pair[0])
    return Difference(alone.row(common, named=True), None, alone is one, alone is two)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each field of a struct a column of its own."""
    columns = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Struct):
            columns += [pl.col(name).struct.field(part.name).alias(f"{name}.{part.name}") for part in dtype.fields]
        else:
            columns.append(pl.col(name))
    return frame.select(columns)


def _column(frame: pl.DataFrame, name: str, other: pl.DataFrame) -> pl.Series:
    """Return a column; nulls where there is none."""
    return frame[name] if name in frame.columns else pl.repeat(None, frame.height, dtype=other.schema[name], eager=True)


def _bits(column: pl.Series) -> pl.Series:
    """Return floats, also in lists, as whole numbers of the same bits, so that 0.0 is not -0.0; NaN is NaN."""
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else None
    if inner in _BITS:
        return column.list.eval(_as_bits(pl.element(), inner))
    if column.dtype in _BITS:
        return column.to_frame().select(_as_bits(pl.first(), column.dtype)).to_series()
    return column


def _as_bits(values: pl.Expr, dtype: Any) -> pl.Expr:
    return values.fill_nan(float("nan")).reinterpret(dtype=_BITS[dtype])
