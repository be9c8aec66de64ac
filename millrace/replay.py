"""Can a model be built again from the log, and is it the same?

Because a model is a fold over its log, it can: after its state was lost, after its definition was repaired, in another
environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from millrace import asof, catalog, checkpoints, fold, mend, models, parallel, publish, race, recalled, tables
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError, UsageError, unknown
from millrace.fold import FoldReport
from millrace.learner import Learner
from millrace.parallel import Progress
from millrace.publish import PublishReport
from millrace.tables import Table

if TYPE_CHECKING:
    from river.base import Estimator

    from millrace.ideas import Model


@dataclass
class ReplayReport:
    """What was built again: a fold a model; ``same`` tells whether its digest is the one that was on record at its seq
    (None where there was none). ``mended`` examples were missing in the log, and ``outcomes``, and are back; memory was made
    again of so many ``remembered`` events (None where there is no memory)."""

    dataset: str
    mended: int = 0
    outcomes: int = 0
    remembered: int | None = None
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
        missing = {"examples were missing in the log": self.mended, "outcomes were missing": self.outcomes}
        said = [f"{count:,} {what}, and are back" for what, count in missing.items() if count]
        said += [f"memory was made again of {self.remembered:,} events"] if self.remembered is not None else []
        said += [f"{one}; {says[self.same.get(one.model)]}" for one in self.folds]
        return "\n".join([*said, *([str(self.publish)] if self.publish else [])])


@overload
def replay(name: str, model: str | None = None, progress: Progress | None = None, *, to: None = None) -> ReplayReport: ...


@overload
def replay(name: str, model: Model, progress: Progress | None = None, *, to: datetime | int | str) -> Estimator: ...


def replay(
    name: str, model: Any = None, progress: Progress | None = None, *, to: datetime | int | str | None = None
) -> ReplayReport | Estimator:
    """Build models again from the first example of the log, by their definition as it is now; or return one as it was.

    The models go on serving meanwhile. A definition that was changed is put on record, and the model goes on under its name.

    Parameters
    ----------
    name, model
        The dataset, and the model; all of its race by default, and the race itself.
    progress
        Is told how far each model has come.
    to
        Change nothing: return the model (or an idea) as it was at this moment of the data's clock, such as
        ``2013-01-20T12:00Z``, or after so many examples.

    Returns
    -------
    ReplayReport or river.base.Estimator
        What was built again; with `to` the model itself, to ask or to learn on with.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    MillraceError
        When nothing has arrived; with `to`, when there is no such place of the log, or its state was changed.
    """
    if to is not None:
        if model is None:
            raise UsageError(f"to={to!r} returns one model: name it, such as replay({name!r}, 'prior', to={to!r})")
        return asof.model_at(catalog.load(name), model, to, progress)
    dataset, wanted = chosen(name, model)
    report = ReplayReport(name, *mend.mend(name))
    if model is None and dataset.remembers:
        report.remembered = recalled.rebuild(dataset, progress)
    learned = Table(name, "examples").cursor("seq") * len(wanted)
    for found, same in parallel.each(_rebuilt, [(name, one) for one in wanted], learned, progress):
        report.folds.append(found)
        report.same[found.model] = same
    if model is None:
        race.rebuild(name)
    report.publish = publish.publish(name, again=[one.model for one in report.folds if not one.problem])
    return report


def chosen(name: str, model: str | None) -> tuple[Dataset, list[str]]:
    """Return the dataset and which of its models are to be folded: one, or all of its race.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, or the dataset's file is broken.
    MillraceError
        When nothing has arrived yet.
    """
    dataset = catalog.load(name)
    if model is not None and model not in dataset.racing:
        raise unknown("model", model, dataset.racing)
    if not tables.created(name):
        raise MillraceError(f"nothing has arrived for {name} yet: there is no log to replay; try: millrace feed {name}")
    return dataset, [model] if model else dataset.racing


def _rebuilt(name: str, model: str, progress: Progress) -> tuple[FoldReport, bool | None]:
    """Build a model again; what goes wrong with it holds up no other."""
    try:
        return _from_nothing(catalog.load(name), model, progress)
    except MillraceError as error:
        return FoldReport(name, model, problem=str(error)), None


def _from_nothing(dataset: Dataset, model: str, progress: Progress) -> tuple[FoldReport, bool | None]:
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
    found = FoldReport(
        dataset.name,
        model,
        learned=stands.seq - stands.skips,
        seq=stands.seq,
        skipped=learner.skipped,
        suspended=stands.suspended,
    )
    if stands.suspended:
        found.problem = fold.suspension(dataset, model, stands.seq, stands.skipped)
    return found, before[stands.seq] == stands.digest if stands.seq in before else None
