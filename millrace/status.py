"""Where does everything stand, what waits, and what is wrong?

Read from the tables alone: neither River nor MLflow nor Great Expectations is loaded, and a dataset whose file is broken
still tells where it stood.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from millrace import (
    additions,
    alias,
    answers,
    catalog,
    checkpoints,
    delays,
    history,
    interventions,
    models,
    promotions,
    race,
    remembered,
    serving,
    tables,
)
from millrace.clock import write_duration, write_moment
from millrace.closings import held, unanswered
from millrace.dataset import Dataset
from millrace.delays import Delays
from millrace.errors import DatasetError
from millrace.fold import suspension
from millrace.ingest import kinds_of_reasons
from millrace.outlook import Outlook, outlook
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_SKIPS_SHOWN = 20


@dataclass
class ModelStatus:
    """Where a model stands.

    ``seq`` is its place in the log, ``version`` its newest in MLflow (None before the first), ``digest`` that of its state;
    ``loss`` and ``metrics`` are over ``labelled`` events that it had predicted before their answer arrived; of these
    predictions ``empty`` had nothing to say, which costs the most. ``skips`` examples it could not learn; of these ``skipped``
    are the last few. A model that is ``suspended`` learns no more; ``doubts`` say what in it is not exact. ``outlook`` is what is
    known before all labels are there. Of a shadow, ``difference`` is the champion's mean loss minus its own over the ``paired``
    events that both had predicted in this reign, between ``lower`` and ``upper``. ``worse_since`` is since when the champion is
    no better than prior: its mean loss was last ``worse_by`` above that of prior over ``worse_labels`` labels, ``worse_over`` the
    reign or a window. ``confusion`` counts by label what was said of it, where ``ConfusionMatrix`` is among the metrics.
    """

    seq: int = 0
    version: int | None = None
    published_seq: int | None = None
    digest: str | None = None
    fingerprint: str | None = None
    environment: str | None = None
    skips: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    suspended: bool = False
    doubts: list[str] = field(default_factory=list)
    predictions: int = 0
    labelled: int = 0
    empty: int = 0
    loss: float | None = None
    recent_loss: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    outlook: Outlook | None = None
    paired: int = 0
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None
    worse_since: datetime | None = None
    worse_over: str | None = None
    worse_labels: int | None = None
    worse_by: float | None = None
    confusion: dict[str, dict[str, int]] | None = None


@dataclass
class Status:
    """Where a dataset stands. ``rows = events + labels + quarantined + duplicates``.

    ``window`` is how long a label may take, such as ``3d``; None: for ever. ``events_waiting`` have no label, and their window is
    open; ``events_held`` have one, and wait for their window to close (``learn="window"``). ``outcomes`` are final.
    ``memory`` counts, where there is one, its ``keys``, the ``bytes`` of its file, the events that came ``late``, and those with
    ``null_keys``. ``delays`` tells how long answers take.
    ``features_since`` names each feature that was added later: ``arrival``, ``event_id`` and ``event_time`` of the first event
    that has it, and the ``models`` that use it.
    ``served`` is the version in service, such as ``recent v12``; ``pinned`` and ``paused`` are the orders in force (the row of
    ``interventions``: ``reason``, ``at``, and of a pin ``version`` and ``model`` where serving is frozen at one).
    """

    dataset: str
    window: str | None = None
    files: int = 0
    rows: int = 0
    events: int = 0
    labels: int = 0
    corrections: int = 0
    quarantined: int = 0
    duplicates: int = 0
    nonfinite: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    events_waiting: int = 0
    events_held: int = 0
    labels_waiting: int = 0
    backfill_waiting: int = 0
    late: int = 0
    examples: int = 0
    outcomes: int = 0
    memory: dict[str, int] | None = None
    features_since: dict[str, dict[str, Any]] = field(default_factory=dict)
    clock: datetime | None = None
    champion: str | None = None
    champion_since: datetime | None = None
    champion_reason: str | None = None
    served: str | None = None
    pinned: dict[str, Any] | None = None
    paused: dict[str, Any] | None = None
    loss: str | None = None
    delays: Delays | None = None
    models: dict[str, ModelStatus] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> bytes:
        """Return the status as JSON: the contract of ``millrace status DATASET --json``."""
        shown = {**vars(self), "clock": write_moment(self.clock), "champion_since": write_moment(self.champion_since)}
        for order in ("pinned", "paused"):
            shown[order] = shown[order] and {**shown[order], "at": write_moment(shown[order]["at"])}
        shown["features_since"] = {
            name: {**one, "event_time": write_moment(one["event_time"])} for name, one in self.features_since.items()
        }
        shown["models"] = {
            name: {**vars(model), "worse_since": write_moment(model.worse_since)} for name, model in self.models.items()
        }
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)


def status(name: str) -> Status:
    """Return where a dataset stands.

    Raises
    ------
    UsageError
        When there is no such dataset.
    DatasetError
        When its file is broken.
    """
    dataset = catalog.load(name)
    found = Status(name, window=write_duration(time) if (time := dataset.labels.window) else None, loss=dataset.race_loss.name)
    if not tables.created(name):
        found.problems.append(f"nothing has arrived yet; put files into the landing folder, or try: millrace feed {name}")
        found.models = {model: ModelStatus() for model in dataset.racing}
        return found
    _count_rows(found)
    _count_waiting(found, dataset)
    promotion = promotions.latest(name)
    found.champion = promotions.champion(name)
    found.champion_since = promotion.clock if promotion else None
    found.champion_reason = promotion.reason if promotion else "the first champion, until a model is better"
    found.models = _models(dataset)
    found.memory = _memory(dataset)
    found.features_since = {one.feature: vars(one) for one in additions.additions(dataset)}
    found.delays = delays.measure(dataset)
    scores = {name: (model.labelled, model.loss) for name, model in found.models.items()}
    for name, ahead in outlook(dataset, found.clock, scores).items():
        found.models[name].outlook = ahead
    _tell_served(found, dataset)
    _look_for_problems(found, dataset)
    return found


def _tell_served(found: Status, dataset: Dataset) -> None:
    orders = interventions.in_force(found.dataset)
    found.pinned = vars(orders.pin) if orders.pin else None
    found.paused = vars(orders.pause) if orders.pause else None
    now = serving.current(dataset)
    found.served = f"{now.model} v{now.version.version}" if now.version else None
    if now.problem:
        found.problems.append(now.problem)
    if found.served and found.champion in dataset.racing and found.champion not in now.versions:
        found.problems.append(
            f"the champion {found.champion!r} does not predict: it has no version of this environment, and joins when it is "
            f"built again from the log (run: millrace run {found.dataset}); the race counts what prior says in its place"
        )
    if moved := alias.mark(found.dataset).moved:
        found.problems.append(moved)


def _count_rows(found: Status) -> None:
    files = Table(found.dataset, "files").read("rows", "duplicates", "nonfinite", "clock")
    quarantine = Table(found.dataset, "quarantine").read("stage", "reasons")
    rejected = int((quarantine["stage"] == "join").sum())
    found.files, found.rows = files.height, int(files["rows"].sum())
    found.duplicates, found.nonfinite = int(files["duplicates"].sum()), int(files["nonfinite"].sum())
    found.events = Table(found.dataset, "events").count()
    labels = Table(found.dataset, "labels")
    found.labels = labels.count() - rejected  # the join moved them to quarantine
    found.corrections = labels.read("correction", where=pl.col("correction")).height
    found.quarantined = quarantine.height
    found.reasons = dict(Counter(kinds_of_reasons(quarantine)).most_common())
    found.clock = files["clock"][-1] if files.height else None


def _count_waiting(found: Status, dataset: Dataset) -> None:
    with WaitingRoom(found.dataset) as room:
        found.events_waiting = unanswered(room, found.clock)
        found.events_held = held(room, found.clock) if dataset.labels.policy == "window" else 0
        found.labels_waiting = room.labels_waiting()
    found.backfill_waiting = history.waiting(found.dataset)
    log = Table(found.dataset, "examples")
    found.examples, found.late = log.cursor("seq"), log.cursor("late")
    found.outcomes = Table(found.dataset, "outcomes").cursor("number")


def _memory(dataset: Dataset) -> dict[str, int] | None:
    stands = remembered.stands(dataset.name) if dataset.remembers else None
    if stands is None:
        return None
    size = remembered.path(dataset.name).stat().st_size
    return {"keys": stands.keys, "bytes": size, "late": stands.late, "null_keys": stands.nulls}


def _models(dataset: Dataset) -> dict[str, ModelStatus]:
    table, predictions = Table(dataset.name, "checkpoints"), Table(dataset.name, "predictions")
    standings = {row["model"]: row for row in race.standings(dataset.name)}
    doubts = models.doubts(dataset.name)
    removed = [one for one in doubts if predictions.cursor(f"predictions/{one}")]
    found, names = {}, list(dict.fromkeys([*dataset.racing, *standings, *removed]))
    stand, versions = checkpoints.newest(table, names), checkpoints.published(table, names)
    for model in names:
        one = found[model] = ModelStatus(predictions=predictions.cursor(f"predictions/{model}"), doubts=doubts.get(model, []))
        if (checkpoint := stand.get(model)) is not None:
            one.seq, one.digest, one.fingerprint = checkpoint.seq, checkpoint.digest, checkpoint.fingerprint
            one.environment, one.skips, one.suspended = checkpoint.environment, checkpoint.skips, checkpoint.suspended
            one.skipped = checkpoints.skipped(table, checkpoint, _SKIPS_SHOWN) if one.skips else []
        if (version := versions.get(model)) is not None:
            one.version, one.published_seq = version.version, version.seq
        row = standings.get(model)
        if row is not None and row["labelled"]:
            one.labelled, one.empty, one.loss, one.recent_loss = row["labelled"], row["empty"], row["loss"], row["recent_loss"]
            one.metrics = orjson.loads(row["metrics"])
            one.paired, one.difference, one.lower, one.upper = row["paired"] or 0, row["difference"], row["lower"], row["upper"]
            one.worse_since, one.worse_over = row["worse_since"], row["worse_over"]
            one.worse_labels, one.worse_by = row["worse_labels"], row["worse_by"]
            one.confusion = orjson.loads(row["confusion"]) if row["confusion"] else None
    return found


def _look_for_problems(found: Status, dataset: Dataset) -> None:
    counted = found.events + found.labels + found.quarantined + found.duplicates
    if counted != found.rows:
        found.problems.append(
            f"{found.rows:,} rows were taken in, and the tables account for {counted:,}: a tick was cut off (run: millrace run "
            f"{found.dataset}), or a table was changed by hand (restore {tables.folder(found.dataset)} from a copy)"
        )
    try:
        answers.check(dataset)
    except DatasetError as error:
        found.problems.append(str(error))
    if found.backfill_waiting:
        found.problems.append(history.waits(found.dataset, found.backfill_waiting))
    if found.delays and found.delays.unsafe and dataset.labels.policy == "arrival":
        found.problems.append(
            f"learning answers as they arrive is unsafe on this data: {found.delays.unsafe}. In {dataset.path}, "
            f"{delays.remedy(dataset)}"
        )
    if (champion := found.models.get(found.champion or "")) is not None and champion.worse_since:
        over = "this reign" if champion.worse_over == "reign" else "the last window that was long enough"
        found.problems.append(
            f"the champion {found.champion!r} is no better than the base rate since {write_moment(champion.worse_since)}: its "
            f"mean {found.loss} loss in {over} is {champion.worse_by:+.4f} from that of prior, over the same "
            f"{champion.worse_labels:,} labels; to see what would do better, run: millrace validate {found.dataset}"
        )
    for name, model in found.models.items():
        if name not in dataset.racing:
            found.problems.append(f"model {name!r} is no longer in {dataset.path}: it predicts no more, and stays on record")
        elif model.suspended:
            found.problems.append(f"model {name!r} is {suspension(dataset, name, model.seq, model.skipped)}")
        elif model.seq < found.examples and not found.paused:
            found.problems.append(
                f"model {name!r} stands at seq {model.seq:,} of {found.examples:,}; run: millrace learn {found.dataset}"
            )
        found.problems.extend(f"model {name!r} is not exact: {doubt}" for doubt in model.doubts)
        if model.skips and not model.suspended:
            last = model.skipped[-1]
            found.problems.append(
                f"model {name!r} skipped {model.skips:,} examples (the last: event {last['event_id']!r}, seq {last['seq']:,}: "
                f"{last['error']})"
            )
