"""Which label answers an event, and what can still change it?

A label is accepted where it is not earlier than its event, and the data's clock at its arrival has not passed the event's
time plus the window. The first accepted one is the answer; where the default is learned provisionally, the first that is
contrary to it, if there is one. A window closes at the first arrival whose clock has passed that moment, or at the event's
own, where that comes later: this arrival is its place. From there on no label is accepted, and an event without an answer
gets the default, if the dataset has one.
"""

from __future__ import annotations

import polars as pl

from millrace.dataset import Dataset
from millrace.tables import Table, at_arrivals

EARLY = pl.col("label_time") < pl.col("event_time")
"""The label is earlier than its event."""


def late(dataset: Dataset) -> pl.Expr:
    """Return the condition that a label arrived after its event's window."""
    window = dataset.labels.window
    return pl.lit(False) if window is None else pl.col("label_clock") > pl.col("event_time") + window


def contrary(dataset: Dataset) -> pl.Expr:
    """Return the condition that a label says otherwise than the default."""
    default = pl.lit(dataset.labels.default, dtype=dataset.label_column.dtype)
    return pl.col("value") != default.cast(pl.String)


def first(dataset: Dataset, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the answer of each event that has one, in order of the labels' arrival.

    Parameters
    ----------
    dataset
        How its labels arrive, and which are learned.
    pairs
        Labels and their events, as :meth:`millrace.waiting.WaitingRoom.pairs` gives them; all labels of an event up to some
        arrival, or none.
    """
    accepted = pairs.filter(~EARLY & ~late(dataset)).sort("label_arrival")
    if dataset.labels.policy == "provisional":
        accepted = accepted.sort(~contrary(dataset), maintain_order=True)
    return accepted.unique("event_arrival", keep="first", maintain_order=True).sort("label_arrival")


def settled(dataset: Dataset, closings: pl.DataFrame) -> pl.DataFrame:
    """Return what became of the events whose windows close: one row an event that has an answer, or gets the default.

    Parameters
    ----------
    dataset
        It has a window.
    closings
        The events, each with all of its labels, as :meth:`millrace.waiting.WaitingRoom.closings` gives them.

    Returns
    -------
    DataFrame
        ``event_id``, ``event_time``, ``event_arrival``, ``place``, ``clock``, ``label_arrival`` (null where it is the default)
        and ``label_time``; in order of their places, and at one place of the moments at which the windows closed, then of the
        events' arrival.
    """
    events = closings.select("event_id", "event_time", "event_arrival", "place", "clock").unique("event_arrival")
    answers = first(dataset, closings).select("event_arrival", "label_arrival", "label_time")
    found = events.join(answers, on="event_arrival", how="inner" if dataset.labels.default is None else "left")
    closed = pl.col("event_time") + dataset.labels.window
    return found.with_columns(pl.col("label_time").fill_null(closed)).sort("place", "event_time", "event_arrival")


def with_labels(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``label`` and ``label_source`` to rows with a ``label_arrival``; where it is null, the default."""
    where = at_arrivals(rows["label_arrival"].drop_nulls())
    labels = Table(dataset.name, "labels").read("arrival", "label", "label_source", where=where)
    found = rows.join(labels.rename({"arrival": "label_arrival"}), on="label_arrival", how="left", maintain_order="left")
    is_default, default = pl.col("label_arrival").is_null(), pl.lit(dataset.labels.default, dtype=dataset.label_column.dtype)
    return found.with_columns(
        pl.when(is_default).then(default).otherwise("label").alias("label"),
        pl.when(is_default).then(pl.lit("default")).otherwise("label_source").alias("label_source"),
    )
