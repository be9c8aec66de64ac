"""What does memory know of each key, and how does it stay exact whatever happens to the process?

A file of SQLite holds a row a key, so that a tick reads and writes the keys of its events alone. It is a view: it follows the
table ``features``, whose cursor is the commit point, and is written after it, never ahead of it. What is missing in it is
remembered again from the stored events, when it is opened; one that is gone, torn, or of another definition begins from the
newest checkpoint beside the tables, or from the first event.
"""

from __future__ import annotations

import marshal
import pickle
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import polars as pl

from millrace import checkpoints, features, models, pickles, recall, views
from millrace.checkpoints import Checkpoint
from millrace.clock import MICROSECOND, from_microseconds
from millrace.dataset import Dataset
from millrace.errors import ConflictError, writing
from millrace.keys import Keys, Row
from millrace.memory import NAME
from millrace.parallel import Progress
from millrace.settings import settings
from millrace.tables import Table

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stands (
    tables TEXT, definition TEXT, arrival INTEGER, clock INTEGER, newest INTEGER, keys INTEGER, late INTEGER, nulls INTEGER,
    kept INTEGER, part INTEGER, key BLOB
);
CREATE TABLE IF NOT EXISTS key (part INTEGER, key BLOB, seen INTEGER, state BLOB, PRIMARY KEY (part, key)) WITHOUT ROWID;
"""
_NEXT = "SELECT part, key, seen FROM key WHERE (part, key) > (?, ?) ORDER BY part, key LIMIT ?"
_AT_ONCE = 500
"""Keys in one question; SQLite's older limit is 999."""
_PAGE = 4_096
"""Bytes of a page in the file: few, since keys that come lie far from each other."""
EVENTS_AT_ONCE = 20_000
_NEVER = -(2**62)
WORTH_KEEPING = 50_000
"""Arrivals after which a checkpoint is worth its writing."""


@dataclass(frozen=True)
class Stands:
    """Where memory stands.

    Parameters
    ----------
    tables, definition
        Which table ``features`` it follows, and the fingerprint of its definition.
    arrival, clock, newest
        All events up to this arrival are remembered; the data's clock at the last of them, and the largest time of one, in
        microseconds.
    keys, late, nulls
        How many keys there are; how many events came late (their time is before that of one before them), and how many had a
        key that is null.
    kept
        The arrival of its last checkpoint.
    part, key
        The key up to which idle ones were looked for; an index of them would double what a tick writes.
    """

    tables: str = ""
    definition: str = ""
    arrival: int = 0
    clock: int = 0
    newest: int = _NEVER
    keys: int = 0
    late: int = 0
    nulls: int = 0
    kept: int = 0
    part: int = -1
    key: bytes = b""


def path(name: str) -> Path:
    """Return the file of a dataset's memory."""
    return views.newest(_first(name))


def _first(name: str) -> Path:
    return settings().cache / name / "memory.db"


def stands(name: str) -> Stands | None:
    """Return where the memory of a dataset stands; None where it has none yet. Nothing is built for it."""
    if not path(name).is_file():
        return None
    connection = sqlite3.connect(f"file:{path(name)}?mode=ro", uri=True, timeout=60)
    try:
        found = connection.execute("SELECT * FROM stands").fetchone()
    except sqlite3.DatabaseError:  # torn, or being made
        return None
    finally:
        connection.close()
    return Stands(*found) if found else None


class Remembered:
    """The memory of a dataset, opened.

    Parameters
    ----------
    dataset
        One that declares memory.
    apart
        Begin with nothing, apart from what is stored, to make again what was said.
    """

    def __init__(self, dataset: Dataset, apart: bool = False) -> None:
        self._dataset = dataset
        self._path = None if apart else path(dataset.name)
        self.recall = recall.of(dataset)
        self._of = "", ""
        self._folded: tuple[Stands, Keys] | None = None

    def __enter__(self) -> Remembered:
        with writing(f"the memory {self._path}"):
            if self._path:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path = views.whole(_first(self._dataset.name), _PAGE)
            try:
                self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # torn by a crash, or of another shape: it is a view, so it is made again
                self._remove()
                self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        if self._path and isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            damaged = self._path
            self._remove()
            raise ConflictError(f"{damaged} is damaged ({error}) and was removed; run it again: it is made again") from error

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path or ":memory:", timeout=60, isolation_level=None)
        self._connection.execute(f"PRAGMA page_size={_PAGE}")  # of a new file
        views.write_ahead(self._connection)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA cache_size=-65536")
        self._connection.executescript(_SCHEMA)
        self._stands()

    def _remove(self) -> None:
        self._connection.close()
        if self._path:
            self._path = views.replace(_first(self._dataset.name), self._path)

    def _stands(self) -> Stands:
        found = self._connection.execute("SELECT * FROM stands").fetchone()
        return Stands(*found) if found else Stands()

    def follow(self, progress: Progress | None = None, anew: bool = False) -> int:
        """Remember what ``features`` has and memory has not, its definition put on record; return how many events these were.

        Parameters
        ----------
        progress
            Is told how far it has come, in arrivals.
        anew
            Begin with nothing, whatever is known.
        """
        count = 0
        while True:
            at, table = self._stands(), Table(self._dataset.name, "features")  # opened second: memory is never ahead of it
            upto, self._of = table.cursor("infer"), (table.identity, self.recall.fingerprint)
            if anew or not self._follows(at, table):
                models.register(self._dataset, NAME, self.recall.fingerprint, [], accept=True)
                self._begin(table.identity, 0 if anew else upto)
                anew = False
                continue
            if at.arrival >= upto:
                return count
            last = min(at.arrival + EVENTS_AT_ONCE, upto)
            new = Table(self._dataset.name, "events").read(where=pl.col("arrival").is_between(at.arrival + 1, last))
            try:
                self.fold(new, features.of_events(self._dataset, new, []), at.arrival)
            except ConflictError:
                continue  # another process is ahead, or has begun anew
            self.keep(last)
            count += new.height
            if progress:
                progress(NAME, last, upto)

    def _follows(self, at: Stands, table: Table) -> bool:
        """Tell whether it is of this table, by the present definition."""
        return (at.tables, at.definition) == (table.identity, self.recall.fingerprint) and at.arrival <= table.cursor("infer")

    def _begin(self, identity: str, upto: int) -> None:
        """Begin anew: from the newest checkpoint that can be read, or from nothing."""
        found = checkpoints.kept(self._dataset.name, NAME, self.recall.fingerprint, models.environment(), upto)
        begun, rows = Stands(identity, self.recall.fingerprint), list[Row]()
        if found:
            at, rows = marshal.loads(zlib.decompress(pickles.loads(found[1])))  # noqa: S302 - its sha256 is on record
            begun = replace(Stands(*at), tables=identity, kept=found[0].seq)
        with self._at_once("BEGIN IMMEDIATE"):
            self._connection.execute("DELETE FROM stands")
            self._connection.execute("DELETE FROM key")
            self._connection.executemany("INSERT INTO key VALUES (?, ?, ?, ?)", rows)
            self._write(begun)

    def _write(self, at: Stands) -> None:
        self._connection.execute("DELETE FROM stands")
        self._connection.execute("INSERT INTO stands VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", list(vars(at).values()))

    @contextmanager
    def _at_once(self, begin: str) -> Iterator[None]:
        """One transaction: what is read in it is of one moment, and what is written is whole."""
        self._connection.execute(begin)
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def fold(self, events: pl.DataFrame, x: pl.DataFrame, after: int, problems: list[str] | None = None) -> pl.DataFrame:
        """Say of the next events what is remembered, and remember them; nothing is stored before :meth:`keep`.

        Parameters
        ----------
        events
            All after an arrival up to some other, in order: ``event_id``, ``event_time``, ``clock``, ``raw``.
        x
            Their features.
        after
            That arrival: memory must stand there, of the table that it followed.
        problems
            Is told how many events a part of River's could not tell anything.

        Returns
        -------
        DataFrame
            A column a feature of memory, a row an event, in the order of ``events``.

        Raises
        ------
        ConflictError
            When it stands elsewhere, for another process has remembered more, or has begun anew. Nothing was said.
        """
        with self._at_once("BEGIN"):
            before = self._stands()
            if (before.tables, before.definition, before.arrival) != (*self._of, after):
                raise ConflictError(f"another process changed {self._path}: it stands at {before.arrival}, not at {after}")
            keys = Keys(self.recall, self._read, before.newest)
            said = keys.fold(events, x, problems)
            self._folded = before, keys
        return said

    @property
    def late(self) -> int:
        """How many of the events that were folded last came late."""
        return self._folded[1].late if self._folded else 0

    @property
    def nulls(self) -> int:
        """How many of the events that were folded last had a key that is null."""
        return self._folded[1].nulls if self._folded else 0

    def _read(self, part: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            question = f"SELECT key, seen, state FROM key WHERE part = ? AND key IN ({','.join('?' * len(some))})"
            yield from self._connection.execute(question, (part, *some))

    def keep(self, upto: int) -> None:
        """Store what was folded, up to an arrival: after the commit of the features that it gave, if there is one.

        Where another process has done so meanwhile, nothing is stored: it is the same.
        """
        assert self._folded
        (before, keys), self._folded = self._folded, None
        clock, idle = max(before.clock, keys.clock), self.recall.memory.idle
        with writing(f"the memory {self._path}"), self._at_once("BEGIN IMMEDIATE"):
            if self._stands() != before:
                return
            self._connection.executemany("REPLACE INTO key VALUES (?, ?, ?, ?)", keys.rows)
            part, key, gone = self._swept(before, clock - idle // MICROSECOND, 2 * len(keys.rows)) if idle else (-1, b"", 0)
            after = replace(before, arrival=upto, clock=clock, newest=keys.newest, keys=before.keys + keys.new - gone)
            self._write(replace(after, late=before.late + keys.late, nulls=before.nulls + keys.nulls, part=part, key=key))

    def _swept(self, at: Stands, horizon: int, count: int) -> tuple[int, bytes, int]:
        """Remove the idle ones among the next few keys, in their order and round again; return up to where, and how many."""
        if not count:  # only labels came
            return at.part, at.key, 0
        rows = self._connection.execute(_NEXT, (at.part, at.key, count)).fetchall()
        idle = [(part, key) for part, key, seen in rows if seen < horizon]
        self._connection.executemany("DELETE FROM key WHERE part = ? AND key = ?", idle)
        return (*rows[-1][:2], len(idle)) if len(rows) == count else (-1, b"", len(idle))

    def checkpoint(self, worth: int = WORTH_KEEPING) -> bool:
        """Write a checkpoint beside the tables, if it is worth it; tell whether it was written.

        It is after ``worth`` arrivals, and as many as there are keys of a part (each event has one of each): so the cost of an
        event does not grow with them. With 0 it always is.
        """
        parts = len(self.recall.groups) + len(self.recall.wholes)
        with self._at_once("BEGIN"):
            at = self._stands()
            due = not worth or at.arrival - at.kept >= max(worth, at.keys // parts)
            if not due or not self._follows(at, Table(self._dataset.name, "features")):
                return False
            rows = self._connection.execute("SELECT part, key, seen, state FROM key ORDER BY part, key").fetchall()
        content = zlib.compress(marshal.dumps((list(vars(at).values()), rows)), 1)
        data = pickle.dumps(content, protocol=5)
        table, name = Table(self._dataset.name, "checkpoints"), self._dataset.name
        sha256 = checkpoints.write_state(name, data)
        clock = from_microseconds(at.clock)
        row = Checkpoint(NAME, at.definition, models.environment(), at.arrival, sha256, sha256, len(data), clock=clock)
        try:
            checkpoints.advance(table, row)
        except ConflictError:  # another process wrote one
            return False
        with self._at_once("BEGIN IMMEDIATE"):
            if (now := self._stands()).tables == at.tables and now.definition == at.definition:
                self._write(replace(now, kept=at.arrival))
        return True
