"""What did a model know at a place of its log?

It is taken up at the last checkpoint before that place whose state is kept, or else from nothing, and folded on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from millrace import catalog, checkpoints, examples, fold, ideas, models, state, tables, versions
from millrace.clock import aware, parse_moment, write_moment
from millrace.dataset import Dataset
from millrace.errors import MillraceError, RegistryError, UsageError, unknown
from millrace.ideas import Model
from millrace.learner import Learner
from millrace.parallel import Progress
from millrace.registry import Registry
from millrace.tables import Table

if TYPE_CHECKING:
    from river.base import Estimator


@dataclass
class AsOfReport:
    """A model as it was at a place of the log, and the ``version`` that it is in MLflow (None where that did not work)."""

    dataset: str
    model: str
    seq: int
    clock: datetime | None
    digest: str
    version: int | None = None
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f", when the data's clock was {write_moment(self.clock)}" if self.clock else ""
        said = f"{self.model} at seq {self.seq:,}{told}: state {self.digest[:16]}"
        return f"{said}, version {self.version} in MLflow" if self.version else said


def publish_at(name: str, model: str, to: datetime | int | str, progress: Progress | None = None) -> AsOfReport:
    """Make a model as it was at a moment or a place of the log a version in MLflow.

    No alias points to it, and it is served only where a person pins it.

    Where it is a version already, that one is told.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    MillraceError
        As :func:`model_at`.
    """
    dataset = catalog.load(name)
    if model not in dataset.racing:
        raise unknown("model", model, dataset.racing)
    seq, table = seq_at(dataset, to), Table(name, "checkpoints")
    fingerprint = models.fingerprint(dataset, model, table.identity)
    kept = checkpoints.kept(name, model, fingerprint, models.environment(), seq)
    begin = kept[0] if kept else fold.fresh(dataset, model, fingerprint)
    learner = Learner(checkpoints.read_state(name, begin.sha256, model), dataset.task, begin.failing)
    stands = fold.advanced(name, begin, learner, Table(name, "examples"), seq, seq, progress)
    made = checkpoints.versions_of(table, stands)
    already = max(made - checkpoints.removed(name, made), default=None)
    report = AsOfReport(name, model, stands.seq, stands.clock, stands.digest)
    registry = Registry(dataset)
    try:
        if already and registry.has(already):  # nobody has deleted it there
            report.version = already
        else:
            report.version = versions.again(dataset, registry, stands, None, past=True).version
    except RegistryError as error:
        report.problems.append(str(error))
    return report


def seq_at(dataset: Dataset, to: datetime | int | str) -> int:
    """Return the last place of the log at a moment of the data's clock (UTC), or the place itself.

    Parameters
    ----------
    to
        The moment or the ``seq``; as a text, too: ``2013-01-20T12:00Z``, ``2013-01-20``, ``12000``.

    Raises
    ------
    UsageError
        When the text is neither.
    MillraceError
        When there is no such place, or nothing had been learned at that moment; the message says what there is.
    """
    if not tables.created(dataset.name):
        raise MillraceError(f"nothing has arrived for {dataset.name} yet: it has no log; try: millrace feed {dataset.name}")
    if isinstance(to, str):
        to = int(to) if to.isdecimal() else parse_moment(to)
    if isinstance(to, datetime):
        to = aware(to)
    log = Table(dataset.name, "examples")
    head = log.cursor("seq")
    if isinstance(to, int):
        if not 0 <= to <= head:
            said = f"the log of {dataset.name} has no seq {to}; it goes from 1 to {head} (0 is before the first)"
            day = re.fullmatch(r"([12]\d{3})([01]\d)([0-3]\d)", str(to))
            raise MillraceError(f"{said}; if it is a day, write {'-'.join(day.groups())}" if day else said)
        return to
    known = log.read("seq", where=pl.col("clock") <= to)["seq"]
    if known.len():
        return int(known[-1])
    first = log.read("clock", where=pl.col("seq") == 1)["clock"]
    begins = f"its first answer came at {write_moment(first[0])}" if first.len() else "it has no example yet"
    raise MillraceError(f"nothing of {dataset.name} was learned before {write_moment(to)}: {begins}")


def known(dataset: Dataset, start: str, moment: datetime) -> int | None:
    """Return how many examples a model knows when it begins at a moment; None where it begins with nothing.

    Parameters
    ----------
    start
        ``cold``: none; ``warm``: those that were known at that moment; ``v12``: those that this version knew.

    Raises
    ------
    UsageError
        When there is no such version, or it knew more than was known at that moment.
    """
    if start == "cold":
        return None
    before = Table(dataset.name, "examples").read("seq", where=pl.col("clock") <= moment)["seq"]
    latest = int(before[-1]) if before.len() else 0
    if start == "warm":
        return latest
    if not re.fullmatch(r"v\d+", start):
        raise UsageError(f"start: {unknown('start', start, ('cold', 'warm'))}; or a version, such as v12")
    versions = Table(dataset.name, "checkpoints").read("version", "seq", where=pl.col("version").is_not_null())
    found = dict(versions.iter_rows())
    if int(start[1:]) not in found:
        raise UsageError(f"{dataset.name} has no version {start}; the newest is v{max(found, default=0)}")
    seq: int = found[int(start[1:])]
    if seq > latest:
        raise UsageError(
            f"version {start} knew {seq:,} examples, and at {write_moment(moment)} only {latest:,} were known: it would be asked "
            "what it has learned; begin the stretch later, or take an earlier version"
        )
    return seq


def learner_at(dataset: Dataset, model: Model, seq: int, progress: Progress | None = None) -> Learner:
    """Return a model as it was after the first ``seq`` examples, ready to learn on.

    Parameters
    ----------
    model
        One of the dataset's, which is taken up at its last checkpoint before; or an idea, which begins at the first example.
        Nothing is put on record, and a model of which nothing is begins there, too.

    Raises
    ------
    UsageError
        When there is no such model.
    MillraceError
        When its definition is another than the one on record, or the log was changed.
    """
    kept = None
    if seq and isinstance(model, str) and model in dataset.racing and (fingerprint := models.recorded(dataset, model)):
        kept = checkpoints.kept(dataset.name, model, fingerprint, models.environment(), seq)
    if kept:
        learner, at = Learner(kept[1], dataset.task, kept[0].failing), kept[0].seq
    else:
        learner, at = Learner(state.slim(ideas.build(dataset, model)), dataset.task), 0
    log = Table(dataset.name, "examples")
    while at < seq and not learner.suspended:
        at += learner.learn(examples.as_examples(examples.read(log, at, min(at + fold.CHUNK, seq))))
        if progress:
            progress(ideas.name(model), at, seq)
    return learner


def model_at(dataset: Dataset, model: Model, to: datetime | int | str, progress: Progress | None = None) -> Estimator:
    """Return a model as it was at a moment or a place of the log: an estimator of River's, to ask or to learn on with.

    Raises
    ------
    UsageError
        When there is no such model.
    MillraceError
        When there is no such place, its definition is another than the one on record, or the log was changed.
    """
    estimator: Estimator = state.load(learner_at(dataset, model, seq_at(dataset, to), progress).data)
    return estimator
