"""What became of each event, once nothing can change it?

Where answers differ in how long they take, the events that are answered so far are no fair sample: those whose window has
closed are. Each gets its row at that place, so both classes are counted together. Without a window nothing is known to be
final but the answers themselves: then each example is an outcome at its own place.

Outcomes follow the log, never beyond it, and are as much a function of the rows that arrived as the log is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import polars as pl

from millrace import answers, catalog
from millrace.closings import closings
from millrace.dataset import Dataset
from millrace.errors import ConflictError
from millrace.tables import Table
from millrace.waiting import WaitingRoom, everything

_ARRIVALS_AT_ONCE = 200_000


@dataclass
class OutcomesReport:
    """How many ``outcomes`` became final in this run, and the ``number`` of the last there is."""

    dataset: str
    outcomes: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.outcomes:,} new outcomes, {self.number:,} in all"


def mature(name: str) -> OutcomesReport:
    """Append the outcomes of the events whose windows have closed, up to where the log was joined, in order.

    A dataset from before there were outcomes gets those of its whole log.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, its file is broken, or its ``labels`` are others than those by which the log began.
    """
    dataset = catalog.load(name)
    report = OutcomesReport(name)
    while True:
        table, log = Table(name, "outcomes"), Table(name, "examples")
        cursor, joined = table.cursor("mature"), log.cursor("join")
        report.number = table.cursor("number")
        if cursor >= joined:
            return report
        answers.register(dataset)
        with _index(dataset, table) as room:
            for upto, seq, found in _matured(dataset, room, log, cursor, joined, table.cursor("seq"), report.number):
                number = report.number + found.height
                after = {"mature": upto, "number": number, "seq": seq}
                clock = room.clock(upto) if room else None
                after |= {} if clock is None else {"clock": clock}  # up to where the index of ids may forget
                try:
                    table.append(found, after)
                except ConflictError:
                    break  # another process is ahead: read again
                report.outcomes, report.number = report.outcomes + found.height, number


def _index(dataset: Dataset, table: Table) -> AbstractContextManager[WaitingRoom | None]:
    """Open the index of ids, if windows close; a whole one for the first outcomes of a dataset that has forgotten ids."""
    if dataset.labels.window is None:
        return nullcontext()
    return WaitingRoom(dataset.name) if table.cursor("mature") else everything(dataset.name)


def again(dataset: Dataset, room: WaitingRoom, matured: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Make the outcomes again from the tables that they are made from, up to an arrival, without a change to anything.

    Yields
    ------
    int, DataFrame
        Up to which arrival they were made, and the outcomes since it was told last; in order, with their ``number``.
    """
    for upto, _, found in _matured(dataset, room, Table(dataset.name, "examples"), 0, matured, 0, 0):
        yield upto, found


def _matured(
    dataset: Dataset, room: WaitingRoom | None, log: Table, after: int, upto: int, seq: int, number: int
) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """Find what the arrivals after one up to another make final, where ``seq`` and ``number`` are the last before.

    Yields
    ------
    int, int, DataFrame
        Up to which arrival, where the log ends there, and the outcomes since it was told last.
    """
    for start in range(after, upto, _ARRIVALS_AT_ONCE):
        end = min(start + _ARRIVALS_AT_ONCE, upto)
        inside = pl.col("arrival").is_between(start + 1, end)
        if dataset.labels.window is None or room is None:
            found = log.read(pl.exclude("x", "weight"), where=inside)
            seq += found.height
        else:
            places = log.read("arrival", where=inside)["arrival"]
            found = _closed(dataset, room, start, end)
            ends = seq + np.searchsorted(places.to_numpy(), found["arrival"].to_numpy(), side="right")
            found, seq = found.with_columns(seq=pl.Series(ends, dtype=pl.Int64)), seq + places.len()
        numbers = pl.int_range(number + 1, number + 1 + found.height, dtype=pl.Int64)
        yield end, seq, found.with_columns(number=numbers)
        number += found.height


def _closed(dataset: Dataset, room: WaitingRoom, after: int, upto: int) -> pl.DataFrame:
    """Return the events with an answer, or the default, whose windows close after one arrival up to another, in order."""
    return answers.with_labels(dataset, answers.settled(dataset, closings(room, after, upto))).rename({"place": "arrival"})
