"""Stage 2: what does each model say of the new events, and whose word is served?

Features are computed once and logged, and with them the versions that are to predict, so that a run that was cut off
says the same when it is done again. Every model of the race predicts; the champion's predictions are served. Where a person
has pinned a version, that one is served, and the newest of its model goes on beside it. Of events that were brought in as
history features are logged, and no version predicts.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from millrace import (
    additions,
    catalog,
    checkpoints,
    collector,
    features,
    history,
    interventions,
    layout,
    metrics,
    models,
    outbox,
    publish,
    serving,
    state,
    tables,
    task,
)
from millrace.checkpoints import Checkpoint
from millrace.clock import now
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.parallel import Progress
from millrace.remembered import Remembered
from millrace.serving import Asked, versions_asked
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_EVENTS_AT_ONCE = 20_000


@dataclass
class InferReport:
    """What one run of the stage predicted: ``events``, by which ``versions`` (a number a model), and which was ``served``: the
    champion's, or the one that is pinned.

    Where the dataset has a memory: of the new events how many were ``late`` (their time before an earlier one's) and how many
    have ``nulls`` for a key; how many stored ones were ``refolded``, since memory's definition is new or its file was gone.
    """

    dataset: str
    events: int = 0
    champion: str = PRIOR
    served: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    late: int = 0
    nulls: int = 0
    refolded: int = 0
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.events:
            return "; ".join(["no new events", *self._remembered(), *self.notes, *self.problems])
        said = f"{self.events:,} events by {len(self.versions)} models, served: {self.champion} v{self.served}"
        said += " (pinned)" if self.served != self.versions.get(self.champion) else ""
        return "; ".join([said, *self._remembered(), *self.notes, *self.problems])

    def _remembered(self) -> list[str]:
        said = [f"memory was made again of {self.refolded:,} stored events"] if self.refolded else []
        said += [f"{self.late:,} events came late, and were remembered then"] if self.late else []
        return said + ([f"{self.nulls:,} events have a key of memory that is null"] if self.nulls else [])


def infer(name: str, progress: Progress | None = None) -> InferReport:
    """Compute the new events' features, and predict with every model's published version.

    Parameters
    ----------
    progress
        Is told how far memory has come, where it is made again of the stored events.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken; also where a metric does not fit.
    MillraceError
        When a version's state is gone or was changed.
    """
    dataset = catalog.load(name)
    report = InferReport(name)
    outbox.release(name, Table(name, "predictions"))
    try:
        with collector.spared():
            while _log_features(dataset, report, progress):
                pass
            while _predict(dataset, report):
                pass
    except ConflictError:
        return infer(name, progress)  # another process infers the same events: go on from where it stands
    return report


def _log_features(dataset: Dataset, report: InferReport, progress: Progress | None) -> bool:
    table, events = Table(dataset.name, "features"), Table(dataset.name, "events")
    cursor, head = table.cursor("infer"), tables.head(dataset.name)
    if cursor >= head:
        return False
    upto, is_history = history.cut(dataset.name, cursor, _stretch(events, cursor, head))
    new = events.read(where=pl.col("arrival").is_between(cursor + 1, upto))
    versions = None if is_history else orjson.dumps(_lineup(dataset, report) if new.height else {}).decode()
    x = features.of_events(dataset, new, report.problems)
    kept = new.select("arrival", "event_id", "event_time", "clock", pl.lit(versions, dtype=pl.String).alias("versions"))
    with Remembered(dataset) if dataset.remembers else nullcontext() as memory:
        if memory:
            report.refolded += memory.follow(progress)
            x = x.hstack(memory.fold(new, x, cursor, report.problems))
        definition = pl.lit(memory.recall.fingerprint if memory else None, dtype=pl.String).alias("memory")
        if not new.height:
            x = x.select(name for name in table.fields("x") if name in x.columns)  # a new one is there with its first event
        logged = features.in_order(x, list(table.fields("x"))).to_struct("x")
        table.append(kept.with_columns(definition, logged), {"infer": upto, **additions.cursors(table, x, new["arrival"])})
        if memory:
            report.late, report.nulls = report.late + memory.late, report.nulls + memory.nulls
            memory.keep(upto)
            memory.checkpoint()
    return upto < head


def _stretch(table: Table, cursor: int, head: int) -> int:
    """Return where the next events end that are dealt with at once: only they are read, however many wait."""
    if head - cursor <= _EVENTS_AT_ONCE:
        return head
    arrivals = table.read("arrival", where=pl.col("arrival").is_between(cursor + 1, head))["arrival"]
    return int(arrivals[_EVENTS_AT_ONCE - 1]) if arrivals.len() > _EVENTS_AT_ONCE else head


def _lineup(dataset: Dataset, report: InferReport) -> dict[str, Any]:
    """Return the versions that predict now: of each model its newest of this environment, the champion's to be served.

    Before the log begins, every model gets a version at seq 0, and before the first prediction one where it stands. One that is
    declared later joins when it has caught up, and so does one whose versions were all made in another environment.
    """
    metrics.check(dataset)
    now, table = serving.current(dataset), Table(dataset.name, "checkpoints")
    elsewhere = checkpoints.published(table, [model for model in dataset.racing if model not in now.versions])
    if PRIOR not in now.versions or elsewhere or not Table(dataset.name, "examples").cursor("seq"):
        problems, notes = publish.begin(dataset)
        _tell(report, *problems)
        report.notes += [note for note in notes if note not in report.notes]
        now, table = serving.current(dataset), Table(dataset.name, "checkpoints")
        _tell_of_absent(dataset, {model: one for model, one in elsewhere.items() if model not in now.versions}, table, report)
    if PRIOR not in now.versions or now.version is None:
        raise MillraceError(f"dataset {dataset.name!r} has no published model yet; run: millrace learn {dataset.name}")
    if now.problem:
        _tell(report, now.problem)
    lineup: dict[str, Any] = {"champion": now.model}
    lineup["versions"] = {m: [c.version, c.seq, c.sha256] for m, c in now.versions.items()}
    if now.pinned:
        lineup["pinned"] = [now.version.version, now.version.seq, now.version.sha256]
    return lineup


def _tell(report: InferReport, *problems: str) -> None:
    report.problems += [problem for problem in problems if problem not in report.problems]


def _tell_of_absent(dataset: Dataset, absent: dict[str, Checkpoint], table: Table, report: InferReport) -> None:
    """Say of models that are being built again in this environment how far they are."""
    head, stand = Table(dataset.name, "examples").cursor("seq"), checkpoints.newest(table, list(absent))
    for model, one in absent.items():
        at = stand[model].seq if stand[model].environment != one.environment else 0
        other = models.elsewhere(one.environment)
        _tell(
            report,
            f"model {model!r} does not predict: v{one.version} was made in another environment ({other}), and is not loaded in "
            f"this one; it is built again from the log, now at seq {at:,} of {head:,}",
        )


def _possible(dataset: Dataset, lineup: dict[str, Any], report: InferReport) -> dict[str, Any]:
    """Return the line-up that was logged; or that of today, where one of its versions is lost here since then."""
    numbers = [version.number for version in versions_asked(lineup)]
    if any(checkpoints.of_version(dataset.name, number).environment != models.environment() for number in numbers):
        return _lineup(dataset, report)
    if "pinned" not in lineup:  # retention keeps what is yet to be asked
        return lineup
    number, _, sha256 = lineup["pinned"]
    pin = interventions.in_force(dataset.name).pin
    why = serving.lost(dataset.name, number)
    if why is None and (pin is None or pin.version != number):
        try:
            load(dataset, number, sha256)
        except MillraceError as error:  # the pin was lifted: these events are not to wait for ever
            why = str(error)
    if why is None:
        return lineup
    _tell(report, f"v{number} was pinned when events came that are predicted now by what is served today: {why}")
    return _lineup(dataset, report)


def _predict(dataset: Dataset, report: InferReport) -> bool:
    table, logged = Table(dataset.name, "predictions"), Table(dataset.name, "features")
    cursor, head = table.cursor("infer"), logged.cursor("infer")
    if cursor >= head:
        return False
    upto = _stretch(logged, cursor, head)
    waiting = logged.read(where=pl.col("arrival").is_between(cursor + 1, upto))
    rows = waiting.filter(pl.col("versions").rle_id() == 0)
    if rows.height < waiting.height:  # then other versions predict
        upto = rows["arrival"][-1]
    if not rows.height or rows["versions"][0] is None:  # only labels came, or history
        table.append(pl.DataFrame(schema=layout.schemas(dataset)["predictions"]), {"infer": upto})
        return upto < head
    lineup = _possible(dataset, orjson.loads(rows["versions"][0]), report)
    asked = versions_asked(lineup)
    report.champion, report.versions = lineup["champion"], {m: number for m, (number, *_) in lineup["versions"].items()}
    report.served = next(version.number for version in asked if version.served)
    xs = features.rows(rows["x"].struct.unnest())
    with WaitingRoom(dataset.name) as room:
        answered = pl.col("arrival").is_in(room.answered(cursor, upto).implode()).alias("answered")
    base = rows.select("arrival", "event_id", "event_time", answered)
    predictions = pl.concat([_said_by(dataset, version, base, xs, report) for version in asked])
    aside = outbox.write(dataset, predictions.filter("served"), cursor + 1, upto)
    counts = {f"predictions/{model}": table.cursor(f"predictions/{model}") + rows.height for model in lineup["versions"]}
    table.append(predictions, {"infer": upto, **counts})
    report.files.append(str(outbox.show(aside)))
    report.events += rows.height
    return upto < head


def _said_by(dataset: Dataset, version: Asked, base: pl.DataFrame, xs: list[dict[str, Any]], report: InferReport) -> pl.DataFrame:
    predictions, errors = task.predict(load(dataset, version.number, version.sha256), dataset.task, xs)
    wrong = [error for error in errors if error]
    if wrong:
        report.problems.append(
            f"model {version.model!r} could not predict {len(wrong):,} of {len(xs):,} events (first: {wrong[0]})"
        )
    said = {**task.to_columns(dataset, predictions), "error": pl.Series(errors, dtype=pl.String)}
    return base.with_columns(at=pl.lit(now()), **version.columns()).with_columns(**said)


def load(dataset: Dataset, number: int, sha256: str) -> Any:
    """Load a version for inference by the sha256 on record: the state beside the tables, or else the same from MLflow.

    It finds the functions by which it was defined, also where the dataset's file has others by now.

    Raises
    ------
    MillraceError
        When neither has what is on record in the table ``checkpoints``, when it names what a state may not name, or when it was
        made in another environment: then it is never loaded in hope.
    """
    version = checkpoints.of_version(dataset.name, number)
    if version.sha256 != sha256:
        raise MillraceError(f"version {number} has the sha256 {version.sha256} on record, not {sha256}, and is not loaded")
    if other := models.elsewhere(version.environment):
        raise MillraceError(f"version {number} was made in another environment ({other}), and is not loaded in this one")
    data = _stored(dataset, number, sha256)
    with models.as_defined(dataset, version.model, version.fingerprint):
        return state.load(data)


def _stored(dataset: Dataset, number: int, sha256: str) -> bytes:
    try:
        return checkpoints.read_state(dataset.name, sha256)
    except MillraceError as gone:
        from millrace.registry import Registry

        registry = Registry(dataset)
        try:
            data = registry.download(number)
        except RegistryError as error:
            if registry.has(number):
                raise
            version = checkpoints.of_version(dataset.name, number)
            raise MillraceError(
                f"v{number} of {version.model} was deleted in MLflow, and {gone}; if it is pinned, first lift the pin: "
                f"millrace pin {dataset.name} --off --reason …"
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            said = (
                f"and v{number} was replaced in MLflow (its sha256 is {found}, on record is {sha256}), and is not loaded either"
            )
            raise MillraceError(f"{gone}; {said}") from gone
        return data
