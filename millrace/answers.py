"""Which label answers an event, and what can still change it?

A label is accepted where it is not earlier than its event, and the data's clock at its arrival has not passed the event's
time plus the window. The first accepted one is the answer. A window closes at the first arrival whose clock has passed that
moment, or at the event's own, where that comes later: this arrival is its place. From there on no label is accepted.
"""

from __future__ import annotations

import polars as pl

from millrace.dataset import Labels

EARLY = pl.col("label_time") < pl.col("event_time")
"""The label is earlier than its event."""


def late(labels: Labels) -> pl.Expr:
    """Return the condition that a label arrived after its event's window."""
    return pl.lit(False) if labels.window is None else pl.col("label_clock") > pl.col("event_time") + labels.window


def first_accepted(pairs: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """Return the first accepted label of each event that has one, in order of the labels' arrival.

    Parameters
    ----------
    pairs
        Labels and their events: ``label_arrival``, ``label_time``, ``label_clock``, ``event_arrival``, ``event_time``; all
        labels of an event up to some arrival, or none.
    labels
        How the dataset's labels arrive.
    """
    accepted = pairs.filter(~EARLY & ~late(labels)).sort("label_arrival")
    return accepted.unique("event_arrival", keep="first", maintain_order=True)


def in_closing_order(closings: pl.DataFrame) -> pl.DataFrame:
    """Sort closings of windows: by place, and at one place by the moment at which the window closed, then by event."""
    return closings.sort("place", "event_time", "event_arrival")
