"""Which files have arrived whole, and in which order are they taken?

Writers put a file beside its final place and rename it into place; what ends in ``.tmp`` or ``.part`` or begins with a
dot is left alone. For writers that cannot, a dataset declares ``settle``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace.clock import now
from millrace.errors import writing
from millrace.reading import SUFFIXES
from millrace.settings import settings

KINDS = ("events", "labels")


@dataclass(frozen=True)
class LandedFile:
    """A file in a landing folder: its path, what it holds (``events`` or ``labels``), when it was modified, its size."""

    path: Path
    kind: str
    modified: datetime
    size: int


@dataclass(frozen=True)
class TakenFile:
    """A file that was taken in, with its bytes: what its row in ``files`` fixes. One of ``history`` stays where it lies."""

    number: int
    path: Path
    name: str
    kind: str
    sha256: str
    data: bytes
    modified: datetime
    received: datetime
    history: bool = False


def folder(name: str) -> Path:
    """Return the landing folder of a dataset."""
    return settings().landing / name


def ready(name: str, settle: timedelta | None = None) -> list[LandedFile]:
    """List the files to take, in order of (modification time, natural name), events and labels together."""
    latest = None if settle is None else now() - settle
    found = []
    for entry in _entries(name):
        if not takeable(entry.name):
            continue
        try:
            stat = entry.stat()
        except FileNotFoundError:  # another process has put it away
            continue
        modified = datetime.fromtimestamp(stat.st_mtime_ns // 1000 / 1e6, UTC)
        if latest is None or modified <= latest:
            found.append(
                (stat.st_mtime_ns, natural(entry.name), LandedFile(Path(entry.path), entry.name[:6], modified, stat.st_size))
            )
    return [file for _, _, file in sorted(found, key=lambda item: item[:2])]


def strangers(name: str) -> list[str]:
    """Name the files that are neither ``events*`` nor ``labels*`` of a known format, and are being written by nobody."""
    return sorted(e.name for e in _entries(name) if not takeable(e.name) and not _unfinished(e.name))


def takeable(file: str) -> bool:
    """Tell whether a file of this name is one to take.

    Examples
    --------
    >>> [takeable(name) for name in ("events-1.ndjson", "labels.csv.gz", "events.csv.part", "notes.txt")]
    [True, True, False, False]
    """
    return file.startswith(KINDS) and file.endswith(SUFFIXES)


def _unfinished(file: str) -> bool:
    return file.startswith(".") or file.endswith((".tmp", ".part"))


def _entries(name: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder(name)) as entries:
            yield from (entry for entry in entries if entry.is_file())
    except FileNotFoundError:
        return


def natural(file: str) -> list[tuple[int, int | str]]:
    """Return a key that orders names as people do.

    Examples
    --------
    >>> sorted(["events-10.csv", "events-9.csv"], key=natural)
    ['events-9.csv', 'events-10.csv']
    """
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", file) if part]


def done(name: str, number: int, file: str, received: datetime) -> Path:
    """Return where a file lies after it was taken in."""
    return folder(name) / "done" / f"{received:%Y-%m-%d}" / f"{number:06d}-{file}"


def put_away(name: str, file: TakenFile) -> None:
    """Move a file that was taken in out of the way."""
    target = done(name, file.number, file.name, file.received)
    with writing(target), contextlib.suppress(FileNotFoundError):  # another process has
        target.parent.mkdir(parents=True, exist_ok=True)
        file.path.replace(target)
