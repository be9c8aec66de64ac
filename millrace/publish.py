"""When does a model become a version in MLflow, and which version do the aliases name?

A model is published at its dataset's cadence, on the grid of the data's clock; when it becomes champion; and once at
seq 0, before its first prediction. The checkpoint's row that names a version is written after MLflow has it; while
MLflow is away the tick keeps its work, and publishing is made up for at the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from millrace import alias, catalog, checkpoints, interventions, models, promotions, race
from millrace.checkpoints import Checkpoint
from millrace.clock import microseconds, now, write_moment
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.fold import fold_alone
from millrace.promotions import Promotion
from millrace.tables import Table

if TYPE_CHECKING:
    from millrace.registry import Registry


@dataclass
class PublishReport:
    """Which ``versions`` were published in this run, and who is ``champion``."""

    dataset: str
    versions: dict[str, int] = field(default_factory=dict)
    champion: str = PRIOR
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{model} v{number}" for model, number in self.versions.items())
        return "; ".join([f"published {said}" if said else "nothing to publish", *self.problems])


def begin(dataset: Dataset) -> list[str]:
    """Give every model a version that can be loaded in this environment, if it has none: at seq 0, or where its fold has come.

    The base rate comes to the head of the log, so that there is something to serve; of the others each comes as far as in a tick.

    Returns
    -------
    list of str
        What went wrong with a model, which holds up no other.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached: there is nothing to predict with yet.
    """
    table = Table(dataset.name, "checkpoints")
    published = checkpoints.loadable(table, dataset.racing, models.environment())
    waiting = [model for model in dataset.racing if model not in published]
    folds = [fold_alone(dataset.name, model, new=None if model == PRIOR else 0) for model in waiting]
    if waiting:
        report = publish(dataset.name)
        if PRIOR in waiting and PRIOR not in report.versions and report.problems:
            raise RegistryError("; ".join(report.problems))
    return [f"{one.model}: {one.problem}" for one in folds if one.problem]


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
        newest = checkpoints.published(table, [model for model in dataset.racing if model not in again])
        stand = checkpoints.newest(table, dataset.racing)
        since = {crowned.model: crowned.seq} if crowned else {}
        head = Table(name, "examples").cursor("seq")
        due = [one for one in stand if is_due(stand[one], newest.get(one), dataset.cadence, since.get(one, 0), head)]
        doubts = models.doubts(name) if due else {}
        new: list[Checkpoint] = []
        for one in due:
            try:
                new.append(
                    as_version(dataset, registry, stand[one], newest.get(one), standings.get(one), doubts.get(one), crowned)
                )
            except RegistryError:
                raise
            except MillraceError as error:  # a state that cannot be read holds up no other model
                report.problems.append(f"{one}: {error}")
        newest |= _recorded(table, new)
        report.versions = {one.model: one.version or 0 for one in new if newest.get(one.model) is one}
        _set_aliases(registry, newest, crowned, report)
        _log_metrics(registry, newest, standings, report)
    except RegistryError as error:
        report.problems.append(str(error))
    return report


def _recorded(table: Table, new: list[Checkpoint]) -> dict[str, Checkpoint]:
    """Record the versions; where another learner was first, these are orphans, named by nothing."""
    try:
        checkpoints.publish(table, new)
    except ConflictError:
        return {}
    return {one.model: one for one in new}


def as_version(
    dataset: Dataset,
    registry: Registry,
    stands: Checkpoint,
    last: Checkpoint | None,
    standing: dict[str, Any] | None,
    doubts: list[str] | None,
    crowned: Promotion | None = None,
) -> Checkpoint:
    """Make a model's state a version; return it as published, not yet recorded.

    Parameters
    ----------
    dataset, registry
        Of the model.
    stands, last
        The state, and the one of this model that was last published, whose run goes on.
    standing, doubts
        How it does in the race, and what in it is not exact, where there is any.
    crowned
        The last promotion: where it is this model's, its reason and evidence are told.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    MillraceError
        When the state is gone or was changed.
    """
    run_id = registry.run(stands.model, now().date(), last.run_id if last else None)
    reigning = crowned if crowned and crowned.model == stands.model else None
    version = registry.publish(
        stands.model,
        checkpoints.read_state(dataset.name, stands.sha256, stands.model),
        seq=stands.seq,
        fingerprint=stands.fingerprint,
        sha256=stands.sha256,
        digest=stands.digest,
        run_id=run_id,
        description=_description(dataset, stands, standing, reigning),
        tags={
            "environment": stands.environment,
            "clock": write_moment(stands.clock) or "",
            "skipped": str(stands.skips),
            **({"inexact": "; ".join(doubts)} if doubts else {}),
            **({"promoted": str(reigning.number), "evidence": reigning.evidence} if reigning else {}),
        },
    )
    return replace(stands, version=version.number, run_id=version.run_id)


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


def _description(dataset: Dataset, stands: Checkpoint, standing: dict[str, object] | None, reigning: Promotion | None) -> str:
    learned = f"`{stands.model}` after {stands.seq - stands.skips:,} examples of **{dataset.name}** (seq {stands.seq:,}"
    until = f", data until {write_moment(stands.clock)})" if stands.clock else ")"
    scored = (
        f", {dataset.race_loss.name} loss {standing['loss']:.4f} over {standing['labelled']:,} labels"
        if standing and standing["labelled"]
        else ""
    )
    crown = f" Champion since seq {reigning.seq:,}, before it {reigning.before}: {reigning.reason}." if reigning else ""
    return learned + until + scored + f".{crown} State `{stands.digest[:16]}`."


def _set_aliases(registry: Registry, newest: dict[str, Checkpoint], crowned: Promotion | None, report: PublishReport) -> None:
    """Point the aliases at what the tables say: those of new versions, and the champion's until it agrees."""
    for model, number in report.versions.items():
        if registry.version_of(model) != number:
            registry.alias(model, number)
    orders = interventions.in_force(report.dataset)
    pinned = orders.pin if orders.pin and orders.pin.version is not None else None
    served = pinned.version if pinned else newest[report.champion].version if report.champion in newest else None
    if served is not None:
        why = str(orders.pin) if orders.pin else crowned.reason if crowned else ""
        moved = alias.serve(registry, report.dataset, served, {"served": why, "paused": str(orders.pause or "")})
        report.problems += [moved] if moved else []


def _log_metrics(
    registry: Registry, newest: dict[str, Checkpoint], standings: dict[str, dict[str, Any]], report: PublishReport
) -> None:
    """Log the loss and the metrics of each model that was published, at the seq to which the race was scored."""
    for model in report.versions:
        run_id, row = newest[model].run_id, standings.get(model)
        if row is None or not row["labelled"] or run_id is None:
            continue
        found = {
            "loss": row["loss"],
            "recent_loss": row["recent_loss"],
            **orjson.loads(row["metrics"]),
        }
        values = {metric: float(value) for metric, value in found.items() if value is not None}
        registry.log_metrics(run_id, values, row["seq"], row["clock"])
