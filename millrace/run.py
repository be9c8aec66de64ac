"""Is there anything to do, and what does one tick do?

A tick is one pass over what is new: ingest, infer, learn. Events are predicted, by the versions last published, before
the labels that came with them are learned. A tick with nothing new reads a few cursors, and writes nothing. One that finds
many small files in the tables joins them at its end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from millrace import catalog, checkpoints, history, interventions, landing, tables
from millrace.clock import now
from millrace.dataset import Dataset
from millrace.errors import MillraceError
from millrace.infer import InferReport, infer
from millrace.ingest import IngestReport, ingest
from millrace.learn import LearnReport, learn
from millrace.maintain import MaintainReport, maintain
from millrace.maintain import due as maintenance_due
from millrace.parallel import Progress
from millrace.settings import settings
from millrace.tables import Table


@dataclass
class RunReport:
    """What one tick did; None in place of the stages where there was nothing new."""

    dataset: str
    ingest: IngestReport | None = None
    infer: InferReport | None = None
    learn: LearnReport | None = None
    maintain: MaintainReport | None = None

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        return [problem for part in (self.infer, self.learn, self.maintain) if part for problem in part.problems]

    def __str__(self) -> str:
        parts = (self.ingest, self.infer, self.learn, self.maintain)
        return "\n".join(str(part) for part in parts if part) or "nothing new"


def run(name: str, progress: Progress | None = None) -> RunReport:
    """Make one tick, now.

    Parameters
    ----------
    progress
        Is told how far each model, or memory, has come while a long fold goes on.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    report = RunReport(name)
    if pending(name):
        report.ingest, report.infer, report.learn = ingest(name), infer(name, progress), learn(name, progress)
        if not report.learn.problems:
            settled(name)
        if maintenance_due(name):
            report.maintain = maintain(name)
    return report


def pending(name: str) -> bool:
    """Tell whether a tick would find anything to do, without loading the dataset or any library that learns."""
    text = catalog.path_of(name).read_bytes()
    if landing.ready(name):
        return True
    if not tables.created(name):
        return False
    files, logged, examples = (Table(name, table) for table in ("files", "features", "examples"))
    head, seq = files.cursor("arrival"), examples.cursor("seq")
    if not head:
        return False
    if tables.head(name) < head or logged.cursor("infer") < head or Table(name, "predictions").cursor("infer") < head:
        return True
    if Table(name, "outcomes").cursor("mature") < examples.cursor("join"):
        return True
    standings = Table(name, "standings")
    if standings.cursor("matured") < history.scorable(name) or standings.cursor("obeyed") < interventions.count(name):
        return True
    learned = examples.cursor("join") >= head and _stamp(name).exists() and _stamp(name).read_text() == _mark(text, seq)
    return not learned and interventions.pausing(name) is None


def settled(name: str) -> None:
    """Note that nothing is left to do for this text of the dataset's file, if its models stand at the head of the log."""
    seq = Table(name, "examples").cursor("seq")
    stand = checkpoints.newest(Table(name, "checkpoints"), catalog.load(name).racing)
    if any(one.seq < seq and not one.suspended for one in stand.values()) or interventions.pausing(name):
        return  # one catches up, tick by tick; or answers wait
    _stamp(name).parent.mkdir(parents=True, exist_ok=True)
    _stamp(name).write_text(_mark(catalog.path_of(name).read_bytes(), seq))


def _stamp(name: str) -> Path:
    return settings().cache / name / "settled"


def _mark(text: bytes, seq: int) -> str:
    return f"{hashlib.sha256(text).hexdigest()} {seq}"


def due(at: datetime | None = None) -> tuple[list[str], list[MillraceError]]:
    """Return the datasets whose ``every`` has passed since they last ran on a schedule, and what is wrong with broken ones.

    Parameters
    ----------
    at
        The moment to ask for; now by default.
    """
    datasets, broken = catalog.load_all()
    found = []
    for dataset in datasets:
        path, stretch = _ticked(dataset, at)
        if not path.exists() or path.read_text() != stretch:
            found.append(dataset.name)
    return found, broken


def ticked(name: str, at: datetime | None = None) -> None:
    """Note that a dataset has run in this stretch of its ``every``."""
    path, stretch = _ticked(catalog.load(name), at)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(stretch)


def _ticked(dataset: Dataset, at: datetime | None) -> tuple[Path, str]:
    """Return where the stretch in which a dataset last ran is noted, and the stretch of a moment."""
    stretch = int((at or now()).timestamp() // dataset.every.total_seconds())
    return settings().cache / dataset.name / "ticked", str(stretch)
