"""Which rows of the log and of the outcomes are missing, and what were they?

Both are made from other tables, so what was lost is made again, and put back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from millrace import catalog, join, outcomes, tables
from millrace.dataset import Dataset
from millrace.errors import MillraceError
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_Again = Callable[[Dataset, WaitingRoom, int], Iterator[tuple[int, pl.DataFrame]]]


def mend(name: str) -> tuple[int, int]:
    """Put back the examples and the outcomes that are missing; return how many of each.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    MillraceError
        When the tables that they are made from do not give what there was.
    """
    dataset = catalog.load(name)
    examples = _put_back(dataset, "examples", "seq", "join", join.again)
    return examples, _put_back(dataset, "outcomes", "number", "mature", outcomes.again)


def _put_back(dataset: Dataset, name: str, key: str, cursor: str, again: _Again) -> int:
    table = Table(dataset.name, name)
    upto, head = table.cursor(cursor), table.cursor(key)
    mended, last = 0, 0
    if table.count() == head:
        return 0
    with tempfile.TemporaryDirectory() as folder, WaitingRoom(dataset.name, whole=Path(folder) / "ids.db") as room:
        for _, found in again(dataset, room, upto):
            table = Table(dataset.name, name)
            there = table.read(key, where=pl.col(key).is_between(last + 1, last + found.height))[key]
            lost = found.filter(~pl.col(key).is_in(there.implode()))
            if lost.height:
                table.append(lost, {cursor: upto, key: head})
            mended, last = mended + lost.height, last + found.height
    if last != head:
        raise MillraceError(
            f"the table {name} of {dataset.name} held {head:,} rows, and its tables events, labels and features give {last:,}: "
            f"they were changed by hand, too; restore the folder {tables.folder(dataset.name)} from a copy"
        )
    return mended
