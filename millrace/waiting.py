"""Which ids are known, and what waits for what?

The waiting room is an index of the tables by id, in SQLite: an event finds its label and a label its event at the
same cost however long the history is. It is a view: it follows the tables by their cursors, forgets what no later row can
meet (older than the horizon within which ids are unique), lies in the cache, and is made again from the tables when it is
missing or torn, or belongs to other tables or to another horizon.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from millrace import catalog, views
from millrace.casting import UTC_MICROSECONDS
from millrace.clock import MICROSECOND, from_microseconds, microseconds
from millrace.errors import writing
from millrace.settings import settings
from millrace.tables import Table

# Rows lie in order of arrival, so the oldest are forgotten as a range. `label.event` is the arrival of the event that the
# label belongs to, null while it waits for one. Moments are microseconds.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (tables TEXT PRIMARY KEY, file INTEGER, horizon INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (sha256 TEXT PRIMARY KEY, number INTEGER, name TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (arrival INTEGER PRIMARY KEY, event_id TEXT, time INTEGER, clock INTEGER, labelled INTEGER);
CREATE TABLE IF NOT EXISTS label (
    arrival INTEGER PRIMARY KEY, event_id TEXT, event INTEGER, value TEXT, time INTEGER, clock INTEGER
);
CREATE INDEX IF NOT EXISTS event_of_id ON event (event_id);
CREATE INDEX IF NOT EXISTS label_of_id ON label (event_id);
CREATE INDEX IF NOT EXISTS unlabelled ON event (time) WHERE labelled = 0;
CREATE INDEX IF NOT EXISTS waits ON label (clock) WHERE event IS NULL;
CREATE INDEX IF NOT EXISTS early ON label (event) WHERE event > arrival;
"""
# A label is the latest event's of its id that arrived before it and is near enough, or else the next one's.
_INSERT_LABEL = """
INSERT OR IGNORE INTO label SELECT ?1, ?2, coalesce(
    (SELECT arrival FROM event WHERE event_id = ?2 AND arrival < ?1 AND clock >= ?5 - {horizon} ORDER BY arrival DESC LIMIT 1),
    (SELECT arrival FROM event WHERE event_id = ?2 AND arrival > ?1 AND clock <= ?5 + {horizon} ORDER BY arrival LIMIT 1)
), ?3, ?4, ?5
"""
_MEET = """
UPDATE label INDEXED BY label_of_id SET event = (
    SELECT min(arrival) FROM event
    WHERE event_id = label.event_id AND arrival > label.arrival AND clock <= label.clock + {horizon}
) WHERE event IS NULL AND event_id IN (SELECT event_id FROM event WHERE arrival >= ?)
"""
_PAIRS = """
SELECT l.event_id, l.arrival, l.time, l.clock, l.value, e.arrival, e.time, e.clock
FROM label l JOIN event e ON e.arrival = l.event
WHERE l.event_id IN (
    SELECT event_id FROM label WHERE arrival BETWEEN ?1 AND ?2
    UNION SELECT event_id FROM label WHERE event > arrival AND event BETWEEN ?1 AND ?2
) ORDER BY l.arrival
"""
PAIR: dict[str, Any] = {
    "event_id": pl.String, "label_arrival": pl.Int64, "label_time": pl.Int64, "label_clock": pl.Int64, "value": pl.String,
    "event_arrival": pl.Int64, "event_time": pl.Int64, "event_clock": pl.Int64,
}  # fmt: skip
"""The columns of an event and a label of it; moments are in microseconds since 1970."""
_FOR_EVER = 2**62
BEGINNING = microseconds(datetime.fromisoformat("0001-01-01T00:00Z"))
_PAGE = 16_384
"""Bytes of a page in the file."""
_AT_ONCE = 500
"""Ids in one question; SQLite's older limit is 999."""


class WaitingRoom:
    """The index of a dataset, brought up to the tables when it is entered.

    Parameters
    ----------
    dataset
        Its name.
    whole
        A file for an index that forgets nothing, to go through the tables from the beginning again.

    Attributes
    ----------
    horizon, window
        Within how long a time ids are unique, and how long an event waits for its label (None: no window), in microseconds.
    """

    def __init__(self, dataset: str, whole: Path | None = None) -> None:
        self._dataset = dataset
        self._first = whole or settings().cache / dataset / "ids.db"
        self._path = self._first
        self._forgets = whole is None
        declared = catalog.load(dataset)
        horizon, window = declared.id_horizon, declared.labels.window
        self.horizon = _FOR_EVER if horizon is None else horizon // MICROSECOND
        self.window = None if window is None else window // MICROSECOND

    def __enter__(self) -> WaitingRoom:
        with writing(f"the index of ids {self._path}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path = views.whole(self._first, _PAGE)
            try:
                self._open()
                self.follow()
            except sqlite3.DatabaseError:  # damaged, or of another shape
                self._make_again()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def _make_again(self) -> None:
        """Make the index again from the tables, of which it is a view."""
        self._connection.close()
        self._path = views.replace(self._first, self._path)
        self._open()
        self.follow()

    def _rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask a question; where the file turns out to be torn at what it asks for, it is made again first."""
        try:
            return self._connection.execute(question, values).fetchall()
        except sqlite3.OperationalError:  # it is held by another process, or there is no room
            raise
        except sqlite3.DatabaseError:
            self._make_again()
            return self._connection.execute(question, values).fetchall()

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        self._connection.execute(f"PRAGMA page_size={_PAGE}")  # of a new file
        views.write_ahead(self._connection)
        self._connection.execute("PRAGMA synchronous=NORMAL")  # or a power cut could leave pages that look whole and are old
        self._connection.execute("PRAGMA cache_size=-65536")
        self._connection.executescript(_SCHEMA)
        if self.window is not None:  # then windows close, which are found by their events' times
            self._connection.execute("CREATE INDEX IF NOT EXISTS event_of_time ON event (time)")

    def follow(self) -> None:
        """Take up what the tables have and the index has not, and forget what is too old, in one transaction."""
        labels = Table(self._dataset, "labels")  # the last that ingestion writes: what it has, the others have
        if self._cursor() == (labels.identity, labels.cursor("ingest"), self.horizon):
            return
        joined = self._done() if self._forgets else BEGINNING
        labels = Table(self._dataset, "labels")  # opened after: it has all that is joined
        head, identity = labels.cursor("ingest"), labels.identity
        one = self._connection
        one.execute("BEGIN IMMEDIATE")
        try:
            of, after, horizon = self._cursor()
            if (of, horizon) != (identity, self.horizon) or after > head:
                for name in ("cursor", "file", "event", "label"):
                    one.execute(f"DELETE FROM {name}")
                after = 0
            new = (pl.col("number") > after) & (pl.col("number") <= head)
            files = Table(self._dataset, "files").read("sha256", "number", "name", where=new)
            one.executemany("INSERT OR IGNORE INTO file VALUES (?, ?, ?)", files.iter_rows())
            # A label that is remembered is two horizons old at most (its event one), and its own event one more.
            new = (pl.col("file") > after) & (pl.col("file") <= head)
            ages = [max(joined - horizons * self.horizon, BEGINNING) for horizons in range(4)]
            self._add_events(Table(self._dataset, "events"), new & (pl.col("clock") >= from_microseconds(ages[3])))
            self._add_labels(labels, new & (pl.col("clock") >= from_microseconds(ages[2])))
            self._forget("event", before=ages[1])
            self._forget("label", before=ages[2])
            one.execute("REPLACE INTO cursor VALUES (?, ?, ?)", (identity, head, self.horizon))
            one.execute("COMMIT")
        except BaseException:
            one.execute("ROLLBACK")
            raise

    def _done(self) -> int:
        """Return the data's clock up to where all that needs the index is done."""
        clocks = [Table(self._dataset, "examples").cursor("clock")]
        if self.window is not None:
            clocks.append(Table(self._dataset, "outcomes").cursor("clock"))
        return min(clock or BEGINNING for clock in clocks)

    def _cursor(self) -> tuple[str, int, int]:
        """Return which tables the index follows, up to which file, and for which horizon."""
        found = self._connection.execute("SELECT tables, file, horizon FROM cursor").fetchone()
        return found or ("", 0, 0)

    def _add_events(self, table: Table, where: pl.Expr) -> None:
        times = [pl.col(name).to_physical() for name in ("event_time", "clock")]
        new = table.read("arrival", "event_id", *times, where=where)
        if not new.height:
            return
        one, first = self._connection, new["arrival"][0]
        one.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, 0)", _tuples(new))
        if one.execute("SELECT 1 FROM label WHERE event IS NULL LIMIT 1").fetchone():
            one.execute(_MEET.format(horizon=self.horizon), (first,))
            met = "SELECT event FROM label WHERE event > arrival AND event >= ?"
            one.execute(f"UPDATE event SET labelled = 1 WHERE arrival IN ({met})", (first,))

    def _add_labels(self, table: Table, where: pl.Expr) -> None:
        text = pl.col("label").cast(pl.String)
        times = [pl.col(name).to_physical() for name in ("label_time", "clock")]
        new = table.read("arrival", "event_id", text, *times, where=where)
        if not new.height:
            return
        one, first = self._connection, new["arrival"][0]
        one.executemany(_INSERT_LABEL.format(horizon=self.horizon), _tuples(new))
        one.execute("UPDATE event SET labelled = 1 WHERE arrival IN (SELECT event FROM label WHERE arrival >= ?)", (first,))

    def _forget(self, table: str, before: int) -> None:
        """Forget the rows before a moment of the data's clock, which never goes back: only these are looked at."""
        kept = f"SELECT arrival FROM {table} WHERE clock >= ? ORDER BY arrival LIMIT 1"
        self._connection.execute(f"DELETE FROM {table} WHERE arrival < coalesce(({kept}), {_FOR_EVER})", (before,))

    def file(self, sha256: str) -> tuple[int, str] | None:
        """Return the number and the name under which this content was taken in, if it was."""
        found = self._rows("SELECT number, name FROM file WHERE sha256 = ?", (sha256,))
        return (found[0][0], found[0][1]) if found else None

    def events(self, ids: pl.Series, before: int = _FOR_EVER) -> pl.DataFrame:
        """Return ``arrival``, ``event_id`` and the data's ``clock`` of the events of these ids that arrived before an arrival and
        are not forgotten, in order of arrival."""
        rows = self._ask("SELECT arrival, event_id, clock FROM event WHERE event_id IN ({})", "event", ids)
        schema: dict[str, Any] = {"arrival": pl.Int64, "event_id": pl.String, "clock": pl.Int64}
        frame = pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("arrival") < before)
        return frame.sort("arrival").with_columns(pl.col("clock").cast(UTC_MICROSECONDS))

    def labels(self, ids: pl.Series, before: int = _FOR_EVER) -> pl.DataFrame:
        """Return the labels of these ids that arrived before an arrival and are not forgotten, in order of arrival.

        Returns
        -------
        DataFrame
            ``event_id``, ``arrival``, ``event`` (the arrival of the event that it belongs to; null while that has not come),
            ``value`` (as text) and the data's ``clock`` at it.
        """
        rows = self._ask("SELECT arrival, event_id, event, value, clock FROM label WHERE event_id IN ({})", "label", ids)
        schema: dict[str, Any] = {"arrival": pl.Int64, "event_id": pl.String, "event": pl.Int64, "value": pl.String}
        frame = pl.DataFrame(rows, schema=schema | {"clock": pl.Int64}, orient="row").filter(pl.col("arrival") < before)
        event = pl.when(pl.col("event") < before).then("event").alias("event")
        return frame.sort("arrival").with_columns(event, pl.col("clock").cast(UTC_MICROSECONDS))

    def pairs(self, after: int, upto: int) -> pl.DataFrame:
        """Return the events and labels that belong together where one of the two arrived after an arrival, up to another.

        Returns
        -------
        DataFrame
            ``event_id``, ``label_arrival``, ``label_time``, ``label_clock`` (the data's clock at the label's arrival), ``value``
            (as text), ``event_arrival``, ``event_time``, ``event_clock``, in order of ``label_arrival``; the earlier labels of
            these events, too.
        """
        return as_pairs(self.select(_PAIRS, after + 1, upto, columns=PAIR)).filter(
            pl.max_horizontal("label_arrival", "event_arrival") <= upto
        )

    def arrived(self, after: int, upto: int) -> pl.DataFrame:
        """Return the events that arrived after an arrival, up to another: as :meth:`pairs`, with no label, in order."""
        question = "SELECT event_id, NULL, NULL, NULL, NULL, arrival, time, clock FROM event WHERE arrival > ? AND arrival <= ?"
        return as_pairs(self.select(f"{question} ORDER BY arrival", after, upto, columns=PAIR))

    def has_forgotten(self) -> bool:
        """Tell whether there are events that the index no longer knows."""
        return self._count("SELECT count(*) FROM event") < Table(self._dataset, "events").count()

    def answered(self, after: int, upto: int) -> pl.Series:
        """Return the arrivals of the events after an arrival, up to another, that came later than a label of theirs."""
        question = "SELECT DISTINCT event FROM label WHERE event > arrival AND event BETWEEN ? AND ?"
        return pl.Series([row[0] for row in self._rows(question, (after + 1, upto))], dtype=pl.Int64)

    def clock(self, upto: int = _FOR_EVER) -> int | None:
        """Return the data's clock at an arrival, or now, in microseconds; None when nothing is remembered."""
        newest = "SELECT clock FROM {} WHERE arrival <= ? ORDER BY arrival DESC LIMIT 1"
        found = [self._rows(newest.format(table), (upto,)) for table in ("event", "label")]
        return max((rows[0][0] for rows in found if rows), default=None)

    def labels_waiting(self) -> int:
        """Count the labels whose event has not arrived and may."""
        return self._count("SELECT count(*) FROM label WHERE event IS NULL AND clock >= ?", (self.clock() or 0) - self.horizon)

    def select(self, question: str, *values: int | str | None, columns: Mapping[str, Any]) -> pl.DataFrame:
        """Ask a question in SQL, which changes nothing; the columns are as named, and the rows in its order."""
        return pl.DataFrame(self._rows(question, values), schema=columns, orient="row")

    def _count(self, question: str, *values: int) -> int:
        return int(self._rows(question, values)[0][0])

    def _ask(self, question: str, table: str, ids: pl.Series) -> list[tuple[Any, ...]]:
        ends = f"SELECT (SELECT min(event_id) FROM {table}), (SELECT max(event_id) FROM {table})"
        [(low, high)] = self._rows(ends)
        known = ids.clear() if low is None else ids.filter(ids.is_between(low, high))  # most new ids come after all others
        wanted, found = known.unique(maintain_order=True).to_list(), []
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            found.extend(self._rows(question.format(",".join("?" * len(some))), some))
        return found


@contextmanager
def everything(name: str) -> Iterator[WaitingRoom]:
    """Open an index that has forgotten nothing: the dataset's own where that holds, or else one made for the purpose."""
    with WaitingRoom(name) as room:
        if not room.has_forgotten():
            yield room
            return
    with tempfile.TemporaryDirectory() as folder, WaitingRoom(name, whole=Path(folder) / "ids.db") as room:
        yield room


def as_pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the columns of :data:`PAIR`, their moments as such."""
    return rows.with_columns(pl.col("label_time", "label_clock", "event_time", "event_clock").cast(UTC_MICROSECONDS))


def _tuples(frame: pl.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Give the rows; column by column that takes half as long."""
    return zip(*[column.to_list() for column in frame], strict=True)
