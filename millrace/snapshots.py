"""Was the newest version of a table opened before, in this process?

Opening a Delta table reads its log, some milliseconds, and a tick looks at each of its tables many times. A snapshot is
given again as long as no commit follows its own, and its own is the file that it was when the snapshot was taken. It is shared,
so nobody writes through it: who commits opens one of his own, at the same version.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from millrace import durable

if TYPE_CHECKING:
    from deltalake import DeltaTable

_AT_ONCE = 128
"""So many snapshots are kept: those of some eight datasets."""

_Stamp = tuple[int, int, int, int]


class Snapshot:
    """A table at one version, and the cursors in it that were asked for."""

    def __init__(self, delta: DeltaTable) -> None:
        self.delta = delta
        self._cursors: dict[str, int] = {}

    def cursor(self, application: str) -> int:
        """Return the number that an application committed last; 0 for none. Delta looks through its log each time."""
        if application not in self._cursors:
            self._cursors[application] = self.delta.transaction_version(application) or 0
        return self._cursors[application]


_KEPT: dict[Path, tuple[Snapshot, _Stamp]] = {}


def newest(table: Path) -> Snapshot:
    """Return a table at its newest version, to read.

    Raises
    ------
    TableNotFoundError
        When there is none in this folder.
    """
    from deltalake import DeltaTable

    kept = _KEPT.get(table)
    if kept is not None:
        found, stamp = kept
        version = found.delta.version()
        if stamp == _stamp(table, version) and not durable.commit(table, version + 1).exists():
            return found
    return keep(table, DeltaTable(str(table)))


def own(table: Path, version: int) -> DeltaTable:
    """Return a table at a version, to write through; what others commit meanwhile is then seen as a conflict."""
    from deltalake import DeltaTable

    return DeltaTable(str(table), version=version)


def keep(table: Path, delta: DeltaTable) -> Snapshot:
    """Keep a table through which nobody writes any more, and return it."""
    found, stamp = Snapshot(delta), _stamp(table, delta.version())
    _KEPT.pop(table, None)
    if stamp is not None:
        _KEPT[table] = found, stamp
    if len(_KEPT) > _AT_ONCE:
        _KEPT.pop(next(iter(_KEPT)), None)
    return found


def _stamp(table: Path, version: int) -> _Stamp | None:
    """Return what tells a commit's file from another in its place; None where it is not there."""
    try:
        found = durable.commit(table, version).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
