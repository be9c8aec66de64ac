"""Which label answers an event, and what can still change it?

A label is accepted where it is not earlier than its event, and the data's clock at its arrival has not passed the event's
time plus the window. The first accepted one is the answer; where the default is learned provisionally, the first that is
contrary to it, if there is one. A window closes at the first arrival whose clock has passed that moment, or at the event's
own, where that comes later: this arrival is its place. From there on no label is accepted, and an event without an answer
gets the default, if the dataset has one.

By another rule (window, default, policy) an event that is settled would be settled once more, elsewhere. So the rule is put on
record before the first arrival is joined, in ``definitions``, and another is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from millrace.clock import now
from millrace.dataset import Dataset
from millrace.errors import ConflictError, DatasetError
from millrace.labels import LABELS
from millrace.tables import Table, at_arrivals

_CHECKED = set[tuple[str, str]]()
"""Of which tables, and by which text of a dataset's file, the rule was found to be the one on record."""
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
        The events, each with all of its labels, as :func:`millrace.closings.closings` gives them.

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


def rule(dataset: Dataset) -> str:
    """Write the rule by which a dataset's events are settled, as its file would declare it."""
    labels, dtype = dataset.labels, dataset.label_column.dtype
    default = None if labels.default is None else pl.select(pl.lit(labels.default, dtype=dtype)).item()
    return _written(labels.window, default, labels.policy)


def _written(window: timedelta | None, default: object, learn: str) -> str:
    said = [] if window is None else [f"window={repr(window).removeprefix('datetime.')}"]
    said += [] if default is None else [f"default={default!r}"]
    return f"Labels({', '.join([*said, f'learn={learn!r}'])})"


def check(dataset: Dataset) -> bool:
    """Tell whether the rule is on record.

    Raises
    ------
    DatasetError
        When there is another; the message says what can be done.
    """
    return _is_recorded(dataset, Table(dataset.name, "definitions"))


def register(dataset: Dataset) -> None:
    """Put the rule on record, if there is none.

    Raises
    ------
    DatasetError
        As :func:`check`.
    """
    while True:
        table = Table(dataset.name, "definitions")
        if _is_recorded(dataset, table):
            return
        row = {"model": LABELS, "fingerprint": rule(dataset), "text": dataset.text, "environment": None}
        nothing: dict[str, Any] = {"environment": pl.String, "doubts": pl.List(pl.String), "features": pl.List(pl.String)}
        frame = pl.DataFrame([{**row, "doubts": None, "features": None, "at": now()}], schema_overrides=nothing)
        try:
            table.append(frame, {f"define/{LABELS}": 1})
        except ConflictError:
            continue
        return


def _is_recorded(dataset: Dataset, table: Table) -> bool:
    key = table.identity, dataset.text
    if key in _CHECKED:
        return True
    there = table.read("fingerprint", where=pl.col("model") == LABELS)["fingerprint"].to_list()
    if there:
        recorded = there[0]
    elif Table(dataset.name, "examples").cursor("join"):  # by a release that knew a window alone
        recorded = _written(dataset.labels.window, None, "arrival")
    else:
        return False
    found = rule(dataset)
    if found != recorded:
        name = dataset.name
        raise DatasetError(
            f"{dataset.path}: labels: the log of {name} began with {recorded}, and now the file says {found}: events that "
            "are settled would be learned and scored once more. Put the old labels= back; or begin another log by the new ones: "
            f"give the file another name, such as {name}2.py, and bring the past in there: "
            f"millrace replay {name}2 --events … --labels …"
        )
    if there:
        _CHECKED.add(key)
    return bool(there)
