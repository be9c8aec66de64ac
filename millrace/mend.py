"""Which rows of the log and of the outcomes are missing, and what were they?

Both are made from other tables, so what was lost is made again, and put back: where what is still there is the same when it
is made again. Else it was made otherwise (by another ``weight=``, say), and what was lost cannot be told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from millrace import answers, bits, catalog, evidence, join, outcomes, tables
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
    DatasetError
        When the dataset's ``labels`` are others than those by which the log began.
    MillraceError
        When the tables that they are made from, and the dataset's file, do not give what there was; nothing is put back.
    """
    dataset = catalog.load(name)
    answers.check(dataset)
    examples = _put_back(dataset, "examples", "seq", "join", join.again)
    return examples, _put_back(dataset, "outcomes", "number", "mature", outcomes.again)


def _put_back(dataset: Dataset, name: str, key: str, cursor: str, again: _Again) -> int:
    table = Table(dataset.name, name)
    upto, head = table.cursor(cursor), table.cursor(key)
    if table.count() == head:
        return 0
    mended, last = 0, 0
    with tempfile.TemporaryDirectory() as folder, WaitingRoom(dataset.name, whole=Path(folder) / "ids.db") as room:
        for _, found in again(dataset, room, upto):
            there = table.read(where=pl.col(key).is_between(last + 1, last + found.height))
            made = found.select(there.columns).filter(pl.col(key).is_in(there[key].implode()))
            if difference := bits.difference(there, made, key):
                raise MillraceError(
                    f"rows of the table {name} of {dataset.name} are missing, and one that is there was made otherwise than it "
                    f"is made now: {key} {difference.row[key]:,} (event {difference.row['event_id']!r}): {difference}; nothing "
                    f"was put back. If weight= or id_horizon was changed in {dataset.path}, put the old one there, and run this "
                    f"again; else {evidence.by_hand(dataset)}"
                )
            last += found.height
        if last != head:
            raise MillraceError(
                f"the table {name} of {dataset.name} held {head:,} rows, and its tables events, labels and features give "
                f"{last:,}: they were changed by hand, too; restore the folder {tables.folder(dataset.name)} from a copy"
            )
        last = 0
        for _, found in again(dataset, room, upto):
            table = Table(dataset.name, name)
            there = table.read(key, where=pl.col(key).is_between(last + 1, last + found.height))
            lost = found.join(there, on=key, how="anti", maintain_order="left")
            if lost.height:
                table.append(lost, {cursor: upto, key: head})
            mended, last = mended + lost.height, last + found.height
    return mended
