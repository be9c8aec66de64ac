"""Which windows close, and at which arrival?

An event's window closes at the first arrival whose clock has passed that moment, or at the event's own, where that comes
later. Events are found by their times, in the index of ids, at the cost of what closes.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from millrace.casting import UTC_MICROSECONDS
from millrace.clock import microseconds
from millrace.waiting import BEGINNING, PAIR, WaitingRoom, as_pairs

# The windows of events that came before the first arrival are open at it.
_CLOSINGS = """
WITH closing AS (
    SELECT arrival, event_id, time, clock FROM event WHERE time >= ?3 AND time < ?4 AND arrival <= ?1
    UNION ALL SELECT arrival, event_id, time, clock FROM event WHERE arrival > ?1 AND arrival <= ?2 AND time < ?4
)
SELECT e.event_id, l.arrival, l.time, l.clock, l.value, e.arrival, e.time, e.clock FROM closing e
LEFT JOIN label l ON l.event_id = e.event_id AND l.event = e.arrival
"""
_CLOCKS = """
SELECT arrival, clock FROM event WHERE arrival > ?1 AND arrival <= ?2
UNION ALL SELECT arrival, clock FROM label WHERE arrival > ?1 AND arrival <= ?2 ORDER BY 1
"""
_OPEN = "SELECT count(*) FROM event WHERE labelled = ? AND time >= ? AND clock >= ?"


def closings(room: WaitingRoom, after: int, upto: int) -> pl.DataFrame:
    """Return the events whose windows close after an arrival, up to another, each with all of its labels.

    Parameters
    ----------
    room
        Of a dataset with a window.
    after, upto
        Arrivals, the first left out.

    Returns
    -------
    DataFrame
        As of :meth:`millrace.waiting.WaitingRoom.pairs`, what is the label's being null where an event has none; the ``place``
        at which the window closes and the data's ``clock`` there. In no order.
    """
    assert room.window is not None, "windows close where there are some"
    clocks = room.select(_CLOCKS, after, upto, columns={"arrival": pl.Int64, "clock": pl.Int64})
    if not clocks.height:
        return as_pairs(pl.DataFrame(schema=PAIR)).with_columns(place=pl.col("event_arrival"), clock=pl.col("event_time"))
    since = room.clock(after)
    opened = BEGINNING if since is None else since - room.window
    arrivals, moments = clocks["arrival"].to_numpy(), clocks["clock"].to_numpy()
    found = as_pairs(room.select(_CLOSINGS, after, upto, opened, int(moments[-1]) - room.window, columns=PAIR))
    closed = np.searchsorted(moments, found["event_time"].to_physical().to_numpy() + room.window, side="right")
    place = np.maximum(arrivals[closed], found["event_arrival"].to_numpy())  # or it came when it was closed
    clock = moments[np.searchsorted(arrivals, place)]
    return found.with_columns(place=place, clock=pl.Series(clock, dtype=pl.Int64).cast(UTC_MICROSECONDS))


def unanswered(room: WaitingRoom, clock: datetime | None) -> int:
    """Count the events without a label whose window, or else the horizon, is open at this moment of the data's clock."""
    return _count_open(room, clock, labelled=False)


def held(room: WaitingRoom, clock: datetime | None) -> int:
    """Count the events with a label whose window is open at this moment of the data's clock."""
    return 0 if room.window is None else _count_open(room, clock, labelled=True)


def _count_open(room: WaitingRoom, clock: datetime | None, *, labelled: bool) -> int:
    if clock is None:
        return 0
    moment = microseconds(clock)
    since = BEGINNING if room.window is None else moment - room.window
    return int(room.select(_OPEN, labelled, since, moment - room.horizon, columns={"events": pl.Int64}).item())
