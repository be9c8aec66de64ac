"""When does a model become a version in MLflow, and which version do the aliases name?

A model is published at its dataset's cadence, on the grid of the data's clock; when it becomes champion; and once at
seq 0, before its first prediction. The checkpoint's row that names a version is written after MLflow has it; while
MLflow is away the tick keeps its work, and publishing is made up for at the next. A model whose newest version somebody
deleted there is published again, and so is a version in service that is not its model's newest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from millrace import catalog, checkpoints, in_service, models, promotions, race, versions
from millrace.checkpoints import Checkpoint
from millrace.clock import microseconds
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.fold import fold_alone
from millrace.tables import Table

if TYPE_CHECKING:
    from millrace.registry import Registry


_POINTS = 300
"""So many points of the race so far a new run gets, about as many as MLflow draws."""


@dataclass
class PublishReport:
    """Which ``versions`` were published in this run, and who is ``champion``; ``notes`` tell what was found deleted in MLflow."""

    dataset: str
    versions: dict[str, int] = field(default_factory=dict)
    champion: str = PRIOR
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{model} v{number}" for model, number in self.versions.items())
        return "; ".join([f"published {said}" if said else "nothing to publish", *self.notes, *self.problems])


def begin(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Give every model a version that can be loaded in this environment, if it has none: at seq 0, or where its fold has come.

    The base rate comes to the head of the log, so that there is something to serve; of the others each comes as far as in a tick.

    Returns
    -------
    list of str, list of str
        What went wrong with a model, which holds up no other, or when they were published; and what was noted then.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached: there is nothing to predict with yet.
    """
    table = Table(dataset.name, "checkpoints")
    published = checkpoints.loadable(table, dataset.racing, models.environment())
    waiting = [model for model in dataset.racing if model not in published]
    folds = [fold_alone(dataset.name, model, new=None if model == PRIOR else 0) for model in waiting]
    report = publish(dataset.name) if waiting else PublishReport(dataset.name)
    if PRIOR in waiting and PRIOR not in report.versions and report.problems:
        raise RegistryError("; ".join(report.problems))
    return [f"{one.model}: {one.problem}" for one in folds if one.problem] + report.problems, report.notes


def publish(name: str, again: Sequence[str] = ()) -> PublishReport:
    """Publish the models that are due, set the aliases, and log the metrics of the race.

    Parameters
    ----------
    name
        The dataset.
    again
        Models that are due whatever was published of them before.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    from millrace.registry import Registry

    dataset = catalog.load(name)
    crowned = promotions.latest(name)
    report = PublishReport(name, champion=crowned.model if crowned else PRIOR)
    standings = {row["model"]: row for row in race.standings(name)}
    table = Table(name, "checkpoints")
    try:
        registry = Registry(dataset)
        before = checkpoints.published(table, [one for one in dataset.racing if one not in again])
        for one in again:
            with contextlib.suppress(MillraceError):  # what is built again may be missing in a table that was rolled back
                before |= checkpoints.published(table, [one])
        newest = {one: last for one, last in before.items() if one not in again}
        stand = checkpoints.newest(table, dataset.racing)
        since = {crowned.model: crowned.seq} if crowned else {}
        log = Table(name, "examples")
        head = log.cursor("seq")
        due = {one: stand[one] for one in stand if is_due(stand[one], newest.get(one), dataset.cadence, since.get(one, 0), head)}
        deleted = [last for last in newest.values() if last.version and not registry.has(last.version)]
        due = {last.model: last for last in deleted} | due
        doubts = models.doubts(name) if due else {}
        new: list[Checkpoint] = []
        for one, stands in due.items():
            try:
                run_id = registry.run(one, before[one].run_id if one in before else None, log)
                standing, doubt = standings.get(one), doubts.get(one)
                new.append(versions.as_version(dataset, registry, stands, run_id, log, standing, doubt, crowned))
            except RegistryError:
                raise
            except MillraceError as error:  # a state that cannot be read holds up no other model
                report.problems.append(f"{one}: {error}")
        newest |= _recorded(table, new)
        report.versions = {one.model: one.version or 0 for one in new if newest.get(one.model) is one}
        report.notes += [
            f"v{last.version} of {last.model} was deleted in MLflow, and the model is published again"
            for last in deleted
            if last.model in report.versions
        ]
        with _told(report):  # what becomes of the aliases holds up no metrics
            gone = {last.version for last in deleted if last.model not in report.versions}
            in_service.follow(dataset, registry, report, before, newest, gone, crowned)
        with _told(report):
            _log_metrics(registry, newest, before, standings, report)
    except RegistryError as error:
        report.problems.append(str(error))
    return report


@contextlib.contextmanager
def _told(report: PublishReport) -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        report.problems.append(str(error))


def _recorded(table: Table, new: list[Checkpoint]) -> dict[str, Checkpoint]:
    """Record the versions; where another learner was first, these are orphans, named by nothing."""
    try:
        checkpoints.publish(table, new)
    except ConflictError:
        return {}
    return {one.model: one for one in new}


def is_due(stands: Checkpoint, last: Checkpoint | None, cadence: timedelta, champion_since: int, head: int) -> bool:
    """Tell whether a state is to be published.

    It is when it is the first of its model and has come to the head of the log, or of a new lineage; when a new stretch of
    the cadence began; or when the model became champion and has no version since.

    Parameters
    ----------
    stands, last
        Where the fold stands, and what was last published.
    champion_since
        The seq at which the model became champion; 0 where it is not.
    head
        Where the log ends.
    """
    if last is None:
        return stands.seq >= head or stands.suspended  # one that was declared later first catches up
    if last.lineage != stands.lineage:
        return stands.seq >= last.seq  # once it has caught up with the one that serves
    if stands.seq <= last.seq or stands.clock is None:
        return False
    return last.clock is None or last.seq < champion_since or _stretch(stands.clock, cadence) > _stretch(last.clock, cadence)


def _stretch(clock: datetime, cadence: timedelta) -> int:
    return microseconds(clock) // (cadence // timedelta(microseconds=1))


def _log_metrics(
    registry: Registry,
    newest: dict[str, Checkpoint],
    before: dict[str, Checkpoint],
    standings: dict[str, dict[str, Any]],
    report: PublishReport,
) -> None:
    """Log where each model that was published stands in the race; in a run that is new, its whole way there."""
    for model in report.versions:
        run_id, row = newest[model].run_id, standings.get(model)
        if row is None or run_id is None:
            continue
        begun = model not in before or before[model].run_id != run_id
        way = _way(report.dataset, model) if begun else [row]
        registry.log_metrics(run_id, [_point(one) for one in way if one["labelled"]])


def _point(row: dict[str, Any]) -> tuple[int, datetime, dict[str, float]]:
    found = {"loss": row["loss"], "recent_loss": row["recent_loss"], **orjson.loads(row["metrics"])}
    return row["seq"], row["clock"], {metric: float(value) for metric, value in found.items() if value is not None}


def _way(name: str, model: str) -> list[dict[str, Any]]:
    """Return rows of a model's standings from the first to the last, evenly thinned."""
    rows = Table(name, "standings").read(where=pl.col("model") == model)
    thinned = rows.gather_every(max(1, rows.height // _POINTS)) if rows.height else rows
    return pl.concat([thinned, rows.tail(1)]).unique("seq", keep="last", maintain_order=True).to_dicts()
