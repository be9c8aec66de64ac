"""What is stored, and how is it written exactly once?

Delta tables, one folder a dataset. A step's rows and its cursor (an application transaction: an application id and a
growing number) are one commit to one table. The discipline is part of it: open the output first, read its cursors from
it, then the inputs, then write through it; a competing commit of the same cursor raises :class:`ConflictError`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from millrace import durable, layout, snapshots
from millrace.clock import microseconds, now
from millrace.dataset import Dataset
from millrace.errors import ConflictError, DatasetError, MillraceError, writing
from millrace.settings import settings

if TYPE_CHECKING:
    from deltalake import DeltaTable

_KEYS = {
    "files": "number",
    "examples": "seq",
    "outcomes": "number",
    "standings": "seq",
    "checkpoints": "seq",
    "definitions": "at",
    "promotions": "number",
    "interventions": "number",
    "removals": "number",
}
_LAYOUT = "4"
"""Grows when there is a new table or column."""
_PROPERTIES = {
    # Cleaning the log after each commit made appends four times slower as the log grew; maintenance does it.
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 2 days",
}


def folder(name: str) -> Path:
    """Return the folder of a dataset's tables."""
    return settings().root / name


def created(name: str) -> bool:
    """Tell whether a dataset has all its tables; those of an older layout get the columns that are new."""
    if not (folder(name) / ".layout").is_file():
        return False
    if not _is_of_today(name):
        from millrace import catalog

        with contextlib.suppress(DatasetError):  # a broken file says so elsewhere
            create(catalog.load(name))
    return _is_of_today(name)


def _is_of_today(name: str) -> bool:
    layout = folder(name) / ".layout"
    return layout.is_file() and layout.read_text() == _LAYOUT


def create(dataset: Dataset) -> None:
    """Create all tables of a dataset, once, and give older ones the columns that are new.

    Two creators beside each other would both succeed, so one waits.
    """
    if _is_of_today(dataset.name):
        return
    with writing(folder(dataset.name)), lock(dataset.name):
        for name, columns in layout.schemas(dataset).items():
            _create(folder(dataset.name) / name, pl.DataFrame(schema=columns))
        (folder(dataset.name) / ".layout").write_text(_LAYOUT)


def _create(path: Path, empty: pl.DataFrame) -> None:
    from deltalake import DeltaTable, Schema

    wanted = empty.to_arrow().schema
    if not any((path / "_delta_log").glob("*.json")):  # or it was begun when there was no room
        DeltaTable.create(str(path), schema=wanted, configuration=_PROPERTIES)
        return
    table = DeltaTable(str(path))
    have = {field.name for field in table.schema().fields}
    missing = [field for field in Schema.from_arrow(wanted).fields if field.name not in have]
    if missing:
        table.alter.add_columns(missing)


@contextmanager
def replacing(dataset: str, name: str, columns: Mapping[str, Any]) -> Iterator[Table]:
    """Hand over an empty table, which takes the place of one that is no part of the log when it is whole, and not before."""
    final, aside = folder(dataset) / name, folder(dataset) / f"{name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with writing(aside):
            _create(aside, pl.DataFrame(schema=columns))
        yield Table(dataset, aside.name)
        with lock(dataset):
            shutil.rmtree(final, ignore_errors=True)
            aside.replace(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def head(name: str) -> int:
    """Return the arrival up to which all rows are in their tables.

    ``labels`` is the last that ingestion writes; ``events`` may be an older copy that was put back.
    """
    return min(Table(name, table).cursor("arrival") for table in ("events", "labels"))


@contextmanager
def lock(name: str, file: str = ".lock") -> Iterator[None]:
    """Hold a dataset's lock, for what one process alone may do: creating tables, and maintenance; or another, by its file."""
    folder(name).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder(name) / file, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def at_arrivals(arrivals: pl.Series) -> pl.Expr:
    """Return the condition that chooses the rows of these arrivals; their range prunes what is read."""
    if not arrivals.len():
        return pl.lit(False)
    return pl.col("arrival").is_between(arrivals.min(), arrivals.max()) & pl.col("arrival").is_in(arrivals.implode())


def as_struct(frame: pl.DataFrame, column: str, wanted: pl.DataType) -> pl.Expr:
    """Return a struct column with just the fields that are wanted, in their order; null where there is none."""
    given, dtype = frame.schema[column], wanted
    assert isinstance(given, pl.Struct) and isinstance(dtype, pl.Struct)
    have = {part.name for part in given.fields}
    parts = [
        pl.col(column).struct.field(part.name) if part.name in have else pl.lit(None, dtype=part.dtype).alias(part.name)
        for part in dtype.fields
    ]
    return pl.struct(parts).alias(column)


class Table:
    """A table of a dataset, opened at its newest version.

    Reading sees this version; writing goes through it, so that a commit made by another since then, of the same
    cursor, is refused.
    """

    def __init__(self, dataset: str, name: str) -> None:
        from deltalake.exceptions import TableNotFoundError

        self.name = name
        self.path = folder(dataset) / name
        durable.make_whole(self.path, lambda: lock(dataset))
        try:
            self._snapshot = snapshots.newest(self.path)
        except TableNotFoundError as error:
            raise MillraceError(
                f"table {self.path} cannot be opened: {error}; restore the folder {folder(dataset)} from a copy, or remove it "
                "whole to begin anew"
            ) from error

    def cursor(self, application: str) -> int:
        """Return how far a step has come in this table; 0 before its first commit."""
        return self._snapshot.cursor(application)

    @property
    def _delta(self) -> DeltaTable:
        return self._snapshot.delta

    @property
    def identity(self) -> str:
        """What tells this table from another at the same place."""
        return str(self._delta.metadata().id)

    @property
    def version(self) -> int:
        """The version of the table that reading sees."""
        return self._delta.version()

    def count(self) -> int:
        """Return the number of rows, from the log alone."""
        return self._delta.count()

    def fields(self, column: str) -> dict[str, Any]:
        """Return the names and types in a struct column, in the order in which they were registered."""
        dtype = pl.scan_delta(self._delta).collect_schema()[column]
        assert isinstance(dtype, pl.Struct)
        return {part.name: part.dtype for part in dtype.fields}

    def read(self, *columns: str | pl.Expr, where: pl.Expr | None = None) -> pl.DataFrame:
        """Read rows, in the order of the table's key (``arrival``, or ``seq`` or ``number``).

        Delta does not return rows in the order of their commits. A condition on the key prunes by the statistics.
        """
        scan = pl.scan_delta(self._delta)
        if where is not None:
            scan = scan.filter(where)
        key = pl.col(_KEYS.get(self.name, "arrival")).alias("__key")
        frame = scan.select(*(columns or ["*"]), key).collect()
        return frame.sort("__key", maintain_order=True).drop("__key")

    def append(self, frame: pl.DataFrame, cursors: Mapping[str, int]) -> None:
        """Append rows and move cursors, in one commit.

        Raises
        ------
        ConflictError
            When another has moved one of these cursors since the table was opened. Nothing was written.
        MillraceError
            When the rows do not fit the table.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError, SchemaMismatchError

        moment, opened = microseconds(now()) // 1000, self._delta.version()
        transactions = [Transaction(application, number, moment) for application, number in cursors.items()]
        aligned, grown = self._aligned(frame)
        try:
            with writing(f"table {self.path}"):
                own = snapshots.own(self.path, opened)
                write_deltalake(
                    own,
                    aligned,
                    mode="append",
                    schema_mode="merge" if grown else None,
                    commit_properties=CommitProperties(
                        app_transactions=transactions, custom_metadata={durable.CURSORS: str(len(transactions))}
                    ),
                )
                durable.sync(self.path, opened, own.version())
                self._snapshot = snapshots.keep(self.path, own)
        except CommitFailedError as error:
            raise ConflictError(f"another process is ahead in {self.path.parent.name}/{self.name}: {error}") from error
        except SchemaMismatchError as error:
            raise MillraceError(f"table {self.path}: {error}; give a column of another type another name") from error

    def _aligned(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """Put columns in the table's order, and a struct's fields in the order of their registration, new ones last."""
        schema = pl.scan_delta(self._delta).collect_schema()
        columns, grown = [], False
        for name, dtype in schema.items():
            if not isinstance(dtype, pl.Struct):
                columns.append(pl.col(name).cast(dtype))
                continue
            given = frame.schema[name]
            assert isinstance(given, pl.Struct)
            have = {part.name: part.dtype for part in given.fields}
            registered = {part.name: part.dtype for part in dtype.fields}
            parts = []
            for field, wanted in registered.items():
                if field not in have:
                    parts.append(pl.lit(None, dtype=wanted).alias(field))
                elif have[field] != wanted:
                    raise MillraceError(
                        f"table {self.path}: {field!r} was {wanted} and is now {have[field]}; give it another name"
                    )
                else:
                    parts.append(pl.col(name).struct.field(field))
            new = [field for field in have if field not in registered]
            parts.extend(pl.col(name).struct.field(field) for field in new)
            grown = grown or bool(new)
            columns.append(pl.struct(parts).alias(name))
        return frame.select(columns), grown
