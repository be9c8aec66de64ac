"""How does what is stored stay small and quick to read, beside stages that run?

Every tick leaves small files. Maintenance gathers them into large ones (appends go on meanwhile), and removes what
nothing needs any more and nobody can still be writing or reading: what is younger than :data:`RETENTION` is never touched.
Two at once would double a table, so the dataset's lock is held from beginning to end.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from millrace import catalog, landing, layout, orphans, remaining, retention, snapshots, tables
from millrace.clock import now
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.remembered import Remembered
from millrace.retention import RetentionReport
from millrace.tables import Table

if TYPE_CHECKING:
    from deltalake import DeltaTable

RETENTION = timedelta(days=2)
"""Longer than any fold: it reads the log through a handle that it opened first, and its row follows its state. The log of
the tables keeps as long (``delta.logRetentionDuration``)."""
KEEP_FILES = timedelta(days=30)
"""How long files that were taken in are kept by default."""
SMALL_FILES = 200
"""So many in one table make maintenance due."""
_ORPHANS_SOUGHT = timedelta(days=1)
"""By so much, and more than it notes, the search for orphans may begin before what is looked at."""
_FIRST_TO_GROW = ("files", "checkpoints")
"""Every tick that takes anything in adds to the one, and every model that learns to the other."""
_TARGET_BYTES = 32 * 2**20
"""Of a large file: it bounds what is written again however long the history is. Adjacent files alone are joined, so each
keeps a narrow range of ``arrival`` or ``seq``."""
_ROWS_IN_GROUP = 20_000
"""A large file is read in part, by the statistics of its groups of rows."""
_ATTEMPTS = 5
_WORTH_REMEMBERING = 1_000
"""So many arrivals since its last checkpoint make another of memory worth it; a tick waits for more."""


@dataclass
class TableReport:
    """What was done to one table: its ``files`` ``before``, and after; the old files that were ``removed``, their
    ``bytes``, and the files of its ``log`` that are gone."""

    table: str
    before: int = 0
    files: int = 0
    removed: int = 0
    bytes: int = 0
    log: int = 0

    def __str__(self) -> str:
        removed = f"removed {self.removed:,} old ones ({self.bytes / 1e6:,.1f} MB), {self.log:,} of the log"
        return f"{self.table}: files {self.before:,} → {self.files:,}; {removed}"

    @property
    def would(self) -> str:
        """What a run would do."""
        return f"{self.table}: {self.before:,} files, {self.removed:,} old ones to remove ({self.bytes / 1e6:,.1f} MB)"


@dataclass
class MaintainReport:
    """What was done, or would be (``dry_run``): a report a table; which ``versions`` leave MLflow; how many ``states`` (and their
    ``bytes``), landing ``files``, and in MLflow ``orphans`` and ``runs`` that a crash had left open, are gone or ended."""

    dataset: str
    dry_run: bool = False
    tables: list[TableReport] = field(default_factory=list)
    versions: RetentionReport | None = None
    states: int = 0
    bytes: int = 0
    files: int = 0
    orphans: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.tables:
            return "; ".join(["nothing is stored yet", *self.problems])
        removed = "would remove" if self.dry_run else "removed"
        gone = (
            f"{removed} {self.states:,} states ({self.bytes / 1e6:,.1f} MB), {self.files:,} files taken in long ago, "
            f"{self.orphans:,} orphans in MLflow; {self.runs:,} of its runs {'to end' if self.dry_run else 'ended'}"
        )
        told = [table.would if self.dry_run else str(table) for table in self.tables]
        return "\n".join([*told, *([f"{removed} {self.versions}"] if self.versions else []), gone, *self.problems])


def due(name: str) -> bool:
    """Tell whether a dataset's tables have gathered so many small files that they are worth joining."""
    return tables.created(name) and any(_small_files(_newest(name, table)) > SMALL_FILES for table in _FIRST_TO_GROW)


def maintain(name: str, keep: timedelta = KEEP_FILES, dry_run: bool = False) -> MaintainReport:
    """Join small files, and remove what nothing needs any more; wait for another that does the same.

    Versions leave MLflow as the dataset's :class:`~millrace.dataset.Retention` says. Needed states are those of versions that
    stay, the newest of each lineage and of the race, the last of every day, and all of the last two days; any other can be built
    again by a replay.

    Parameters
    ----------
    name
        The dataset.
    keep
        How long files that were taken in are kept in the landing folder's ``done``.
    dry_run
        Change nothing, and tell what would be removed.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    MillraceError
        When joining the files of a table changed its rows; the message says whether that was undone, and what to do.
    """
    dataset = catalog.load(name)
    report = MaintainReport(name, dry_run)
    if not tables.created(name):
        return report
    with tables.lock(name):
        for table in layout.NAMES:
            report.tables.append(_look(name, table) if dry_run else _maintain_table(name, table))
        if dataset.remembers and not dry_run:
            with contextlib.suppress(ConflictError), Remembered(dataset) as remembered:  # damaged: the next tick makes it again
                remembered.checkpoint(worth=_WORTH_REMEMBERING)
        try:
            report.versions = retention.apply(dataset, dry_run)
            report.orphans, report.runs = orphans.remove(dataset, now() - RETENTION, dry_run)
        except RegistryError as error:
            report.problems.append(str(error))
        _remove_states(report)
        _remove_files(report, keep)
        if not dry_run and not report.problems:  # where MLflow was away, the next has still to look at all
            remaining.keep(name, now() - RETENTION - _ORPHANS_SOUGHT)
    return report


def _newest(name: str, table: str) -> DeltaTable:
    """Return a table to look at; what changes it opens one of its own."""
    return snapshots.newest(tables.folder(name) / table).delta


def _open(name: str, table: str, version: int | None = None) -> DeltaTable:
    from deltalake import DeltaTable

    return DeltaTable(str(tables.folder(name) / table), version=version)


def _small_files(delta: DeltaTable) -> int:
    files = len(delta.file_uris())
    if files <= SMALL_FILES:  # their sizes cost more to ask for than their number
        return files
    return int((pl.DataFrame(delta.get_add_actions())["size_bytes"] < _TARGET_BYTES // 2).sum())


def _hours() -> int:
    return int(RETENTION / timedelta(hours=1))


def _look(name: str, table: str) -> TableReport:
    """Tell how many files a table has, and which nobody reads any more."""
    delta = _newest(name, table)
    report = TableReport(table, before=len(delta.file_uris()))
    # Full: what a crash left behind is in no log. A file is old by its own time, or by when it was replaced.
    named = delta.vacuum(_hours(), full=True, dry_run=True, enforce_retention_duration=False)
    folder = tables.folder(name) / table
    old = [file for file in (folder / one for one in named) if file.exists()]  # those long gone are named for a week
    report.removed, report.bytes = len(old), sum(file.stat().st_size for file in old)
    return report


def _maintain_table(name: str, table: str) -> TableReport:
    before = len(_newest(name, table).file_uris())
    if before > 1:
        _join_files(name, table)
    report = _look(name, table)
    report.before, report.files = before, report.before
    delta = _newest(name, table)
    if report.removed:
        _open(name, table).vacuum(_hours(), full=True, dry_run=False, enforce_retention_duration=False)
    log = tables.folder(name) / table / "_delta_log"
    entries = len(list(log.iterdir()))
    # In this order: nobody can still be reading what lies before a checkpoint that was there when this began.
    delta.cleanup_metadata()
    report.log = max(0, entries - len(list(log.iterdir())))
    _newest(name, table).create_checkpoint()
    return report


def _join_files(name: str, table: str) -> None:
    """Join adjacent small files, in one commit, and compare the number of rows at this commit with that right before."""
    from deltalake import CommitProperties, WriterProperties
    from deltalake.exceptions import CommitFailedError

    mark = uuid.uuid4().hex
    writing = WriterProperties(compression="SNAPPY", max_row_group_size=_ROWS_IN_GROUP)
    committing = CommitProperties(custom_metadata={"maintenance": mark})
    for attempt in range(1, _ATTEMPTS + 1):
        delta = _open(name, table)
        opened = delta.version()
        try:
            delta.optimize.compact(target_size=_TARGET_BYTES, writer_properties=writing, commit_properties=committing)
            break
        except CommitFailedError:  # beside a commit that adds a column
            if attempt == _ATTEMPTS:
                raise
    # Found by its mark: rows are appended meanwhile, before it and after it.
    since = delta.history(delta.version() - opened) if delta.version() > opened else []
    for joined in [commit["version"] for commit in since if commit.get("maintenance") == mark]:
        before, after = _open(name, table, joined - 1).count(), _open(name, table, joined).count()
        if before != after:
            raise MillraceError(_undone(name, table, joined, before, after))


def _undone(name: str, table: str, joined: int, before: int, after: int) -> str:
    """Undo a commit that changed the rows, unless rows were appended since; say what is to be done."""
    from deltalake.exceptions import CommitFailedError

    path = tables.folder(name) / table
    said = f"table {path}: joining its files made {after:,} rows of {before:,} (version {joined}); another program optimized it"
    try:
        _open(name, table, joined).restore(joined - 1)  # refused when there is a later commit
    except CommitFailedError:
        return (
            f"{said}, and rows have been appended since. Stop all that runs on {name}, and restore {path.parent} from a copy; "
            "leave optimizing to `millrace maintain`"
        )
    return f"{said}. It was undone, and nothing is lost; leave optimizing to: millrace maintain {name}"


def _remove_states(report: MaintainReport) -> None:
    """Remove states that nothing needs; those written since the old ones were listed are in no danger."""
    horizon = (now() - RETENTION).timestamp()
    old = [path for path in _files(tables.folder(report.dataset) / "states") if path.stat().st_mtime < horizon]
    needed = _needed_states(report) if old else set()
    for path in old:
        stat = path.stat()
        if stat.st_mtime < horizon and not (path.suffix == ".pkl" and path.stem in needed):
            if not report.dry_run:
                path.unlink()
            report.states += 1
            report.bytes += stat.st_size


def _needed_states(report: MaintainReport) -> set[str]:
    """Return the sha256 of each state to keep. Versions that are yet to predict are among those that stay."""
    young, goes = pl.col("at") >= now() - RETENTION, report.versions.versions if report.versions else []
    rows = remaining.read(report.dataset)
    rows = rows.with_columns(pl.col("removed") | pl.col("version").is_in(goes).fill_null(value=False))
    standings = Table(report.dataset, "standings")
    scores = standings.read("sha256", "seq", "at", where=young | (pl.col("seq") >= standings.cursor("seq"))).sort("seq", "at")
    kept = [scores.tail(1), scores.filter(young), remaining.stay(rows), rows.filter(young)]
    return {sha256 for part in kept for sha256 in part["sha256"]}


def _remove_files(report: MaintainReport, keep: timedelta) -> None:
    """Remove landing files that were taken in long ago, and whose rows are in their tables."""
    done = Table(report.dataset, "labels").cursor("ingest")
    for folder in sorted((landing.folder(report.dataset) / "done").glob("????-??-??")):
        if not _before(folder.name, now() - keep):
            continue
        for path in _files(folder):
            number = path.name.partition("-")[0]
            if number.isdigit() and int(number) <= done:
                report.files += 1
                if not report.dry_run:
                    path.unlink()
        if not report.dry_run:
            with contextlib.suppress(OSError):  # what is not ours stays, and its folder
                folder.rmdir()


def _before(day: str, moment: datetime) -> bool:
    try:
        return date.fromisoformat(day) < moment.date()
    except ValueError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return
