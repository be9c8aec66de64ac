"""What had happened before Millrace was there: how do months or years of it arrive in one go?

It is ingestion's own batch, with its checks, accounts and commits. But its rows arrive in order of their times, whatever
files they are in, so the data's clock, the windows and the log are those of having lived through it. What came so is a
stretch of arrivals, which nobody was served predictions of: its predictions are made afterwards (``backfill``), and the race
waits for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from millrace import catalog, tables
from millrace.clock import now
from millrace.errors import UsageError
from millrace.ingest import IngestReport, take_batch
from millrace.landing import TakenFile
from millrace.reading import SUFFIXES
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_BYTES_AT_MOST = 2 * 2**30


def bring_in(name: str, events: Sequence[Path], labels: Sequence[Path], docs: Path | None = None) -> IngestReport:
    """Take in files of events and of labels, in order of their rows' times. The files stay where they are.

    A file that was taken in before is not taken again.

    Parameters
    ----------
    name
        The dataset.
    events, labels
        Files in the formats of the landing folder.
    docs
        A folder into which Great Expectations writes its Data Docs of what it checked.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or file, all of them are too large, or the dataset's file is broken.
    MillraceError
        When events are older than those that have arrived.
    """
    dataset = catalog.load(name)
    report = IngestReport(name)
    given = [(Path(path), kind) for kind, paths in (("events", events), ("labels", labels)) for path in paths]
    _check(given)
    tables.create(dataset)
    while take_batch(dataset, report, lambda last, room: _new(given, last, room), docs):
        pass  # the first may be what another run left unfinished
    return report


def _check(given: list[tuple[Path, str]]) -> None:
    for path, _ in given:
        if not path.is_file():
            raise UsageError(f"{path} is {'a folder; name its files' if path.is_dir() else 'not there'}")
        if not path.name.endswith(SUFFIXES):
            raise UsageError(f"{path} cannot be read; write it as one of {', '.join(SUFFIXES)}")
    size = sum(path.stat().st_size for path, _ in given)
    if size > _BYTES_AT_MOST:
        raise UsageError(
            f"these files have {size / 2**30:,.1f} GB, and at most {_BYTES_AT_MOST / 2**30:g} are brought in at once: cut them "
            "by time (a year, a month), events and labels alike, and bring them in one after the other, the oldest first"
        )


def _new(given: list[tuple[Path, str]], last: int, room: WaitingRoom) -> Iterator[TakenFile]:
    seen = set[str]()
    for path, kind in given:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in seen or room.file(sha256):
            continue
        seen.add(sha256)
        modified = datetime.fromtimestamp(path.stat().st_mtime_ns // 1000 / 1e6, UTC)
        yield TakenFile(last + len(seen), path.absolute(), path.name, kind, sha256, data, modified, now(), history=True)


def stretches(name: str, after: int) -> list[tuple[int, int]]:
    """Return the stretches of arrivals that were brought in as history, first and last, which end after an arrival; in order."""
    files = Table(name, "files")
    if files.cursor("backfill") <= after:
        return []
    rows = files.read("first_arrival", "rows", where=pl.col("path").is_not_null())
    batches = rows.group_by("first_arrival").sum().sort("first_arrival")
    found = [(first, first + height - 1) for first, height in batches.iter_rows()]
    return [(first, last) for first, last in found if last > max(after, first - 1)]


def cut(name: str, after: int, upto: int) -> tuple[int, bool]:
    """Return up to where the arrivals after one are alike: all of a history, or none; and which."""
    for first, last in stretches(name, after)[:1]:
        if first <= upto:
            return (min(last, upto), True) if first <= after + 1 else (first - 1, False)
    return upto, False


def unpredicted(name: str) -> list[tuple[int, int]]:
    """Return the stretches of history whose predictions are not all made."""
    return stretches(name, Table(name, "predictions").cursor("backfill"))


def waiting(name: str) -> int:
    """Count the events of a history that wait for the predictions of some model."""
    events = [
        Table(name, "events").read("arrival", where=pl.col("arrival").is_between(*stretch)) for stretch in unpredicted(name)
    ]
    return sum(one.height for one in events)


def waits(name: str, events: int) -> str:
    """Say that so many events of a history wait, and what to do."""
    return f"{events:,} events of a backfill wait for predictions, and the race for these; run: millrace replay {name} --backfill"


def scorable(name: str) -> int:
    """Return up to which outcome the race can be scored: before the first whose event waits for predictions."""
    outcomes, said = Table(name, "outcomes"), Table(name, "predictions")
    histories, live = stretches(name, said.cursor("backfill")), said.cursor("infer")
    if not histories and live >= outcomes.cursor("mature"):
        return outcomes.cursor("number")  # as in an idle tick: nothing is read
    unsaid = pl.col("event_arrival") > live
    for first, last in histories:
        unsaid = unsaid | pl.col("event_arrival").is_between(first, last)
    waiting = outcomes.read("number", where=unsaid)["number"]
    return int(waiting[0]) - 1 if waiting.len() else outcomes.cursor("number")
