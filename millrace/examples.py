"""What does the ground-truth log hold, in order?

The log is the table ``examples``. It is read by ranges of ``seq``, sorted, and never with a gap.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from millrace import features
from millrace.errors import MillraceError
from millrace.tables import Table

Example = tuple[int, str, int, Any, float, dict[str, Any]]
"""``seq``, ``event_id``, ``event_time`` (in microseconds since 1970, UTC), ``label``, ``weight``, ``x``."""
_COLUMNS = ("seq", "event_id", "event_time", "label", "weight", "clock", "x")


def read(table: Table, after: int, upto: int) -> pl.DataFrame:
    """Read the examples after one place of the log up to another, in order, without a gap.

    Returns
    -------
    DataFrame
        ``seq``, ``event_id``, ``event_time``, ``label``, ``weight``, ``clock``, ``x``.

    Raises
    ------
    MillraceError
        When one is missing, or there is one too many.
    """
    rows = table.read(*_COLUMNS, where=pl.col("seq").is_between(after + 1, upto))
    if rows.height != upto - after or rows["seq"][0] != after + 1 or rows["seq"][-1] != upto or not rows["seq"].is_unique().all():
        name = table.path.parent.name
        raise MillraceError(
            f"the log of {name} is broken between seq {after + 1} and {upto}: {rows.height} examples instead of {upto - after}; "
            f"the table examples was changed by hand; to mend it from the tables events and labels, run: millrace replay {name}"
        )
    return rows


def as_examples(rows: pl.DataFrame) -> list[Example]:
    """Turn rows of the log into what a model learns."""
    xs = features.rows(rows["x"].struct.unnest())
    columns = (rows[name].to_physical().to_list() for name in ("seq", "event_id", "event_time"))
    return list(zip(*columns, rows["label"].to_list(), rows["weight"].to_list(), xs, strict=True))
