"""Which ids are known, and what waits for what?

The waiting room is an index of the tables by id, in SQLite: an event finds its label and a label its event at the
same cost however long the history is. It is a view: it follows the tables by their cursors, lies in the cache, and is
made again from nothing when it is missing or belongs to other tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from millrace.clock import microseconds
from millrace.settings import settings
from millrace.tables import Table

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (tables TEXT PRIMARY KEY, file INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (sha256 TEXT PRIMARY KEY, number INTEGER, name TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    event_id TEXT PRIMARY KEY, arrival INTEGER, time INTEGER, labelled INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS label (
    event_id TEXT, arrival INTEGER, value TEXT, time INTEGER, clock INTEGER, early INTEGER,
    PRIMARY KEY (event_id, arrival)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unlabelled ON event (time) WHERE labelled = 0;
CREATE INDEX IF NOT EXISTS early ON label (arrival) WHERE early = 1;
"""
_AT_ONCE = 500
"""Ids in one question; SQLite's older limit is 999."""


class WaitingRoom:
    """The index of a dataset, brought up to the tables when it is entered."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self._path: Path = settings().cache / dataset / "ids.db"

    def __enter__(self) -> WaitingRoom:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
            self.follow()
        except sqlite3.DatabaseError:  # torn by a crash: it is a view, so it is made again
            self._connection.close()
            self._path.unlink(missing_ok=True)
            self._open()
            self.follow()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(_SCHEMA)

    def follow(self) -> None:
        """Take up what the tables have and the index has not, in one transaction."""
        labels = Table(self._dataset, "labels")  # the last that ingestion writes: what it has, the others have
        head, identity = labels.cursor("ingest"), labels.identity
        one = self._connection
        if self._cursor() == (identity, head):
            return
        one.execute("BEGIN IMMEDIATE")
        try:
            of, after = self._cursor()
            if of != identity or after > head:
                for name in ("cursor", "file", "event", "label"):
                    one.execute(f"DELETE FROM {name}")
                after = 0
            new = (pl.col("number") > after) & (pl.col("number") <= head)
            files = Table(self._dataset, "files").read("sha256", "number", "name", where=new)
            one.executemany("INSERT OR IGNORE INTO file VALUES (?, ?, ?)", files.iter_rows())
            new = (pl.col("file") > after) & (pl.col("file") <= head)
            self._add_events(new)
            self._add_labels(labels, new)
            one.execute("REPLACE INTO cursor VALUES (?, ?)", (identity, head))
            one.execute("COMMIT")
        except BaseException:
            one.execute("ROLLBACK")
            raise

    def _cursor(self) -> tuple[str, int]:
        """Return which tables the index follows, and up to which file."""
        found = self._connection.execute("SELECT tables, file FROM cursor").fetchone()
        return (found[0], found[1]) if found else ("", 0)

    def _add_events(self, where: pl.Expr) -> None:
        time = pl.col("event_time").to_physical().alias("time")
        new = Table(self._dataset, "events").read("event_id", "arrival", time, where=where)
        known = self.labelled(new["event_id"])
        rows = ((name, arrival, time, int(name in known)) for name, arrival, time in new.iter_rows())
        self._connection.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", rows)
        if known:
            self._connection.executemany("UPDATE label SET early = 0 WHERE event_id = ?", [(name,) for name in known])

    def _add_labels(self, table: Table, where: pl.Expr) -> None:
        text = pl.col("label").cast(pl.String).alias("value")
        times = [pl.col(name).to_physical().alias(name) for name in ("label_time", "clock")]
        new = table.read("event_id", "arrival", text, *times, where=where)
        known = set(self.events(new["event_id"])["event_id"])
        rows = ((*row, int(row[0] not in known)) for row in new.iter_rows())
        self._connection.executemany("INSERT OR IGNORE INTO label VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._connection.executemany("UPDATE event SET labelled = 1 WHERE event_id = ?", [(name,) for name in known])

    def file(self, sha256: str) -> tuple[int, str] | None:
        """Return the number and the name under which this content was taken in, if it was."""
        found = self._connection.execute("SELECT number, name FROM file WHERE sha256 = ?", (sha256,)).fetchone()
        return None if found is None else (found[0], found[1])

    def events(self, ids: Iterable[str], before: int | None = None) -> pl.DataFrame:
        """Return ``event_id``, ``arrival`` and ``event_time`` of those of these ids that are known.

        Parameters
        ----------
        before
            Only what had arrived before this arrival.
        """
        rows = self._ask("SELECT event_id, arrival, time FROM event WHERE event_id IN ({})", ids)
        frame = pl.DataFrame(rows, schema={"event_id": pl.String, "arrival": pl.Int64, "event_time": pl.Int64}, orient="row")
        frame = frame.with_columns(pl.col("event_time").cast(pl.Datetime("us", "UTC")))
        return frame if before is None else frame.filter(pl.col("arrival") < before)

    def labels(self, ids: Iterable[str], before: int | None = None) -> pl.DataFrame:
        """Return ``event_id``, ``arrival``, ``value`` (as text), ``label_time`` and ``clock`` of all labels of these ids."""
        rows = self._ask("SELECT event_id, arrival, value, time, clock FROM label WHERE event_id IN ({})", ids)
        schema: dict[str, Any] = {"event_id": pl.String, "arrival": pl.Int64, "value": pl.String}
        frame = pl.DataFrame(rows, schema=schema | {"label_time": pl.Int64, "clock": pl.Int64}, orient="row")
        frame = frame.with_columns(pl.col("label_time", "clock").cast(pl.Datetime("us", "UTC")))
        return (frame if before is None else frame.filter(pl.col("arrival") < before)).sort("arrival")

    def labelled(self, ids: Iterable[str]) -> set[str]:
        """Return those of these ids that have a label."""
        return {row[0] for row in self._ask("SELECT DISTINCT event_id FROM label WHERE event_id IN ({})", ids)}

    def events_waiting(self, clock: datetime | None, window: timedelta | None) -> int:
        """Count the events without a label whose window is open at this moment of the data's clock."""
        if clock is None:
            return 0
        since = microseconds(clock - window) if window is not None else -(2**62)
        return self._count("SELECT count(*) FROM event WHERE labelled = 0 AND time >= ?", since)

    def labels_waiting(self) -> int:
        """Count the labels whose event has not arrived."""
        return self._count("SELECT count(*) FROM label WHERE early = 1")

    def _count(self, question: str, *values: int) -> int:
        return int(self._connection.execute(question, values).fetchone()[0])

    def _ask(self, question: str, ids: Iterable[str]) -> list[tuple[Any, ...]]:
        wanted, found = list(dict.fromkeys(ids)), []
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found.extend(self._connection.execute(question.format(",".join("?" * len(some))), some).fetchall())
        return found
