"""What has a model learned: how does it go on from where it stands in the log?

    model at seq n = fold(learn_one, examples[1..n]), minus the examples that it could not learn

Learning is exactly-once because a checkpoint *is* its position in the log: a learner that loses a commit throws its
work away.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from millrace import catalog, checkpoints, features, models, state
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError
from millrace.tables import Table

CHUNK = 10_000
"""Examples in memory at once."""
COMMIT_EVERY = 200_000
"""Examples between checkpoints of a long fold."""

Progress = Callable[[str, int, int], None]
"""Is told a model, its place, and the head of the log."""

Example = tuple[int, str, datetime, Any, dict[str, Any]]
"""``seq``, ``event_id``, ``event_time``, ``label``, ``x``."""


@dataclass
class FoldReport:
    """How far a model's fold came: ``learned`` and ``skipped`` examples in this run, and the ``seq`` it stands at."""

    dataset: str
    model: str
    learned: int = 0
    seq: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    def __str__(self) -> str:
        said = f"{self.model}: learned {self.learned:,}, at seq {self.seq:,}"
        if self.skipped:
            first = self.skipped[0]
            said += f", skipped {len(self.skipped):,} (first: seq {first['seq']}, event {first['event_id']!r}: {first['error']})"
        return said + (f"; {self.problem}" if self.problem else "")


def fold(name: str, model: str, progress: Progress | None = None) -> FoldReport:
    """Bring a model from where it stands to the head of the log.

    Parameters
    ----------
    name, model
        The dataset and the model.
    progress
        Called with the model, its position and the head of the log while a long fold goes on.

    Raises
    ------
    UsageError
        When there is no such dataset or model.
    """
    dataset = catalog.load(name)
    report = FoldReport(name, model)
    here = models.environment()
    while True:
        table = Table(name, "checkpoints")
        fingerprint = models.fingerprint(dataset, model, table.identity)
        stands = checkpoints.latest(table, model, fingerprint, here)
        try:
            if stands is None:
                fresh = models.build(dataset, model)
                checkpoints.begin(table, _checkpoint(dataset, fresh, Checkpoint(model, fingerprint, here, 0, "", "", 0), []))
                continue
            report.seq = stands.seq
            examples = Table(name, "examples")
            head = examples.cursor("seq")
            if stands.seq >= head:
                return report
            stop = min(head, stands.seq + COMMIT_EVERY)
            estimator = state.load(checkpoints.read_state(name, stands.sha256))
            found = _learn(estimator, examples, stands.seq, stop, functools.partial(_tell, progress, model, head))
            checkpoints.advance(table, _checkpoint(dataset, found.estimator, stands, found.skipped, stop, found.clock))
        except ConflictError:
            continue  # another learner was faster: what was learned here is thrown away, and read again
        report.learned += stop - stands.seq - len(found.skipped)
        report.skipped.extend(found.skipped)
        report.seq = stop
        if stop == head:
            return report


def fold_alone(name: str, model: str, progress: Progress | None = None) -> FoldReport:
    """Fold a model; what goes wrong with it is told in its report, so that the other models go on."""
    try:
        return fold(name, model, progress)
    except MillraceError as error:
        return FoldReport(name, model, problem=str(error))


@dataclass
class _Learned:
    estimator: Any
    skipped: list[dict[str, Any]]
    clock: datetime | None


def _tell(progress: Progress | None, model: str, head: int, seq: int) -> None:
    if progress:
        progress(model, seq, head)


def _checkpoint(
    dataset: Dataset,
    estimator: Any,
    parent: Checkpoint,
    skipped: list[dict[str, Any]],
    seq: int = 0,
    clock: datetime | None = None,
) -> Checkpoint:
    data = state.slim(estimator)
    sha256 = checkpoints.write_state(dataset.name, data)
    return Checkpoint(
        parent.model, parent.fingerprint, parent.environment, seq, sha256, state.digest(estimator), len(data),
        [*parent.skipped, *skipped], parent.sha256 or None, clock,
    )  # fmt: skip


def _learn(estimator: Any, table: Table, after: int, upto: int, progress: Callable[[int], Any]) -> _Learned:
    """Learn the examples after one place up to another, in order, in chunks."""
    skipped: list[dict[str, Any]] = []
    clock = None
    for start in range(after, upto, CHUNK):
        stop = min(start + CHUNK, upto)
        rows = read_examples(table, start, stop)
        clock = rows["clock"][-1]
        estimator, failed = learn_rows(estimator, as_examples(rows))
        skipped.extend(failed)
        progress(stop)
    return _Learned(estimator, skipped, clock)


def read_examples(table: Table, after: int, upto: int) -> pl.DataFrame:
    """Read the examples after one place of the log up to another, in order, without a gap.

    Raises
    ------
    MillraceError
        When one is missing.
    """
    rows = table.read("seq", "event_id", "event_time", "label", "clock", "x", where=pl.col("seq").is_between(after + 1, upto))
    if rows.height != upto - after or rows["seq"][0] != after + 1 or rows["seq"][-1] != upto or not rows["seq"].is_unique().all():
        raise MillraceError(
            f"the log of {table.path.parent.name} is broken between seq {after + 1} and {upto}: {rows.height} examples instead "
            f"of {upto - after}; the table examples was changed by hand; restore it from a copy"
        )
    return rows


def as_examples(rows: pl.DataFrame) -> list[Example]:
    """Turn rows of the log into what a model learns."""
    xs = features.rows(rows["x"].struct.unnest())
    return list(zip(*(rows[c].to_list() for c in ("seq", "event_id", "event_time", "label")), xs, strict=True))


def learn_rows(estimator: Any, examples: list[Example]) -> tuple[Any, list[dict[str, Any]]]:
    """Learn examples in order; one on which the model raises is skipped, and the model is as if it had never seen it.

    A failed ``learn_one`` may leave a model half changed. So the model goes back to its last kept state and learns again
    what it had learned since; then the state before the failure is kept. Each example is learned twice at most.
    """
    skipped: list[dict[str, Any]] = []
    timed = takes_time(estimator)
    kept, since, at = state.slim(estimator), 0, -1
    while at < len(examples) - 1:
        learn_one = estimator.learn_one
        try:
            for at, (_, _, event_time, label, x) in enumerate(examples[at + 1 :], at + 1):  # noqa: B007, B020 - where it fails
                if timed:
                    learn_one(x, label, t=event_time)
                else:
                    learn_one(x, label)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, it skips the example, and says so
            seq, event_id, *_ = examples[at]
            skipped.append({"seq": seq, "event_id": event_id, "error": f"{type(error).__name__}: {error}"})
            estimator, _ = learn_rows(state.load(kept), examples[since:at])
            kept, since = state.slim(estimator), at + 1
    return estimator, skipped


def takes_time(estimator: Any) -> bool:
    """Tell whether a model, or a part of it, wants the event's time with an example: takes ``t``, and makes use of it."""
    parts = [*getattr(estimator, "steps", {}).values(), *getattr(estimator, "transformers", {}).values()]
    if parts:
        return any(map(takes_time, parts))
    learn = getattr(getattr(estimator, "how", None), "update", None) or getattr(estimator, "learn_one", None)
    return learn is not None and "t" in inspect.signature(learn).parameters
