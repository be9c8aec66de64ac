"""Is what is on record what the log gives?

Everything is made again from what it was made from, and compared to the last bit; nothing is changed::

    events, labels, features ─► the log, the outcomes ─► the models' states ─► predictions ─► promotions
                                                 └─► the files and MLflow's artifacts of versions
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from millrace import (
    answers,
    bits,
    catalog,
    checkpoints,
    collector,
    evidence,
    examples,
    fold,
    history,
    join,
    models,
    outcomes,
    parallel,
    recalled,
    state,
    weights,
)
from millrace.backfill import differing
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.evidence import Proof
from millrace.examples import Example
from millrace.hindsight import Stretch, answered_before
from millrace.learner import learn_until_error
from millrace.parallel import Progress, silent
from millrace.replay import chosen
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_SHARE = 0.15
"""Of the time that the fold takes, so much may go into digests of checkpoints; that of the last is always compared."""


@dataclass
class VerifyReport:
    """What was proven of a dataset: ``doubts`` about models that are not exact, then a proof a kind of thing."""

    dataset: str
    doubts: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What is not as it is on record, or could not be looked at."""
        return [f"{proof.things}: {proof.problem}" for proof in self.proofs if proof.problem]

    def __str__(self) -> str:
        return "\n".join([*self.doubts, *map(str, self.proofs)])


def verify(name: str, model: str | None = None, every: bool = False, progress: Progress | None = None) -> VerifyReport:
    """Make again what is on record, without a change to anything, and compare: the log, states, predictions, promotions.

    Of a model that is not exact it is said first, and a difference is told, but is no problem.

    Parameters
    ----------
    name, model
        The dataset, and the model; all of its race by default, and the race itself.
    every
        Compare the digest of every checkpoint. By default those at a share of the checkpoints that keeps the fold within
        about 1.2 × the bare loops, and always the last: the digest of a large forest costs as much as much learning.
    progress
        Is told how far each model, and each kind of thing, has come.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    MillraceError
        When nothing has arrived yet.
    """
    dataset, wanted = chosen(name, model)
    tell = progress or silent
    doubts = [
        f"{one} is not exact, and may differ when it is made again: {'; '.join(why)}"
        for one, why in models.doubts(name).items()
        if why and one in wanted
    ]
    report = VerifyReport(name, doubts)
    with tempfile.TemporaryDirectory() as folder, WaitingRoom(name, whole=Path(folder) / "ids.db") as room:
        if dataset.remembers and model is None:
            report.proofs.append(evidence.proof("memory of features", recalled.prove, dataset, tell))
        report.proofs.append(evidence.proof("examples", _log, dataset, room, tell))
        report.proofs.append(evidence.proof("outcomes", _outcomes, dataset, room, tell))
        learned = Table(name, "examples").cursor("seq") * len(wanted)
        report.proofs += parallel.each(_folded, [(name, one, every) for one in wanted], learned, tell)
        report.proofs.append(evidence.proof("predictions", evidence.predictions, dataset, room, model, tell))
    said = Table(name, "predictions")
    stretches = answered_before(dataset, history.stretches(name, 0))
    for one in wanted:
        if said.cursor(f"backfill/{one}"):
            what = f"predictions of {one} in backfills"
            report.proofs.append(evidence.proof(what, _backfill, dataset, one, stretches, said, tell))
    report.proofs.append(evidence.proof("states", evidence.states, dataset, model, tell))
    report.proofs.append(evidence.proof("versions in MLflow", evidence.artifacts, dataset, model, tell))
    if model is None:
        report.proofs.append(evidence.proof("promotions", evidence.crowned, dataset, tell))
    return report


def _log(proof: Proof, dataset: Dataset, room: WaitingRoom, tell: Progress) -> None:
    """Make the log again from events, labels and features, in order of arrival."""

    def changed(field: str | None) -> str | None:
        return "id_horizon" if field in (None, "arrival", "event_id", "event_arrival", "label_arrival") else None

    def compared(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(weight=pl.when(pl.col("seq") >= since).then("weight"))

    log = Table(dataset.name, "examples")
    since = weights.since(dataset, log)
    if since > 1 and log.cursor("seq"):
        others = min(since - 1, log.cursor("seq"))
        proof.notes.append(f"{others:,} weights by another weight= than that of {dataset.path} were not compared")
    made = join.again(dataset, room, log.cursor("join"))
    stands = ("seq", log.cursor("seq"), log.cursor("join"))
    _in_order(proof, dataset, room, log, stands, made, changed, partial(tell, "the log"), compared)


def _outcomes(proof: Proof, dataset: Dataset, room: WaitingRoom, tell: Progress) -> None:
    """Make the outcomes again from events, labels and the log, in order of arrival."""
    table = Table(dataset.name, "outcomes")
    made = outcomes.again(dataset, room, table.cursor("mature"))
    stands = ("number", table.cursor("number"), table.cursor("mature"))
    _in_order(proof, dataset, room, table, stands, made, lambda _: "id_horizon", partial(tell, "the outcomes"))


def _in_order(
    proof: Proof,
    dataset: Dataset,
    room: WaitingRoom,
    table: Table,
    stands: tuple[str, int, int],
    made: Iterator[tuple[int, pl.DataFrame]],
    changed: Callable[[str | None], str | None],
    tell: Callable[[int, int], None],
    compared: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows,
) -> None:
    """Compare the rows of a table that counts them with the same made again, in order of arrival.

    Parameters
    ----------
    stands
        The column that counts, its last number, and the arrival up to which all was considered.
    made
        Up to which arrival they were made again, and those since it was told last.
    changed
        What in the dataset's file may have been changed where this field differs, or a row; None for nothing.
    compared
        Takes from rows, recorded or made again, what is not to be compared.
    """
    (key, proof.recorded, considered), number = stands, 0
    answers.check(dataset)
    room.follow()
    for upto, again in made:
        last = number + again.height if upto < considered else proof.recorded
        recorded = table.read(where=pl.col(key).is_between(number + 1, last))
        if difference := bits.difference(compared(recorded), compared(again.select(recorded.columns)), key):
            row, what = difference.row, changed(difference.field)
            unless = f" (or {what} was changed in {dataset.path})" if what else ""
            said = f"{key} {row[key]} (event {row['event_id']!r}): {difference}; {evidence.by_hand(dataset)}"
            proof.problem = said + unless
            return
        proof.same = number = last
        tell(upto, considered)


def _backfill(proof: Proof, dataset: Dataset, model: str, stretches: Sequence[Stretch], said: Table, tell: Progress) -> None:
    """Predict again each stretch of history that this definition of the model has predicted whole in this environment."""
    arrivals = said.read("arrival", where=(pl.col("model") == model) & (pl.col("origin") == "backfill"))["arrival"]
    proof.recorded, fingerprint = arrivals.len(), models.recorded(dataset, model)
    ours = checkpoints.lineage(model, fingerprint or "", models.environment())  # without a definition it has predicted nothing
    for stretch in stretches:
        first, last, _ = stretch
        if said.cursor(f"{ours}/{last}") < last:
            continue
        difference = differing(dataset, model, stretch, tell)
        if difference:
            said_of = f"event {difference.row['event_id']!r}, at seq {difference.row['seq']}: {difference}"
            proof.differs(said_of, bool(models.doubts(dataset.name).get(model)), evidence.by_hand(dataset))
            return
        proof.same += arrivals.filter(arrivals.is_between(first, last)).len()
    if proof.same < proof.recorded:
        left_out = f"{proof.recorded - proof.same:,} by another definition, in another environment or of a backfill cut off"
        proof.notes.append(f"{left_out} were not compared")


def _folded(name: str, model: str, every: bool, tell: Progress) -> Proof:
    return fold_again(catalog.load(name), model, every, tell)


def fold_again(dataset: Dataset, model: str, every: bool = False, progress: Progress | None = None) -> Proof:
    """Fold a model from nothing, and compare with the checkpoints of its lineage; as :func:`verify` does for each model.

    The examples that a checkpoint says were skipped are skipped.
    """
    return evidence.proof(f"checkpoints of {model}", _fold, dataset, model, every, progress or silent)


def _fold(proof: Proof, dataset: Dataset, model: str, every: bool, tell: Progress) -> None:
    table, log, fingerprint = Table(dataset.name, "checkpoints"), Table(dataset.name, "examples"), models.recorded(dataset, model)
    rows = table.read("seq", where=(pl.col("model") == model) & pl.col("version").is_null()).height
    recorded = checkpoints.history(table, model, fingerprint, models.environment()) if fingerprint else []
    proof.recorded, head = len(recorded), recorded[-1].seq if recorded else 0
    if rows > len(recorded):
        proof.notes.append(f"{rows - len(recorded):,} of another environment, definition or replay were not compared")
    skipped, inexact = {skip["seq"] for row in recorded for skip in row.skipped}, bool(models.doubts(dataset.name).get(model))
    estimator = state.load(state.slim(models.build(dataset, model)))
    started, spent, cost = time.perf_counter(), 0.0, 0.0
    with collector.spared():
        for stretch, row in _cut(recorded, log):
            learning = [one for one in stretch if one[0] not in skipped]
            learned, error = learn_until_error(estimator, learning)
            if error:
                proof.differs(f"at seq {learning[learned][0]} learning raises {error}, and did not before", inexact)
                return
            proof.folded += len(stretch)
            before = time.perf_counter()
            affordable = spent + 2 * cost <= _SHARE * (before - started - spent)  # this one as the one before it, and the last
            if row and (every or row is recorded[-1] or affordable):
                digest = state.digest(estimator)
                if digest != row.digest:
                    said = f"its checkpoint has digest {row.digest}, the log gives {digest}"
                    repair = f"if the examples are proven, run: millrace replay {dataset.name} {model}"
                    proof.differs(f"the first difference is at seq {row.seq}: {said}", inexact, repair)
                    return
                proof.same += 1
                estimator = state.load(state.slim(estimator))  # one that was taken apart learns more slowly ever after
                cost = time.perf_counter() - before
                spent += cost
            tell(model, proof.folded, max(head, 1))


def _cut(recorded: Sequence[Checkpoint], log: Table) -> Iterator[tuple[list[Example], Checkpoint | None]]:
    """Cut the log at the checkpoints: the examples of each stretch, and the checkpoint at its end (None within one)."""
    waiting, seq = list(reversed(recorded)), 0
    while waiting:
        upto = min(seq + fold.CHUNK, recorded[-1].seq)
        chunk = examples.as_examples(examples.read(log, seq, upto)) if upto else []
        while waiting and waiting[-1].seq <= upto:
            row = waiting.pop()
            yield chunk[: row.seq - seq], row
            chunk, seq = chunk[row.seq - seq :], row.seq
        if chunk:
            yield chunk, None
        seq = upto
