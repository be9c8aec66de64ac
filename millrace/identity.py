"""Which rows say something new of their id?

Ids are unique within a horizon, on the data's clock (the largest time of all accepted rows so far). Within it an event
again is no new event, and a label is its event's; an id that comes again later is another event's. Whether a row is
accepted depends on the clock and the clock on the rows that were, so rows are judged in order of arrival. A row whose id
says nothing twice is accepted whatever the clock shows: only the others go one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from millrace.casting import UTC_MICROSECONDS
from millrace.clock import microseconds
from millrace.waiting import WaitingRoom

_BEFORE_ALL = -(2**63)


@dataclass(frozen=True)
class Judged:
    """What became of a batch's rows.

    Parameters
    ----------
    events, labels
        The accepted rows with the data's ``clock`` at each; of labels, ``correction`` tells that another value of the same
        event's label stands before it. The same value again is a duplicate, and left out.
    again
        Events whose id has its event, with ``first``, the arrival of that.
    clock
        The data's clock after these rows.
    """

    events: pl.DataFrame
    labels: pl.DataFrame
    again: pl.DataFrame
    clock: datetime | None


def judge(
    events: pl.DataFrame,
    labels: pl.DataFrame,
    room: WaitingRoom,
    before: int,
    clock: datetime | None,
    horizon: timedelta | None,
) -> Judged:
    """Judge the rows of a batch.

    Parameters
    ----------
    events, labels
        The rows in order of ``arrival``, with ``event_id``, and ``event_time`` or ``label`` and ``label_time``.
    room, before, clock
        What had arrived before this arrival, and the data's clock at it.
    horizon
        Within which ids are unique; None is for ever.
    """
    none = pl.lit(None, dtype=pl.String)
    asked = events.select("arrival", "event_id", pl.col("event_time").alias("time"), none.alias("value"))
    told = labels.select(
        "arrival", "event_id", pl.col("label_time").alias("time"), pl.col("label").cast(pl.String).alias("value")
    )
    rows = pl.concat([asked, told]).sort("arrival")
    pasts = _pasts(events["event_id"], labels["event_id"], room, before, horizon)
    fate = _one_by_one(rows, pasts, clock) if pasts else _all_accepted(rows.height)
    running = pl.when("accepted").then("time").cum_max()
    if clock is not None:
        running = pl.max_horizontal(running, pl.lit(clock, dtype=UTC_MICROSECONDS))
    rows = pl.concat([rows, fate], how="horizontal").with_columns(running.alias("clock"))
    of_events = rows.filter(pl.col("value").is_null()).select("accepted", "clock", "first")
    of_labels = rows.filter(pl.col("value").is_not_null()).select("accepted", "clock", "correction")
    events = pl.concat([events, of_events], how="horizontal")
    labels = pl.concat([labels, of_labels], how="horizontal")
    latest = rows["clock"].max()
    assert latest is None or isinstance(latest, datetime)
    return Judged(
        events.filter("accepted").drop("accepted", "first"),
        labels.filter("accepted").drop("accepted"),
        events.filter(~pl.col("accepted")).drop("accepted", "clock"),
        latest or clock,
    )


class _Past:
    """What is known of an id: its last event, the label of that, and the label that waits for the next.

    Moments are of the data's clock, in microseconds.
    """

    def __init__(self, horizon: int | None) -> None:
        self._horizon = horizon
        self._event: tuple[int, int] | None = None
        self._value: str | None = None
        self._early: tuple[int, str] | None = None

    def event(self, moment: int) -> int | None:
        """Return the arrival of the event to which a row of this moment belongs."""
        return self._event[1] if self._event and self._near(self._event[0], moment) else None

    def value(self, moment: int) -> str | None:
        """Return the value that stands before a label of this moment."""
        return self._value if self.event(moment) is not None else self._waiting(moment)

    def ask(self, moment: int, arrival: int) -> None:
        """Take a new event; the label that waits becomes its own."""
        self._event, self._value, self._early = (moment, arrival), self._waiting(moment), None

    def tell(self, moment: int, value: str, early: bool) -> None:
        """Take a label, of the last event or, if it is early, of the next."""
        if early:
            self._early = moment, value
        else:
            self._value = value

    def _waiting(self, moment: int) -> str | None:
        return self._early[1] if self._early and self._near(self._early[0], moment) else None

    def _near(self, then: int, moment: int) -> bool:
        return self._horizon is None or moment - then <= self._horizon


def _pasts(asked: pl.Series, told: pl.Series, room: WaitingRoom, before: int, horizon: timedelta | None) -> dict[str, _Past]:
    """Return what is known of each id that is asked of, or told of, more than once."""
    again = [asked.filter(asked.is_duplicated()), told.filter(told.is_duplicated())]
    known = [room.events(asked, before)["event_id"], room.labels(told, before)["event_id"]]
    ids = pl.concat([*again, *known]).unique()
    width = None if horizon is None else horizon // timedelta(microseconds=1)
    pasts = {name: _Past(width) for name in ids}
    last: dict[str, int] = {}
    moment = pl.col("clock").to_physical()
    for name, last[name], clock in room.events(ids, before).select("event_id", "arrival", moment).iter_rows():
        pasts[name].ask(clock, last[name])
    for name, event, clock, value in room.labels(ids, before).select("event_id", "event", moment, "value").iter_rows():
        if event is None or event == last.get(name):
            pasts[name].tell(clock, value, early=event is None)
    return pasts


def _all_accepted(height: int) -> pl.DataFrame:
    every = {"accepted": pl.lit(True), "correction": pl.lit(False), "first": pl.lit(None, dtype=pl.Int64)}
    return pl.select(pl.repeat(True, height).alias("accepted")).with_columns(**every)


def _one_by_one(rows: pl.DataFrame, pasts: dict[str, _Past], clock: datetime | None) -> pl.DataFrame:
    times = rows["time"].to_physical().to_numpy()
    single = ~rows["event_id"].is_in(list(pasts)).to_numpy()
    start = _BEFORE_ALL if clock is None else microseconds(clock)
    largest = np.maximum(np.maximum.accumulate(np.where(single, times, _BEFORE_ALL)), start)
    height = rows.height
    fate: dict[str, list[Any]] = {"accepted": [True] * height, "correction": [False] * height, "first": [None] * height}
    others = start
    places = np.flatnonzero(~single).tolist()
    for i, (arrival, name, _, value) in zip(places, rows[places].iter_rows(), strict=True):
        moment = max(int(largest[i]), others, int(times[i]))
        past = pasts[name]
        event = past.event(moment)
        if value is None:
            fate["first"][i] = event
            accepted = event is None
            if accepted:
                past.ask(moment, arrival)
        else:
            stands = past.value(moment)
            accepted = stands != value
            fate["correction"][i] = accepted and stands is not None
            if accepted:
                past.tell(moment, value, event is None)
        if accepted:
            others = moment
        else:
            fate["accepted"][i] = False
    return pl.DataFrame(fate, schema={"accepted": pl.Boolean, "correction": pl.Boolean, "first": pl.Int64})
