"""Which checkpoints does maintenance still look at?

Those of the last days, and the few before them that something keeps: a version that is in MLflow, the newest of a lineage, the
last of a day. Of the others all is decided: they are history, which only grows. So the few are kept beside the tables, in
``.remaining``, and the rest is read from there on. That file is a shortcut and no record: where it is gone, torn, or does not
account for every row, the tables are read whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from millrace import durable, memory, tables
from millrace.clock import from_microseconds, microseconds
from millrace.errors import writing
from millrace.tables import Table

COLUMNS = ("model", "fingerprint", "environment", "seq", "sha256", "clock", "version", "run_id", "at")
LINEAGE = ("model", "fingerprint", "environment")


@dataclass(frozen=True)
class _Kept:
    """What remains of the checkpoints from before a moment (``since``): of how many rows (``count``) of which ``table``, and
    the number of the last removal by then."""

    rows: pl.DataFrame
    table: str
    since: datetime
    count: int
    removals: int


def read(name: str) -> pl.DataFrame:
    """Return the checkpoints that are not history.

    Returns
    -------
    pl.DataFrame
        Of the table ``checkpoints`` the columns :data:`COLUMNS`, in order of ``at``; and ``removed``: whether retention removed
        the version.
    """
    return _read(name, Table(name, "checkpoints"), Table(name, "removals"), _kept(name))


def stay(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the checkpoints that something keeps, however old: of a version that stays, the newest of a lineage, and the last of
    a day. Of memory's, which are large and soon followed, it is the newest alone."""
    remembered, models = rows.filter(model=memory.NAME), rows.filter(pl.col("model") != memory.NAME)
    days = models.sort("at").with_columns(pl.col("at").dt.date().alias("day"))
    kept = [
        remembered.sort("seq", "at").tail(1),
        models.filter(pl.col("version").is_not_null() & ~pl.col("removed")),
        models.sort("seq", "at").unique(LINEAGE, keep="last"),
        days.unique([*LINEAGE, "day"], keep="last").drop("day"),
    ]
    return pl.concat(kept).unique().sort("at")


def keep(name: str, since: datetime) -> None:
    """Keep what remains from before a moment, which the next :func:`read` takes up."""
    table, removals, kept = Table(name, "checkpoints"), Table(name, "removals"), _kept(name)
    rows = _read(name, table, removals, kept)
    since = max(since, kept.since) if kept else since
    count = table.count() - rows.filter(pl.col("at") >= since).height
    known = {"table": table.identity, "since": microseconds(since), "count": count, "removals": removals.cursor("remove")}
    path = _path(name)
    with writing(path):
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        told = {key: str(value) for key, value in known.items()}
        stay(rows.filter(pl.col("at") < since)).write_parquet(aside, metadata=told)
        durable.to_disk(aside)
        aside.replace(path)
        durable.to_disk(path.parent)


def _path(name: str) -> Path:
    return tables.folder(name) / ".remaining"


def _kept(name: str) -> _Kept | None:
    try:
        known, rows = pl.read_parquet_metadata(_path(name)), pl.read_parquet(_path(name))
        since = from_microseconds(int(known["since"]))
        return _Kept(rows.select(*COLUMNS, "removed"), known["table"], since, int(known["count"]), int(known["removals"]))
    except (OSError, KeyError, ValueError, pl.exceptions.PolarsError):
        return None


def _read(name: str, table: Table, removals: Table, kept: _Kept | None) -> pl.DataFrame:
    if kept and kept.table == table.identity:
        new = table.read(*COLUMNS, where=pl.col("at") >= kept.since)
        if table.count() - new.height == kept.count:  # or the machine's clock went back, or a copy was put in its place
            later = pl.col("number") > kept.removals
            gone = removals.read("version", where=later | (pl.col("version") >= _first(new)))["version"]
            rows = pl.concat([kept.rows, new.with_columns(pl.lit(False).alias("removed"))])
            return _marked(rows, gone)
    rows = table.read(*COLUMNS).with_columns(pl.lit(False).alias("removed"))
    return _marked(rows, removals.read("version")["version"])


def _first(rows: pl.DataFrame) -> pl.Expr:
    """Return the first version among these; null, which nothing compares with, where there is none."""
    return pl.lit(rows["version"].min(), dtype=pl.Int64)


def _marked(rows: pl.DataFrame, gone: pl.Series) -> pl.DataFrame:
    return rows.with_columns(pl.col("removed") | pl.col("version").is_in(gone.implode()).fill_null(value=False)).sort("at")
