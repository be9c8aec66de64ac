"""What columns has a row, and which values may they take?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from millrace.errors import DatasetError

SUPPORTED = (pl.String, pl.Boolean, pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Date, pl.Datetime)
"""What a Delta table keeps as it is. Numbers are best declared ``Float64`` from the first day."""

Dtype = pl.DataType | type[pl.DataType]


@dataclass(frozen=True)
class Column:
    """A column and what may stand in it; a row that breaks a rule goes to quarantine with the reason.

    Parameters
    ----------
    dtype
        A Polars type: String, Boolean, Float64, Int64, Date or Datetime (which is UTC, in microseconds).
    null
        Whether the value may be null.
    required
        Whether the column must be there. A row without it is refused; where it need not be there, it is null.
    between
        The smallest and the largest value, both allowed; None leaves an end open.
    known
        The values that there are; any other is refused.

    Examples
    --------
    >>> Column(pl.Float64, null=False, between=(0, None)).between
    (0, None)
    """

    dtype: Dtype
    null: bool = True
    required: bool = True
    between: tuple[Any, Any] | None = None
    known: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        dtype: Dtype = self.dtype
        if dtype == pl.Datetime:
            object.__setattr__(self, "dtype", pl.Datetime("us", "UTC"))
        if not any(dtype == kind for kind in SUPPORTED):
            names = ", ".join(kind.__name__ for kind in SUPPORTED)
            raise DatasetError(f"a column cannot be {dtype!r}; a Delta table keeps {names} as they are")
        if self.between is not None and len(self.between) != 2:
            raise DatasetError(f"between={self.between!r} needs two ends, such as (0, 100) or (0, None)")

    @classmethod
    def of(cls, declared: Column | Dtype) -> Column:
        """Return a column for what a dataset's file may declare: a column, or just its type."""
        return declared if isinstance(declared, Column) else cls(declared)


@dataclass(frozen=True)
class Schema:
    """The columns of an event's file.

    Parameters
    ----------
    columns
        The raw columns by name, each a Polars type or a :class:`Column`. A file's further columns are left out, and
        reported once.
    id, time
        What the files call the event's id and its time.

    Examples
    --------
    >>> list(Schema({"carrier": pl.String}, id="flight_id").columns)
    ['carrier']
    """

    columns: Mapping[str, Column]
    id: str = "event_id"
    time: str = "event_time"
    dtypes: dict[str, Dtype] = field(init=False, repr=False)

    def __init__(self, columns: Mapping[str, Column | Dtype], id: str = "event_id", time: str = "event_time") -> None:
        if not columns:
            raise DatasetError("the event's schema has no columns; a model needs something to see")
        for reserved in (id, time, "event_id", "event_time"):
            if reserved in columns:
                raise DatasetError(f"column {reserved!r} is always there; leave it out of the schema's columns")
        object.__setattr__(self, "columns", {name: Column.of(declared) for name, declared in columns.items()})
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "dtypes", {name: column.dtype for name, column in self.columns.items()})
