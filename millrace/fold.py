"""What has a model learned: how does it go on from where it stands in the log?

    model at seq n = fold(learn_one, examples[1..n]), minus the examples that it could not learn

Learning is exactly-once because a checkpoint *is* its position in the log: a learner that loses a commit throws its
work away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from millrace import catalog, checkpoints, collector, examples, models, state
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError
from millrace.learner import SUSPEND_AFTER, Learner, Skip
from millrace.parallel import Progress
from millrace.tables import Table

CHUNK = 50_000
"""Examples in memory at once."""
COMMIT_EVERY = 200_000
"""Examples between checkpoints of a long fold."""


@dataclass
class FoldReport:
    """How far a model's fold came: ``learned`` and ``skipped`` examples in this run, and the ``seq`` it stands at; one that is
    ``behind`` the head of the log catches up in the next ticks."""

    dataset: str
    model: str
    learned: int = 0
    seq: int = 0
    behind: int = 0
    skipped: list[Skip] = field(default_factory=list)
    suspended: bool = False
    problem: str | None = None

    def __str__(self) -> str:
        said = f"{self.model}: learned {self.learned:,}, at seq {self.seq:,}"
        said += ", suspended" if self.suspended else f", {self.behind:,} behind" if self.behind else ""
        if self.skipped:
            first = self.skipped[0]
            said += f", skipped {len(self.skipped):,} (first: seq {first['seq']}, event {first['event_id']!r}: {first['error']})"
        return said + (f"; {self.problem}" if self.problem else "")


def fold(name: str, model: str, progress: Progress | None = None, new: int | None = None) -> FoldReport:
    """Bring a model from where it stands to the head of the log.

    Parameters
    ----------
    name, model
        The dataset and the model.
    progress
        Called with the model, its position and the head of the log while a long fold goes on.
    new
        How many examples this tick has added to the log. A model that was behind before them catches up by
        :data:`COMMIT_EVERY` at most, so that it does not hold up the serving of others; None: it is brought to the head.

    Raises
    ------
    UsageError
        When there is no such dataset or model.
    MillraceError
        When its definition is another than the one on record, or its state, or the log, is not what was recorded; the
        message says what to do.
    """
    dataset = catalog.load(name)
    report = FoldReport(name, model)
    here = models.environment()
    learner, stored, goal = None, "", -1
    while True:
        table = Table(name, "checkpoints")
        fingerprint = models.fingerprint(dataset, model, table.identity)
        stands = checkpoints.latest(table, model, fingerprint, here)
        try:
            if stands is None:
                checkpoints.begin(table, fresh(dataset, model, fingerprint))
                continue
            log = Table(name, "examples")
            head = log.cursor("seq")
            report.seq, report.suspended = stands.seq, stands.suspended
            if stands.seq > head:
                raise MillraceError(
                    f"model {model!r} stands at seq {stands.seq}, and the log of {name} ends at {head}: the table examples was "
                    f"rolled back by hand; to mend it from the tables events and labels, run: millrace replay {name}"
                )
            if goal < 0:
                goal = head if new is None or stands.seq >= head - new else min(head, stands.seq + COMMIT_EVERY)
            report.behind = head - stands.seq
            if stands.seq >= goal or stands.suspended:
                return report
            if learner is None or stored != stands.sha256:
                learner = Learner(checkpoints.read_state(name, stands.sha256, model), dataset.task, stands.failing)
            found = advanced(name, stands, learner, log, min(goal, stands.seq + COMMIT_EVERY), head, progress)
            checkpoints.advance(table, found)
            stored = found.sha256
        except ConflictError:
            continue  # another learner was faster: what was learned here is thrown away, and read again
        report.learned += found.seq - stands.seq - len(found.skipped)
        report.skipped.extend(found.skipped)
        report.seq, report.behind, report.suspended = found.seq, head - found.seq, found.suspended
        if report.suspended:
            report.problem = suspension(dataset, model, found.seq, report.skipped)
        if report.suspended or report.seq >= goal:
            return report


def fold_alone(name: str, model: str, progress: Progress | None = None, new: int | None = None) -> FoldReport:
    """Fold a model; what goes wrong with it is told in its report, so that the other models go on."""
    try:
        return fold(name, model, progress, new)
    except MillraceError as error:
        return FoldReport(name, model, problem=str(error))


def fresh(dataset: Dataset, model: str, fingerprint: str) -> Checkpoint:
    """Build a model, store its state, and return its checkpoint at seq 0, not yet recorded."""
    estimator = models.build(dataset, model)
    data = state.slim(estimator)
    sha256 = checkpoints.write_state(dataset.name, data)
    digest = state.digest(estimator)
    return Checkpoint(model, fingerprint, models.environment(), 0, sha256, digest, len(data))


def advanced(
    name: str, stands: Checkpoint, learner: Learner, log: Table, upto: int, head: int, progress: Progress | None = None
) -> Checkpoint:
    """Learn on up to a place of the log, store the state, and return its checkpoint, not yet recorded."""
    seq, clock = stands.seq, stands.clock
    already = len(learner.skipped)
    with collector.spared():
        while seq < upto and not learner.suspended:
            rows = examples.read(log, seq, min(seq + CHUNK, upto))
            dealt = learner.learn(examples.as_examples(rows))
            seq, clock = seq + dealt, rows["clock"][dealt - 1]
            if progress:
                progress(stands.model, seq, head)
    skipped = learner.skipped[already:]
    return replace(
        stands,
        seq=seq,
        sha256=checkpoints.write_state(name, learner.data),
        digest=state.digest(learner.estimator),
        bytes=len(learner.data),
        skipped=skipped,
        skips=stands.skips + len(skipped),
        failing=learner.failing,
        parent=stands.sha256,
        clock=clock,
        version=None,
        run_id=None,
    )


def suspension(dataset: Dataset, model: str, seq: int, skipped: Sequence[Skip]) -> str:
    """Say that a model is suspended at a place of the log, what it last skipped, and what to do."""
    return (
        f"suspended at seq {seq:,}, after {SUSPEND_AFTER} examples in a row that it could not learn (the last: "
        f"{skipped[-1]['error']}); repair it in {dataset.path}, then run: millrace replay {dataset.name} {model}"
    )
