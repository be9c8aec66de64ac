"""What is there to know about one event: from the file it came in to every model's prediction, made again?

The tables are read by the event's arrival, and one column of each by its id; nothing is changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence, Set
from datetime import timedelta
from typing import Any

import polars as pl

from millrace import additions, catalog, checkpoints, features, models, recalled, remade, tables, task
from millrace.checkpoints import Checkpoint
from millrace.clock import from_microseconds, write_duration, write_moment
from millrace.contributions import contributions, plain
from millrace.dataset import Dataset
from millrace.errors import UsageError
from millrace.explanation import Came, ExampleRow, Explanation, LabelRow, Learned, PredictionRow, RejectedRow
from millrace.parallel import Progress
from millrace.tables import Table

_NEAR = 2_000
"""Ids of the same beginning, before and after the one asked for, among which one like it is looked for."""

Row = dict[str, Any]


def explain(name: str, event_id: str, from_nothing: bool = False, progress: Progress | None = None) -> Explanation:
    """Tell everything about one event; the newest of its id.

    Parameters
    ----------
    name, event_id
        The dataset, and the event.
    from_nothing
        Fold each model again from its fresh state, not from the newest that is kept: exact, and slow.
    progress
        Is told how far each fold has come.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or event (the message says what there is instead), or the dataset's file is broken.
    """
    dataset = catalog.load(name)
    if not tables.created(name):
        raise UsageError(f"nothing has arrived for {name} yet; put files into the landing folder, or try: millrace feed {name}")
    of_id = pl.col("event_id") == event_id
    events, labels, rejected = (Table(name, table).read(where=of_id).to_dicts() for table in ("events", "labels", "quarantine"))
    came = _Files(name, [*events, *labels, *rejected])
    if not events:
        raise _unknown(dataset, event_id, labels, rejected, came)
    event = events[-1]
    found = Explanation(name, event_id, event["event_time"], event["arrival"], came.of(event), _flat(event["raw"]))
    found.others = [one["arrival"] for one in events[:-1]]
    found.quarantined = [_rejected(row, came) for row in rejected]
    own = [row for row in labels if _event_of(row, events, dataset.id_horizon) == event["arrival"]]
    examples = _examples(name, event)
    found.labels = _labels(dataset, event, own, examples, came)
    _predictions(dataset, found, _final(dataset, event, examples), from_nothing, progress)
    found.examples = [ExampleRow(**row, learned=_learned(dataset, row["seq"])) for row in map(_shown, examples)]
    _note(dataset, found)
    return found


class _Files:
    """The files that some rows came in."""

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        numbers = sorted({row["file"] for row in rows})
        found = Table(name, "files").read("number", "name", "sha256", "received", where=pl.col("number").is_in(numbers))
        self._rows = {number: rest for number, *rest in found.iter_rows()}

    def of(self, row: Row) -> Came:
        name, sha256, received = self._rows.get(row["file"], ("a file that is not on record", None, None))
        return Came(row["file"], name, row["line"], sha256, received)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items()}


def _rejected(row: Row, came: _Files) -> RejectedRow:
    raw = row["raw"].decode(errors="backslashreplace")
    return RejectedRow(row["arrival"], row["kind"], row["stage"], row["reasons"], raw, came.of(row))


def _event_of(label: Row, events: Sequence[Row], horizon: timedelta | None) -> int | None:
    """Return the arrival of the event that a label is of: the last before it that is near enough, or else the next."""
    near = [one for one in events if horizon is None or abs(label["clock"] - one["clock"]) <= horizon]
    before = [one["arrival"] for one in near if one["arrival"] < label["arrival"]]
    after = [one["arrival"] for one in near if one["arrival"] > label["arrival"]]
    return before[-1] if before else after[0] if after else None


def _examples(name: str, event: Row) -> list[Row]:
    """Return the event's examples, in order; none stands before the event itself."""
    where = (pl.col("event_arrival") == event["arrival"]) & (pl.col("arrival") >= event["arrival"])
    return (
        Table(name, "examples").read("seq", "arrival", "label", "label_source", "label_arrival", "weight", where=where).to_dicts()
    )


def _final(dataset: Dataset, event: Row, examples: Sequence[Row]) -> Row | None:
    """Return the example by which what was said is scored; None while there is none, or only a default that is not final."""
    last = examples[-1] if examples else None
    if last is None or dataset.labels.policy != "provisional" or last["label_source"] != "default":
        return last
    closed = Table(dataset.name, "outcomes").read("number", where=pl.col("event_arrival") == event["arrival"])
    return last if closed.height else None


def _shown(example: Row) -> Row:
    return {name: example[name] for name in ("seq", "arrival", "label", "label_source", "weight")}


def _labels(dataset: Dataset, event: Row, labels: Sequence[Row], examples: Sequence[Row], came: _Files) -> list[LabelRow]:
    joined, window, found = Table(dataset.name, "examples").cursor("join"), dataset.labels.window, list[LabelRow]()
    learned = {example["label_arrival"]: example["seq"] for example in examples}
    policy, default = dataset.labels.policy, dataset.labels.default
    for row in labels:
        if row["arrival"] in learned:
            became = f"learned at seq {learned[row['arrival']]:,}"
        elif row["label_time"] < event["event_time"]:
            became = "earlier than its event, and not learned"
        elif window is not None and row["clock"] > event["event_time"] + window:
            became = f"late, after the window of {write_duration(window)} had closed, and not learned"
        elif max(row["arrival"], event["arrival"]) > joined:
            became = f"not joined yet; run: millrace learn {dataset.name}"
        elif policy == "window" and not examples:
            first = not any(one.became.startswith("held") for one in found)
            became = (
                f"held until its window of {write_duration(window)} closes" if first else "another label came first, and is held"
            )
        elif policy == "provisional" and row["label"] == default:
            became = "as the default, which was learned before"
        else:
            became = "another label came first, and was learned"
        kept = {name: row[name] for name in ("arrival", "label", "label_time", "label_source", "correction")}
        delay = (row["label_time"] - event["event_time"]).total_seconds()
        found.append(LabelRow(**kept, delay=delay, became=became, came=came.of(row)))
    return found


def _predictions(dataset: Dataset, found: Explanation, final: Row | None, from_nothing: bool, progress: Progress | None) -> None:
    here = pl.col("arrival") == found.arrival
    logged = Table(dataset.name, "features").read("memory", "x", where=here)
    if not logged.height:
        found.notes.append(f"not predicted yet; run: millrace infer {dataset.name}")
        return
    x = features.rows(logged["x"].struct.unnest())[0]
    found.features = x
    found.notes += map(str, additions.additions(dataset))
    recalled.explain(dataset, found, logged["memory"][0], x, progress)
    stored = Table(dataset.name, "predictions").read(where=here)
    if not stored.height:
        found.notes.append(f"no model has predicted it yet; what to do is told by: millrace status {dataset.name}")
    said = task.from_columns(dataset, stored)
    numbers = stored["version"].drop_nulls().to_list()
    recorded = Table(dataset.name, "checkpoints").read(where=pl.col("version").is_in(numbers))
    versions = {(row["model"], row["version"]): Checkpoint(**row) for row in recorded.iter_rows(named=True)}
    doubts, removed = models.doubts(dataset.name), checkpoints.removed(dataset.name, numbers)
    fields = [name for name in PredictionRow.__dataclass_fields__ if name in stored.columns]
    for row, prediction in zip(stored.iter_rows(named=True), said, strict=True):
        one = PredictionRow(**{name: row[name] for name in fields})
        one.loss = float(dataset.race_loss.of(prediction, final["label"])) if final else None
        found.predictions.append(one)
        version = versions.get((one.model, one.version))
        if one.origin == "backfill":
            one.note = f"made in a backfill; to prove it, run: millrace replay {dataset.name} {one.model} --verify"
        elif version is None:
            one.note = f"v{one.version} is not in the table checkpoints, which was changed by hand"
            found.problems.append(f"{one.model}: {one.note}")
        else:
            _make_again(dataset, found, one, row, x, version, removed, from_nothing, progress)
            if doubts.get(one.model):
                one.note = f"not exact, so that bits may differ: {'; '.join(doubts[one.model])}"
    order = [*dataset.racing, *(one.model for one in found.predictions)]
    found.predictions.sort(key=lambda one: (not one.served, order.index(one.model)))


def _make_again(
    dataset: Dataset,
    found: Explanation,
    one: PredictionRow,
    row: Row,
    x: Row,
    version: Checkpoint,
    removed: Set[int],
    from_nothing: bool,
    progress: Progress | None,
) -> None:
    of_fold, model = remade.from_fold(dataset, row, x, version, from_nothing, progress)
    if version.version in removed:
        needed, one.remade = of_fold, [of_fold]
        one.note = f"v{version.version} was removed by retention, and rebuilt by replay"
    else:
        needed, model = remade.from_version(dataset, row, x, version)
        one.remade = [needed, of_fold]
    lost = model is None and not needed.elsewhere
    found.problems += [f"{one.model}, {again}" for again in one.remade if again.fault or (lost and again is needed)]
    if model is not None:
        try:
            one.contributions = contributions(model, x)
        except Exception as error:  # noqa: BLE001 - whatever a model's transformers raise
            one.note = f"its transformers' outputs cannot be told: {type(error).__name__}: {error}"


def _learned(dataset: Dataset, seq: int) -> list[Learned]:
    """Tell of each model when it learned an example, in the lineage that was folded last."""
    table, found = Table(dataset.name, "checkpoints"), []
    stand = checkpoints.newest(table, dataset.racing)
    after = table.read("model", "fingerprint", "environment", "seq", "version", "skipped", where=pl.col("seq") >= seq)
    for model, stands in stand.items():
        own = after.filter(model=model, fingerprint=stands.fingerprint, environment=stands.environment)
        versions = own.filter(pl.col("version").is_not_null()).sort("seq", "version")
        first = own.filter(pl.col("seq") == pl.col("seq").min())
        skipped = [skip["error"] for skips in first["skipped"].to_list() for skip in skips or () if skip["seq"] == seq]
        known = {"checkpoint": first["seq"][0]} if first.height else {}
        known |= {"version": versions["version"][0], "version_seq": versions["seq"][0]} if versions.height else {}
        found.append(Learned(model, stands.seq, **known, skipped=skipped[0] if skipped else None))
    return found


def _note(dataset: Dataset, found: Explanation) -> None:
    window, clock = dataset.labels.window, Table(dataset.name, "files").cursor("clock")
    if not found.labels:
        closed = window is not None and from_microseconds(clock) > found.event_time + window
        closes = f", until {write_moment(found.event_time + window)} on the data's clock" if window is not None else ""
        found.notes.append("no label came within its window" if closed else f"waits for its label{closes}")
    if found.others:
        arrivals = ", ".join(f"{arrival:,}" for arrival in found.others)
        found.notes.append(f"this is the newest event of the id; there are earlier ones, at arrival {arrivals}")


def _unknown(dataset: Dataset, event_id: str, labels: Sequence[Row], rejected: Sequence[Row], came: _Files) -> UsageError:
    """Make the error for an event that is not there: what is there of its id, or an id like it."""
    said = f"unknown event {event_id!r} of {dataset.name}"
    for row in rejected:
        said += f"; {came.of(row)} of {row['kind']} was quarantined: {'; '.join(row['reasons'])}"
    for row in labels:
        said += f"; its label {row['label']!r} came in {came.of(row)}, and waits for it"
    if labels or rejected:
        return UsageError(said)
    near = _near(dataset.name, event_id)
    return UsageError(f"{said}; {f'did you mean {near!r}?' if near else 'no id there is like it'}")


def _near(name: str, event_id: str) -> str | None:
    """Return the id that is most like the one given; a slip of the hand leaves one of its halves as it is."""
    half = len(event_id) // 2
    begins, ends = pl.col("event_id").str.starts_with(event_id[:half]), pl.col("event_id").str.ends_with(event_id[half:])
    found = Table(name, "events").read("event_id", begins.alias("begins"), where=begins | ends)
    alike = found.filter("begins")["event_id"].sort()
    place = int(alike.search_sorted(event_id))
    others = found.filter(~pl.col("begins"))["event_id"].head(_NEAR)
    candidates = [*alike[max(place - _NEAR, 0) : place + _NEAR], *others]
    return next(iter(difflib.get_close_matches(event_id, candidates, n=1, cutoff=0.5)), None)
