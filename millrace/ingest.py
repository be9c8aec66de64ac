"""Stage 1: which files have come, and what of them is good?

Files are taken in order, in batches. A batch has one commit point, its rows in ``files``, which fix what was taken, when,
and the arrival number of its first row; its good and bad rows follow, and a run that was cut off between is finished
from these rows by the next.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from millrace import catalog, landing, tables
from millrace.casting import UTC_MICROSECONDS
from millrace.clock import from_microseconds, microseconds, now, write_moment
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError
from millrace.intake import Parsed, parse
from millrace.landing import TakenFile
from millrace.reading import SUFFIXES
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_FILES_AT_ONCE = 256
_BYTES_AT_ONCE = 128 * 2**20
_OUTPUTS = ("quarantine", "events", "labels")
"""In the order in which they are written: what ``labels`` has, the others have."""


@dataclass
class IngestReport:
    """What one run of the stage took in.

    ``rows = events + labels + quarantined + duplicates``; ``corrections`` are among the labels.
    """

    dataset: str
    files: int = 0
    rows: int = 0
    events: int = 0
    labels: int = 0
    corrections: int = 0
    quarantined: int = 0
    duplicates: int = 0
    nonfinite: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.files:
            return "; ".join(["no new files", *self.notes])
        said = f"{self.files:,} files, {self.rows:,} rows: {self.events:,} events, {self.labels:,} labels"
        for name in ("corrections", "quarantined", "duplicates", "nonfinite"):
            if getattr(self, name):
                said += f", {getattr(self, name):,} {name}"
        return "; ".join([said, *self.notes])


def ingest(name: str, docs: Path | None = None) -> IngestReport:
    """Take in what lies in a dataset's landing folder.

    Parameters
    ----------
    name
        The dataset.
    docs
        A folder into which Great Expectations writes its Data Docs of what it checked.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    report = IngestReport(name)
    tables.create(dataset)
    landing.folder(name).mkdir(parents=True, exist_ok=True)
    while take_batch(dataset, report, lambda last, room: _new(dataset, last, room, report), docs):
        if not landing.ready(name, dataset.settle):
            break
    for stranger in landing.strangers(name):
        report.notes.append(
            f"{stranger} is left alone: its name is neither events* nor labels* with one of {', '.join(SUFFIXES)}"
        )
    return report


def take_batch(
    dataset: Dataset, report: IngestReport, new: Callable[[int, WaitingRoom], Iterable[TakenFile]], docs: Path | None = None
) -> bool:
    """Take in the next batch, or what another run took and was cut off; tell whether there was one.

    Parameters
    ----------
    report
        Is added to.
    new
        Gives the next files, with their bytes, by the number of the last one and what arrived before.
    docs
        A folder into which Great Expectations writes its Data Docs.

    Raises
    ------
    MillraceError
        When a file that was taken in is gone; or where a history is older than what there is.
    """
    files = Table(dataset.name, "files")
    outputs = {name: Table(dataset.name, name) for name in _OUTPUTS}
    last = files.cursor("files")
    done = min(table.cursor("ingest") for table in outputs.values())
    with WaitingRoom(dataset.name) as room:
        cut_off = files.read(where=pl.col("number") > done) if done < last else None
        if cut_off is not None:
            taken, first = _found_again(dataset.name, cut_off), cut_off["first_arrival"][0]
            before = files.read("clock", where=pl.col("number") == done)["clock"]
            clock = before[0] if before.len() else None
        else:
            taken = list(new(last, room))
            first = files.cursor("arrival") + 1
            clock = from_microseconds(files.cursor("clock")) if files.cursor("clock") else None
        if not taken:
            return False
        parsed = parse(dataset, taken, first, clock, room, docs)
    number, is_history = taken[-1].number, taken[-1].history
    arrival = {"arrival": first + parsed.total - 1}
    if is_history and cut_off is None:
        _check_age(outputs["events"], parsed.events["event_time"])
    try:
        if cut_off is None:
            after = {"clock": microseconds(parsed.clock)} if parsed.clock else {}
            after |= {"backfill": first + parsed.total - 1} if is_history else {}
            files.append(parsed.files, {"files": number} | arrival | after)
        for name, table in outputs.items():
            if table.cursor("ingest") < number:
                rows: pl.DataFrame = getattr(parsed, name)
                table.append(rows.filter(pl.col("file") > table.cursor("ingest")), {"ingest": number} | arrival)
    except ConflictError:
        return take_batch(dataset, report, new, docs)  # another process takes files at the same moment: look again
    for file in taken:
        if not file.history:
            landing.put_away(dataset.name, file)
    _add(report, parsed, files)
    return True


def _check_age(events: Table, new: pl.Series) -> None:
    """Refuse a history that the log has gone past: it is in order of arrival."""
    later = pl.col("event_time") > pl.lit(new.min(), dtype=UTC_MICROSECONDS)
    newest = events.read("event_time", where=later)["event_time"].max()
    if isinstance(newest, datetime) and (older := int((new < newest).sum())):
        raise MillraceError(
            f"{older:,} of these {new.len():,} new events are older than the newest that has arrived, of "
            f"{write_moment(newest)}, and the log is in order of arrival: nothing was brought in. Leave them out, let them "
            "arrive as late ones in the landing folder, or begin with the history in tables of its own (MILLRACE_ROOT), and let "
            "what is newer arrive after it"
        )


def _new(dataset: Dataset, last: int, room: WaitingRoom, report: IngestReport) -> Iterator[TakenFile]:
    """Read the next files; one whose content was taken in before is put away, and said."""
    size, seen = 0, dict[str, tuple[int, str]]()
    for landed in landing.ready(dataset.name, dataset.settle):
        if len(seen) >= _FILES_AT_ONCE or (seen and size + landed.size > _BYTES_AT_ONCE):
            return
        try:
            data = landed.path.read_bytes()
        except FileNotFoundError:  # another process has put it away
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        again = seen.get(sha256) or room.file(sha256)
        number = again[0] if again else last + len(seen) + 1
        file = TakenFile(number, landed.path, landed.path.name, landed.kind, sha256, data, landed.modified, now())
        if again:
            if sha256 not in seen:
                landing.put_away(dataset.name, file)
                if again[1] != file.name:
                    report.notes.append(f"{file.name} was taken in before, as {again[1]} (file {again[0]})")
            continue
        seen[sha256] = (number, file.name)
        size += len(data)
        yield file


def _found_again(name: str, records: pl.DataFrame) -> list[TakenFile]:
    found, kept = [], ("number", "name", "kind", "sha256", "modified", "received")
    for row in records.iter_rows(named=True):
        places = [landing.folder(name) / row["name"], landing.done(name, row["number"], row["name"], row["received"])]
        if is_history := row["path"] is not None:
            places = [Path(row["path"])]
        for path in places:
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # or another process has put it away, into the second of these places
                continue
            if hashlib.sha256(data).hexdigest() == row["sha256"]:
                break
        else:
            raise MillraceError(
                f"file {row['number']} ({row['name']}) was taken in and not yet read when its run was cut off, and is gone; "
                f"put it back as {places[0]} (sha256 {row['sha256']}) and run: millrace ingest {name}"
            )
        found.append(TakenFile(path=path, data=data, history=is_history, **{key: row[key] for key in kept}))
    return found


def _add(report: IngestReport, parsed: Parsed, files: Table) -> None:
    report.files += parsed.files.height
    report.rows += parsed.total
    report.events += parsed.events.height
    report.labels += parsed.labels.height
    report.corrections += int(parsed.labels["correction"].sum())
    report.quarantined += parsed.quarantine.height
    report.duplicates += int(parsed.files["duplicates"].sum())
    report.nonfinite += int(parsed.files["nonfinite"].sum())
    report.reasons.update(kinds_of_reasons(parsed.quarantine))
    report.notes.extend(note for notes in parsed.files["notes"] for note in notes)
    extra = sorted({column for columns in parsed.files["extra"] for column in columns})
    if extra:
        before = files.read("extra", where=pl.col("number") < parsed.files["number"][0])["extra"]
        known = {column for columns in before for column in columns}
        report.notes.extend(f"column {column!r} is not in the schema and was left out" for column in extra if column not in known)


def kinds_of_reasons(quarantine: pl.DataFrame) -> Counter[str]:
    """Count the first reasons of quarantined rows, alike but for the values in them."""
    first = quarantine.select(pl.col("reasons").list.first().str.replace_all(r"'[^']*'|got .*$", "…").alias("reason"))
    return Counter(dict(first.group_by("reason").len().iter_rows()))
