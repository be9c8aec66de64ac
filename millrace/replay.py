"""Can a model be built again from the log, and is it the same?

Because a model is a fold over its log, it can: after its state was lost, after its definition was repaired, in another
environment; and to prove that what was recorded is what the log gives.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from millrace import catalog, checkpoints, examples, fold, join, models, publish, race, state, tables
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError, unknown
from millrace.fold import FoldReport, Progress
from millrace.learner import Learner, learn_until_error
from millrace.publish import PublishReport
from millrace.tables import Table

_SHARE = 0.15
"""Of the time that the fold takes, so much may go into digests of checkpoints; that of the last is always compared."""


@dataclass
class ReplayReport:
    """What was built again: a fold a model; ``same`` tells whether its digest is the one that was on record at its seq
    (None where there was none). ``mended`` examples were missing in the log, and are back."""

    dataset: str
    mended: int = 0
    folds: list[FoldReport] = field(default_factory=list)
    same: dict[str, bool | None] = field(default_factory=dict)
    publish: PublishReport | None = None

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        found = [f"{one.model}: {one.problem}" for one in self.folds if one.problem]
        return found + (self.publish.problems if self.publish else [])

    def __str__(self) -> str:
        says = {True: "the digest that was on record", False: "another digest than was on record", None: "a new lineage"}
        said = [f"{self.mended:,} examples were missing in the log, and are back"] if self.mended else []
        said += [f"{one}; {says[self.same.get(one.model)]}" for one in self.folds]
        return "\n".join([*said, *([str(self.publish)] if self.publish else [])])


def replay(name: str, model: str | None = None, progress: Progress | None = None) -> ReplayReport:
    """Build models again from the first example of the log, by their definition as it is now.

    The models go on serving meanwhile. A definition that was changed is put on record, and the model goes on under its name.

    Parameters
    ----------
    name, model
        The dataset, and the model; all of its race by default, and the race itself.
    progress
        Is told how far each model has come.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    """
    dataset, chosen = _chosen(name, model)
    report = ReplayReport(name, mended=join.mend(name))
    for one in chosen:
        try:
            found, report.same[one] = _rebuilt(dataset, one, progress)
        except MillraceError as error:
            found = FoldReport(name, one, problem=str(error))
        report.folds.append(found)
    if model is None:
        race.rebuild(name)
    report.publish = publish.publish(name, again=[one.model for one in report.folds if not one.problem])
    return report


def _chosen(name: str, model: str | None) -> tuple[Dataset, list[str]]:
    """Return the dataset and which of its models are to be folded: one, or all of its race."""
    dataset = catalog.load(name)
    if model is not None and model not in dataset.racing:
        raise unknown("model", model, dataset.racing)
    if not tables.created(name):
        raise MillraceError(f"nothing has arrived for {name} yet: there is no log to replay; try: millrace feed {name}")
    return dataset, [model] if model else dataset.racing


def _rebuilt(dataset: Dataset, model: str, progress: Progress | None) -> tuple[FoldReport, bool | None]:
    """Fold a model from nothing. A lineage that exists stands until its new state is there, beside it."""
    table = Table(dataset.name, "checkpoints")
    fingerprint = models.fingerprint(dataset, model, table.identity, accept=True)
    lineage = checkpoints.lineage(model, fingerprint, models.environment())
    if not table.cursor(f"{lineage}/began"):
        return fold.fold(dataset.name, model, progress), None
    before = {row.seq: row.digest for row in checkpoints.history(table, model, fingerprint, models.environment())}
    begun = stands = fold.fresh(dataset, model, fingerprint)
    learner = Learner(checkpoints.read_state(dataset.name, stands.sha256, model), dataset.task)
    while True:
        table, log = Table(dataset.name, "checkpoints"), Table(dataset.name, "examples")
        head = max(log.cursor("seq"), table.cursor(lineage))
        stands = fold.advanced(dataset.name, stands, learner, log, head, head, progress)
        stands = replace(stands, skipped=learner.skipped, parent=begun.sha256)
        try:
            checkpoints.advance(table, stands)
            break
        except ConflictError:
            continue  # a tick has learned meanwhile: go on to where it stands
    found = FoldReport(dataset.name, model, stands.seq - stands.skips, stands.seq, learner.skipped, stands.suspended)
    if stands.suspended:
        found.problem = fold.suspension(dataset, model, stands.seq, stands.skipped)
    return found, before[stands.seq] == stands.digest if stands.seq in before else None


@dataclass
class Proof:
    """What folding a model again has shown: ``compared`` of ``checkpoints`` digests; the first that differs."""

    model: str
    examples: int = 0
    checkpoints: int = 0
    compared: int = 0
    difference: str | None = None

    def __str__(self) -> str:
        said = (
            f"{self.model}: {self.examples:,} examples folded again, {self.compared:,} of {self.checkpoints:,} digests compared"
        )
        return f"{said}; {self.difference}" if self.difference else f"{said}, all the same"


@dataclass
class VerifyReport:
    """What was proven of a dataset, model by model."""

    dataset: str
    proofs: list[Proof] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(str, self.proofs)) or "nothing has been learned yet"


def verify(name: str, model: str | None = None, every: bool = False, progress: Progress | None = None) -> VerifyReport:
    """Fold models again from nothing, without a change to any table, and compare with every checkpoint on record.

    The examples that a checkpoint says were skipped are skipped.

    Parameters
    ----------
    name, model
        The dataset, and the model; all of its race by default.
    every
        Compare the digest of every checkpoint. By default those at a share of the checkpoints that keeps the whole within
        about 1.2 × the fold, and always the last: the digest of a large forest costs as much as much learning.
    progress
        Is told how far each model has come.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    """
    dataset, chosen = _chosen(name, model)
    report = VerifyReport(name)
    for one in chosen:
        try:
            proof = _proof(dataset, one, every, progress)
        except MillraceError as error:
            report.problems.append(f"{one}: {error}")
            continue
        report.proofs.append(proof)
        if proof.difference:
            report.problems.append(f"{one}: {proof.difference}")
    return report


def _proof(dataset: Dataset, model: str, every: bool, progress: Progress | None) -> Proof:
    table, log = Table(dataset.name, "checkpoints"), Table(dataset.name, "examples")
    fingerprint = models.fingerprint(dataset, model, table.identity)
    recorded = checkpoints.history(table, model, fingerprint, models.environment())
    proof = Proof(model, checkpoints=len(recorded))
    skipped = {skip["seq"] for row in recorded for skip in row.skipped}
    estimator, started, spent = models.build(dataset, model), time.perf_counter(), 0.0
    for stretch, row in _stretches(recorded, log):
        learning = [one for one in stretch if one[0] not in skipped]
        learned, error = learn_until_error(estimator, learning)
        if error:
            proof.difference = f"at seq {learning[learned][0]} learning raises {error}, and did not before"
            return proof
        proof.examples += len(stretch)
        if progress:
            progress(model, proof.examples, recorded[-1].seq)
        if row is None:
            continue
        before = time.perf_counter()
        if every or row is recorded[-1] or spent <= _SHARE * (before - started - spent):
            digest = state.digest(estimator)
            proof.compared += 1
            spent += time.perf_counter() - before
            if digest != row.digest:
                proof.difference = (
                    f"the first difference is at seq {row.seq}: its checkpoint has digest {row.digest}, the log gives {digest}"
                )
                return proof
    return proof


def _stretches(recorded: list[Checkpoint], log: Table) -> Iterator[tuple[list[Any], Checkpoint | None]]:
    """Cut the log at the checkpoints: the examples of each stretch, and the checkpoint at its end (None within one)."""
    seq = 0
    for row in recorded:
        if not row.seq:
            yield [], row
        while seq < row.seq:
            upto = min(seq + fold.CHUNK, row.seq)
            yield examples.as_examples(examples.read(log, seq, upto)), row if upto == row.seq else None
            seq = upto
