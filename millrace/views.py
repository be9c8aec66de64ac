"""Where does a view of the tables lie, and how is it made again while others have it open?

SQLite finds the two files that it keeps beside its own by their names: were a file removed and made again under its name, a
process that has the old one open could mix the two. So what takes the place of a damaged file has a name of its own; whoever
has the damaged one open goes on with it, apart.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from pathlib import Path

_PATIENCE = 60.0
"""Seconds."""


def newest(first: Path) -> Path:
    """Return a view's file: ``ids.db``, or the last that took its place, such as ``ids.2.db``; it need not be there."""
    return max(_all(first), key=_number, default=first)


def whole(first: Path, page: int) -> Path:
    """Return a view's file, to be opened; one that was cut short is replaced.

    SQLite writes whole pages (of ``page`` bytes), takes one that was cut short for one whose rows are empty, and says nothing.
    """
    last = newest(first)
    return replace(first, last) if last.exists() and last.stat().st_size % page else last


def replace(first: Path, damaged: Path) -> Path:
    """Remove a file that is damaged, and return the one that takes its place; where another process was first, it is that one's.

    Parameters
    ----------
    first
        The view's file, as it is named first.
    damaged
        The one that was found damaged.
    """
    with first.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        last = newest(first)
        if last != damaged:
            return last
        fresh = first.with_name(f"{first.stem}.{_number(damaged) + 1}{first.suffix}")
        fresh.touch()
        for older in [damaged, *(path for path in _all(first) if path != fresh)]:
            for path in older.parent.glob(f"{older.name}*"):
                path.unlink(missing_ok=True)
        return fresh


def write_ahead(database: sqlite3.Connection) -> None:
    """Have a database write ahead (WAL), so that readers go on beside a writer; it is kept in the file.

    Of two that do so at once SQLite refuses one, whatever the timeout: it is asked again.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                database.execute("PRAGMA journal_mode=wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _all(first: Path) -> list[Path]:
    return [path for path in first.parent.glob(f"{first.stem}*{first.suffix}") if path == first or _number(path)]


def _number(path: Path) -> int:
    number = path.stem.rpartition(".")[2]
    return int(number) if number.isdigit() else 0
