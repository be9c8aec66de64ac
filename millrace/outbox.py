"""How does the business get what was served: each prediction once, in files that are whole?

A file is written aside, whole, before its predictions are committed, and renamed into place after. What a crash left aside
is shown by the next run if its predictions were committed, and written again if they were not. Each process writes its own.
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from millrace import durable, task
from millrace.clock import now, write_moment
from millrace.dataset import Dataset
from millrace.errors import writing
from millrace.loss import Prediction
from millrace.settings import settings
from millrace.tables import Table


def folder(name: str) -> Path:
    """Return the folder of a dataset's served predictions."""
    return settings().outbox / name


def write(dataset: Dataset, served: pl.DataFrame, first: int, last: int) -> Path:
    """Write served predictions aside, one JSON object a line.

    Parameters
    ----------
    served
        Rows of the table ``predictions``.
    first, last
        The arrivals that the file covers; they are its name.
    """
    aside = folder(dataset.name) / f".predictions-{first:012d}-{last:012d}.ndjson.{os.getpid()}.tmp"
    part = aside.with_suffix(".part")
    predictions = task.from_columns(dataset, served)
    with writing(aside):
        folder(dataset.name).mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            for row, prediction in zip(served.iter_rows(named=True), predictions, strict=True):
                file.write(orjson.dumps(_line(row, prediction)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(aside)
        durable.to_disk(aside.parent)  # its name, too, before its predictions are committed
    return aside


def _line(row: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
    line = {"event_id": row["event_id"], "event_time": write_moment(row["event_time"]), "prediction": row["prediction"]}
    if isinstance(prediction, dict):
        line["probabilities"] = {_name(label): p for label, p in prediction.items()}
    return line | {"model": row["model"], "version": row["version"], "at": write_moment(row["at"])}


def _name(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def show(aside: Path) -> Path:
    """Rename a file into place: from now on it is there, whole."""
    with contextlib.suppress(FileNotFoundError):  # another process has
        aside.replace(_place(aside))
    return _place(aside)


def _place(aside: Path) -> Path:
    return aside.with_name(aside.name.removeprefix(".").partition(".ndjson")[0] + ".ndjson")


def release(name: str, table: Table) -> None:
    """Show the files whose predictions were committed when their run was cut off, and remove those of which others were.

    Parameters
    ----------
    table
        The table ``predictions``.
    """
    for aside in folder(name).glob(".predictions-*.tmp"):
        first, last = (int(number) for number in re.findall(r"-(\d+)", aside.name)[:2])
        if last <= table.cursor("infer"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if _is_committed(aside, table, first, last):
                    show(aside)
                else:
                    aside.unlink()
    long_ago = (now() - timedelta(days=1)).timestamp()
    for left in folder(name).glob(".predictions-*.part"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < long_ago:
                left.unlink()


def _is_committed(aside: Path, table: Table, first: int, last: int) -> bool:
    """Tell whether these predictions, and not another process's of the same events, are those in the table."""
    with aside.open("rb") as file:
        line = orjson.loads(file.readline())
    where = pl.col("arrival").is_between(first, last) & pl.col("served") & (pl.col("event_id") == line["event_id"])
    return line["at"] in [write_moment(at) for at in table.read("at", where=where)["at"]]
