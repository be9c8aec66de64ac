"""When does a model become a version in MLflow, and which version do the aliases name?

A model is published at its dataset's cadence, on the grid of the data's clock; when it becomes champion; and once at
seq 0, before its first prediction. The checkpoint's row that names a version is written after MLflow has it; while
MLflow is away the tick keeps its work, and publishing is made up for at the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from millrace import catalog, checkpoints, models, promotions, race
from millrace.checkpoints import Checkpoint
from millrace.clock import microseconds, now, write_moment
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.fold import fold_alone
from millrace.tables import Table

if TYPE_CHECKING:
    from millrace.registry import Registry


@dataclass
class PublishReport:
    """Which ``versions`` were published in this run, who is ``champion``, and which models were ``held_up`` and why."""

    dataset: str
    versions: dict[str, int] = field(default_factory=dict)
    champion: str = PRIOR
    held_up: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{model} v{number}" for model, number in self.versions.items())
        return "; ".join([f"published {said}" if said else "nothing to publish", *self.problems])


def begin(dataset: Dataset) -> None:
    """Give every model a version at seq 0, if it has none.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached: there is nothing to predict with yet.
    """
    table = Table(dataset.name, "checkpoints")
    waiting = [model for model in dataset.racing if checkpoints.published(table, model) is None]
    for model in waiting:
        fold_alone(dataset.name, model)
    if waiting:
        report = publish(dataset.name)
        if PRIOR in waiting and PRIOR not in report.versions and report.problems:
            raise RegistryError("; ".join(report.problems))


def publish(name: str) -> PublishReport:
    """Publish the models that are due, set the aliases, and log the metrics of the race.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    from millrace.registry import Registry

    dataset = catalog.load(name)
    report = PublishReport(name, champion=promotions.champion(name))
    try:
        registry = Registry(dataset)
        for model in dataset.racing:
            try:
                _publish_model(dataset, registry, model, report)
            except RegistryError:
                raise
            except MillraceError as error:  # its fold told it already: a model that cannot be built holds up no other
                report.held_up.append(f"{model}: {error}")
        _set_aliases(dataset, registry, report)
        _log_metrics(dataset, registry, report)
    except RegistryError as error:
        report.problems.append(str(error))
    return report


def _publish_model(dataset: Dataset, registry: Registry, model: str, report: PublishReport) -> None:
    table = Table(dataset.name, "checkpoints")
    last = checkpoints.published(table, model)
    _, fingerprint = models.build(dataset, model)
    stands = checkpoints.latest(table, model, fingerprint, models.environment())
    crowned = promotions.latest(dataset.name)
    since = crowned.seq if crowned is not None and crowned.model == model else 0
    if stands is None or not is_due(stands, last, dataset.cadence, since):
        return
    run_id = registry.run(model, now().date(), last.run_id if last else None)
    standing = next((row for row in race.standings(dataset.name) if row["model"] == model), None)
    version = registry.publish(
        model,
        checkpoints.read_state(dataset.name, stands),
        seq=stands.seq,
        fingerprint=stands.fingerprint,
        sha256=stands.sha256,
        digest=stands.digest,
        run_id=run_id,
        description=_description(dataset, model, stands, standing),
        tags={"environment": stands.environment, "clock": write_moment(stands.clock) or "", "skipped": str(len(stands.skipped))},
    )
    try:
        checkpoints.publish(table, replace(stands, version=version.number, run_id=version.run_id))
    except ConflictError:
        return  # another learner published this state first; this version is an orphan, named by nothing
    report.versions[model] = version.number


def is_due(stands: Checkpoint, last: Checkpoint | None, cadence: timedelta, champion_since: int) -> bool:
    """Tell whether a state is to be published: the first of its lineage, or a new stretch of the cadence began, or a new
    champion has no version since its crowning.

    Parameters
    ----------
    stands, last
        Where the fold stands, and what was last published.
    champion_since
        The seq at which the model became champion; 0 where it is not.
    """
    if last is None or last.lineage != stands.lineage:
        return True
    if stands.seq <= last.seq or stands.clock is None:
        return False
    return last.clock is None or last.seq < champion_since or _stretch(stands.clock, cadence) > _stretch(last.clock, cadence)


def _stretch(clock: datetime, cadence: timedelta) -> int:
    return microseconds(clock) // (cadence // timedelta(microseconds=1))


def _description(dataset: Dataset, model: str, stands: Checkpoint, standing: dict[str, object] | None) -> str:
    learned = f"`{model}` after {stands.seq - len(stands.skipped):,} examples of **{dataset.name}** (seq {stands.seq:,}"
    until = f", data until {write_moment(stands.clock)})" if stands.clock else ")"
    scored = f", {dataset.race_loss.name} loss {standing['loss']:.4f} over {standing['labelled']:,} labels" if standing and standing["labelled"] else ""
    return learned + until + scored + f". State `{stands.digest[:16]}`."


def _set_aliases(dataset: Dataset, registry: Registry, report: PublishReport) -> None:
    """Point the aliases at what the tables say, until they agree."""
    table = Table(dataset.name, "checkpoints")
    newest = {model: checkpoints.published(table, model) for model in dataset.racing}
    wanted = {model: checkpoint.version for model, checkpoint in newest.items() if checkpoint}
    if report.champion in wanted:
        wanted["champion"] = wanted[report.champion]
    for alias, number in wanted.items():
        if number is not None and registry.version_of(alias) != number:
            registry.alias(alias, number)


def _log_metrics(dataset: Dataset, registry: Registry, report: PublishReport) -> None:
    """Log each model's loss and metrics to its run, at the seq to which the race was scored."""
    table = Table(dataset.name, "checkpoints")
    for row in race.standings(dataset.name):
        checkpoint = checkpoints.published(table, row["model"])
        if row["model"] not in report.versions or checkpoint is None or checkpoint.run_id is None:
            continue
        found = {"loss": row["loss"], "recent_loss": row["recent_loss"], "labelled": row["labelled"], **orjson.loads(row["metrics"])}
        values = {metric: float(value) for metric, value in found.items() if value is not None}
        if values:
            registry.log_metrics(checkpoint.run_id, values, row["seq"], row["clock"])
