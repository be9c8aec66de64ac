"""How much does an example count when it is learned?

The dataset's ``weight`` says, an expression over an event's raw columns, ``event_time`` and ``label``; it is computed once,
when the example enters the log, and logged with it. Models that take no weight learn the example as any other. One that is
changed counts from then on; since which ``seq`` is on record with the rows (cursors ``weight/<its sha256>``, and ``weight``
for the last of all), so that what another expression gave is not taken for a difference.
"""

from __future__ import annotations

import hashlib
import random

import polars as pl

from millrace import features
from millrace.dataset import Dataset
from millrace.errors import DatasetError
from millrace.tables import Table, at_arrivals


def of_examples(dataset: Dataset, pairs: pl.DataFrame, problems: list[str]) -> pl.Series:
    """Return the weights of examples that enter the log.

    One that is null, below zero or not finite, or that cannot be computed, is 1, and told among the problems.

    Parameters
    ----------
    pairs
        ``event_arrival`` and ``label``, an example a row; an event may be in several.
    problems
        Is added to.

    Returns
    -------
    Series
        ``weight``, in the order of ``pairs``; 1 each where the dataset says nothing.
    """
    if dataset.weight is None or not pairs.height:
        return pl.Series("weight", [1.0] * pairs.height, dtype=pl.Float64)
    stored = Table(dataset.name, "events").read(
        "arrival", "event_id", "event_time", "raw", where=at_arrivals(pairs["event_arrival"])
    )
    events = features.flat(dataset, stored).with_columns(stored["arrival"].alias("event_arrival"))
    rows = pairs.select("event_arrival", "label").join(events, on="event_arrival", how="left", maintain_order="left")
    found = _halved(dataset, rows)
    wrong = rows.select("event_id", weight=found).filter(_is_wrong(pl.col("weight")))
    if wrong.height:
        first = f"{wrong['event_id'][0]!r}: {wrong['weight'][0]}"
        problems.append(f"{wrong.height:,} of {rows.height:,} weights are no number of 0 or more, and count 1 (first: {first})")
    return pl.select(weight=pl.when(_is_wrong(pl.lit(found))).then(1.0).otherwise(pl.lit(found)))["weight"]


def cursors(dataset: Dataset, log: Table, first: int) -> dict[str, int]:
    """Return what is to be committed with examples, the first of them at the seq ``first``."""
    return {} if _is_recorded(dataset, log) else {_cursor(dataset): first, "weight": first}


def since(dataset: Dataset, log: Table) -> int:
    """Return the first seq of the log whose weight is by today's expression; where there is none yet, the next."""
    return log.cursor("weight") if _is_recorded(dataset, log) else log.cursor("seq") + 1


def _is_recorded(dataset: Dataset, log: Table) -> bool:
    own = log.cursor(_cursor(dataset))
    return own == log.cursor("weight") and (own > 0 or dataset.weight is None)


def _cursor(dataset: Dataset) -> str:
    weight = hashlib.sha256(b"").hexdigest() if dataset.weight is None else features.definition(dataset, dataset.weight)
    return f"weight/{weight[:16]}"


def _is_wrong(weight: pl.Expr) -> pl.Expr:
    return (weight.is_finite() & (weight >= 0)).not_().fill_null(value=True)


def compute(dataset: Dataset, rows: pl.DataFrame) -> pl.Series:
    """Compute weights, row by row: alone or among others to the same bits, as features are.

    Parameters
    ----------
    rows
        ``event_id``, ``event_time``, the raw columns, and ``label``.
    """
    assert dataset.weight is not None
    schema = {**features.raw_schema(dataset), "label": dataset.label_column.dtype}
    nulls = pl.DataFrame({name: [None] for name in schema}, schema=schema)
    padded = pl.concat([rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items()), nulls], rechunk=True)
    found = padded.select(dataset.weight.alias("weight"))["weight"]
    if found.len() != padded.height:
        raise DatasetError(f"weight gives {found.len()} rows for {padded.height} examples; it is computed row by row")
    return found.head(rows.height).cast(pl.Float64)


def _halved(dataset: Dataset, rows: pl.DataFrame) -> pl.Series:
    """Compute weights; null where a row's cannot be computed, so that it holds up no other."""
    try:
        return compute(dataset, rows)
    except Exception:  # noqa: BLE001 - one row's values must not hold up the others
        if rows.height == 1:
            return pl.Series("weight", [None], dtype=pl.Float64)
        half = rows.height // 2
        return pl.concat([_halved(dataset, rows.head(half)), _halved(dataset, rows.tail(-half))])


def check(dataset: Dataset) -> None:
    """Check that the weight is a number, computed row by row, to the bit, on a made-up sample.

    Raises
    ------
    DatasetError
        When it cannot be computed, is no number, or depends on its neighbours.
    """
    if dataset.weight is None:
        return
    label = dataset.label_column
    sample = features.made_up(dataset)
    source = random.Random(20130101)  # noqa: S311 - a sample, no secret
    labels = [features.made_up_value(label, source) for _ in range(sample.height)]
    sample = sample.with_columns(pl.Series("label", labels, dtype=label.dtype))
    columns = ", ".join(sample.columns)
    try:
        dtype = sample.clear().select(dataset.weight.alias("weight")).schema["weight"]
    except Exception as error:
        raise DatasetError(f"weight: {features.first_line(error)}; it may use {columns}") from error
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DatasetError(f"weight is {dtype}; a weight is a number of 0 or more, such as pl.col('amount') / 100")
    features.check_row_by_row(
        lambda rows: compute(dataset, rows).to_frame(),
        sample,
        lambda _: "weight is not computed row by row",
        "a weight may depend on its own example alone, not on means, ranks or shifts over others",
    )
