"""How does the business get what was served: each prediction once, in files that are whole?

A file is written aside, before its predictions are committed, and renamed into place after. What a crash left aside is
shown by the next run if its predictions were committed, and written again if they were not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import orjson
import polars as pl

from millrace import task
from millrace.clock import write_moment
from millrace.dataset import Dataset
from millrace.settings import settings


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
    folder(dataset.name).mkdir(parents=True, exist_ok=True)
    aside = folder(dataset.name) / f".predictions-{first:012d}-{last:012d}.ndjson.tmp"
    predictions = task.from_columns(dataset, served)
    with aside.open("wb") as file:
        for row, prediction in zip(served.iter_rows(named=True), predictions, strict=True):
            line = {"event_id": row["event_id"], "event_time": write_moment(row["event_time"]), "prediction": row["prediction"]}
            if isinstance(prediction, dict):
                line["probabilities"] = {_name(label): p for label, p in prediction.items()}
            line |= {"model": row["model"], "version": row["version"], "at": write_moment(row["at"])}
            file.write(orjson.dumps(line) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return aside


def _name(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def show(aside: Path) -> Path:
    """Rename a file into place: from now on it is there, whole."""
    final = aside.with_name(aside.name.removeprefix(".").removesuffix(".tmp"))
    return aside.replace(final)


def release(name: str, committed: int) -> None:
    """Show the files whose predictions were committed when their run was cut off."""
    for aside in folder(name).glob(".predictions-*.ndjson.tmp"):
        found = re.search(r"-(\d+)\.ndjson\.tmp$", aside.name)
        if found and int(found[1]) <= committed:
            show(aside)
