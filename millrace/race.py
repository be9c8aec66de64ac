"""Which model is best, over the same labelled events, by what each had said before it knew?

The race is a fold over the log, too: example by example, each model's stored prediction is scored, and the rule of
promotion is looked at after every label; so it does not matter how ticks fell. Metrics are River's, and decide nothing.
"""

from __future__ import annotations

import itertools
import pickle
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from millrace import catalog, checkpoints, collector, history, interventions, metrics, promotions, tables, task
from millrace.casting import UTC_MICROSECONDS
from millrace.clock import now
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, UsageError
from millrace.interventions import Intervention, Orders
from millrace.loss import Prediction
from millrace.promotions import Promotion
from millrace.tables import Table, at_arrivals

RECENT = 1_000
"""Labelled events in the recent loss."""
_EXAMPLES_AT_ONCE = 20_000


@dataclass
class RaceReport:
    """What the race looks like after the examples that were scored in this run."""

    dataset: str
    scored: int = 0
    seq: int = 0
    champion: str = PRIOR
    losses: dict[str, float] = field(default_factory=dict)
    promoted: list[Promotion] = field(default_factory=list)

    def __str__(self) -> str:
        said = f"{self.scored:,} labels scored, champion: {self.champion}"
        for promotion in self.promoted:
            said += f"; {promotion.model} took over from {promotion.before} at seq {promotion.seq:,}"
        return said

    def markdown(self) -> str:
        """Return it with a table of the models, best first."""
        rows = sorted(self.losses.items(), key=lambda item: item[1])
        table = "\n".join(f"| {model}{' ★' if model == self.champion else ''} | {loss:.4f} |" for model, loss in rows)
        return f"{self}\n\n| model | mean loss |\n| --- | ---: |\n{table}"


@dataclass
class _Racer:
    """A model's score since its first labelled prediction."""

    metrics: list[Any]
    labelled: int = 0
    empty: int = 0
    loss: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))


@dataclass
class _Pair:
    """The difference of two models' losses, summed over the events that both predicted."""

    both: int = 0
    difference: float = 0.0


class Race:
    """The fold: what is known after a number of examples. It is pickled between runs."""

    def __init__(self) -> None:
        self.racers: dict[str, _Racer] = {}
        self.pairs: dict[tuple[str, str], _Pair] = {}
        self.champion = PRIOR
        self.number = 0
        self.since = 0
        self.pinned = False
        self.obeyed = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a race, also one from before orders were given."""
        self.__dict__.update({"pinned": False, "obeyed": 0, **state})

    def promote(self, seq: int, model: str, reason: str, evidence: Mapping[str, Any], clock: datetime | None) -> Promotion:
        """Make a model champion."""
        self.number += 1
        said = orjson.dumps(evidence).decode()
        promotion = Promotion(self.number, seq, model, self.champion, reason, said, clock)
        self.champion, self.since = model, 0
        return promotion

    def obey(self, order: Intervention, seq: int, clock: datetime | None) -> Promotion | None:
        """Do what a person has ordered; return the promotion where it is one."""
        self.obeyed = order.number
        if order.action in interventions.PROMOTING:
            if order.model is None or order.model == self.champion:
                return None
            return self.promote(seq, order.model, f"by hand: {order.reason}", {"intervention": order.number}, clock)
        self.pinned = order.action == "pin"
        return None

    def score(self, dataset: Dataset, said: Mapping[str, Prediction], label: Any) -> None:
        """Score what each model said of one event, now that its label is known."""
        losses = {model: dataset.race_loss.of(prediction, label) for model, prediction in said.items()}
        self.since += 1
        for model, loss in losses.items():
            if model not in self.racers:
                self.racers[model] = _Racer(metrics.build(dataset))
            racer = self.racers[model]
            racer.labelled += 1
            racer.loss += loss
            racer.recent.append(loss)
            if said[model] in (None, {}):
                racer.empty += 1  # it costs the most; River's metrics leave it out
                continue
            for metric in racer.metrics:
                metrics.update(metric, said[model], label)
        for one, other in itertools.combinations(sorted(losses), 2):
            pair = self.pairs.setdefault((one, other), _Pair())
            pair.both += 1
            pair.difference += losses[one] - losses[other]

    def gain(self, model: str) -> tuple[int, float | None]:
        """Return over how many events a model and the champion are compared, and by how much its mean loss is lower."""
        pair = self.pairs.get((min(model, self.champion), max(model, self.champion)), _Pair())
        gain = pair.difference if model > self.champion else -pair.difference
        return pair.both, gain / pair.both if pair.both else None

    def challenger(self, dataset: Dataset) -> tuple[str, int, float] | None:
        """Return who should be champion instead, on how many events, and by how much (in mean loss); None for nobody."""
        rule, found = dataset.race, []
        if self.pinned or (self.since < rule.cooldown and self.number):
            return None
        for model in dataset.racing:
            if model == self.champion:
                continue
            events, gain = self.gain(model)
            if events >= rule.minimum and gain is not None and gain > 0:
                found.append((gain, model, events))
        if not found:
            return None
        gain, model, both = max(found)
        return model, both, gain


def score(name: str) -> RaceReport:
    """Score the examples that are new, and promote by the rule of the dataset.

    Where events were brought in as history, the race waits until all of its models have predicted them.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    report = RaceReport(name)
    while True:
        standings, promoted = Table(name, "standings"), Table(name, "promotions")
        cursor, head = standings.cursor("score"), history.scorable(name)
        race = _restored(dataset, standings, cursor)
        orders = Orders(name, race.obeyed)
        if cursor >= head and race.obeyed >= orders.last:
            return _stands(report, race, cursor)
        upto = min(max(head, cursor), cursor + _EXAMPLES_AT_ONCE)
        with collector.spared():
            found, clock = _run(dataset, race, cursor, upto, orders)
        race.obeyed = orders.last
        sha256 = checkpoints.write_state(name, pickle.dumps(race, protocol=5))
        try:
            with interventions.none_since(name, orders):
                promotions.record(promoted, found)
                standings.append(_frame(race, upto, clock, sha256), {"score": upto, "obeyed": orders.last})
        except ConflictError:
            continue
        report.scored += upto - cursor
        report.promoted.extend(found)
        if upto >= head:
            return _stands(report, race, upto)


def _stands(report: RaceReport, race: Race, seq: int) -> RaceReport:
    """Put into a report what the race looks like at a ``seq``."""
    report.seq, report.champion = seq, race.champion
    report.losses = {model: racer.loss / racer.labelled for model, racer in race.racers.items()}
    return report


def _restored(dataset: Dataset, standings: Table, cursor: int) -> Race:
    if not cursor and not standings.cursor("obeyed"):
        return Race()
    sha256 = standings.read("sha256", "at", where=pl.col("seq") == cursor).sort("at")["sha256"]
    try:
        race: Race = pickle.loads(checkpoints.read_state(dataset.name, sha256[-1]))
        return race
    except (MillraceError, IndexError) as error:
        why = (
            error
            if isinstance(error, MillraceError)
            else f"it is not in the table standings, run: millrace replay {dataset.name}"
        )
        raise MillraceError(f"the race of {dataset.name!r} at seq {cursor} cannot be taken up: {why}") from error


@dataclass
class Chance:
    """Whether the rule would promote a shadow now: ``gain`` is how much lower its mean loss is than the champion's, over the
    ``events`` that both predicted; ``missing`` says what hinders it."""

    model: str
    events: int
    gain: float | None
    promoted: bool
    missing: list[str]

    def __str__(self) -> str:
        gain = "–" if self.gain is None else f"{self.gain:+.4f}"
        verdict = "would be promoted" if self.promoted else f"would not be promoted: {'; '.join(self.missing)}"
        return f"{self.model}: mean loss lower by {gain} over {self.events:,} events; {verdict}"


@dataclass
class WouldReport:
    """What the rule of the race would do now, shadow by shadow; nothing is changed."""

    dataset: str
    champion: str
    chances: list[Chance] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"champion: {self.champion}", *map(str, self.chances)])


def would(name: str) -> WouldReport:
    """Tell for each shadow whether the rule would promote it now, and what is missing; change nothing.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    if not tables.created(name):
        raise UsageError(f"nothing has arrived for {name} yet; put files into the landing folder, or try: millrace feed {name}")
    table = Table(name, "standings")
    race, rule = _restored(dataset, table, table.cursor("score")), dataset.race
    chosen = race.challenger(dataset)
    report = WouldReport(name, race.champion)
    for model in dataset.racing:
        if model == race.champion:
            continue
        events, gain = race.gain(model)
        missing = ["the champion is pinned"] if race.pinned else []
        missing += [f"{rule.minimum - events:,} more labels"] if events < rule.minimum else []
        cools = rule.cooldown - race.since if race.number else 0
        missing += [f"{cools:,} more labels of the cool-down"] if cools > 0 else []
        missing += ["it is no better"] if gain is None or gain <= 0 else []
        promoted = chosen is not None and chosen[0] == model
        missing += [f"{chosen[0]} is better"] if chosen and not promoted and not missing else []
        report.chances.append(Chance(model, events, gain, promoted, missing))
    return report


def rebuild(name: str) -> RaceReport:
    """Score again from the first example, as far as was scored.

    The promotions that are on record stand, if all are there; else they are made again by the rule.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    report = RaceReport(name)
    history = promotions.history(name)
    whole = len(history) == Table(name, "promotions").cursor("promote")
    recorded = {seq: list(some) for seq, some in itertools.groupby(history, lambda one: one.seq)} if whole else None
    while True:
        standings, race, promoted = Table(name, "standings"), Race(), list[Promotion]()
        cursor, clock = standings.cursor("score"), None
        orders = Orders(name, upto=standings.cursor("obeyed"))
        if not cursor and not orders.last:
            return _stands(report, race, cursor)
        for after in range(0, max(cursor, 1), _EXAMPLES_AT_ONCE):
            found, clock = _run(dataset, race, after, min(after + _EXAMPLES_AT_ONCE, cursor), orders, recorded)
            promoted.extend(found)
        race.obeyed = orders.last
        sha256 = checkpoints.write_state(name, pickle.dumps(race, protocol=5))
        try:
            promotions.complete(name, promoted)
            standings.append(_frame(race, cursor, clock, sha256), {"score": cursor, "obeyed": orders.last})
        except ConflictError:
            continue
        report.scored = cursor
        return _stands(report, race, cursor)


def again(dataset: Dataset, upto: int) -> Iterator[tuple[int, list[Promotion]]]:
    """Run the race from the first example by the rule and what persons ordered, without a change to anything.

    Yields
    ------
    int, list of Promotion
        How far it was run, and who was promoted since it was told last; in order.
    """
    race, orders = Race(), Orders(dataset.name, upto=Table(dataset.name, "standings").cursor("obeyed"))
    for after in range(0, max(upto, 1), _EXAMPLES_AT_ONCE):
        end = min(after + _EXAMPLES_AT_ONCE, upto)
        yield end, _run(dataset, race, after, end, orders)[0]


def _run(
    dataset: Dataset,
    race: Race,
    after: int,
    upto: int,
    orders: Orders,
    recorded: Mapping[int, Sequence[Promotion]] | None = None,
) -> tuple[list[Promotion], datetime | None]:
    """Score the examples after one place up to another, in order; promote by the rule and by orders, or as is on record."""
    columns = ("seq", "event_arrival", "label", "clock")
    examples = Table(dataset.name, "examples").read(*columns, where=pl.col("seq").is_between(after, upto))
    said = _said(dataset, examples["event_arrival"])
    found, clock = list[Promotion | None](), None
    for seq, arrival, label, clock in itertools.chain([(0, None, None, None)] if not after else [], examples.iter_rows()):
        if seq > after and arrival in said:
            race.score(dataset, said[arrival], label)
            found.append(_by_rule(dataset, race, seq, clock) if recorded is None else None)
        for promotion in (recorded or {}).get(seq, ()) if seq > after or not seq else ():
            race.number, race.champion, race.since = promotion.number, promotion.model, 0
        for order in orders.at(seq):
            if recorded is None or order.action not in interventions.PROMOTING:
                found.append(race.obey(order, seq, clock))
    return [promotion for promotion in found if promotion], clock


def _by_rule(dataset: Dataset, race: Race, seq: int, clock: datetime | None) -> Promotion | None:
    challenger = race.challenger(dataset)
    if challenger is None:
        return None
    model, both, gain = challenger
    reason = f"mean {dataset.race_loss.name} loss lower by {gain:.2g} over the same {both:,} labelled events"
    return race.promote(seq, model, reason, {"events": both, "gain": gain, "loss": dataset.race_loss.name}, clock)


def _said(dataset: Dataset, arrivals: pl.Series) -> dict[int, dict[str, Prediction]]:
    """Return what was said of events before their answer arrived, by arrival and model."""
    fair = ~pl.col("answered") & pl.col("origin").is_in(["live", "backfill"])
    rows = Table(dataset.name, "predictions").read("arrival", "model", *task.columns(dataset), where=at_arrivals(arrivals) & fair)
    columns = (rows[name].to_list() for name in ("arrival", "model"))
    found: dict[int, dict[str, Prediction]] = {}
    for arrival, model, prediction in zip(*columns, task.from_columns(dataset, rows), strict=True):
        found.setdefault(arrival, {})[model] = prediction
    return found


def _frame(race: Race, seq: int, clock: datetime | None, sha256: str) -> pl.DataFrame:
    rows = [
        {
            "seq": seq, "model": model, "labelled": racer.labelled, "empty": racer.empty, "loss": racer.loss / racer.labelled,
            "recent_loss": sum(racer.recent) / len(racer.recent), "metrics": orjson.dumps(metrics.values(racer.metrics)).decode(),
        }
        for model, racer in race.racers.items()
    ]  # fmt: skip
    rows = rows or [{"seq": seq, "model": PRIOR, "labelled": 0, "empty": 0, "loss": None, "recent_loss": None, "metrics": "{}"}]
    stamped = [{**row, "clock": clock, "sha256": sha256, "at": now()} for row in rows]
    return pl.DataFrame(stamped, schema_overrides={"loss": pl.Float64, "recent_loss": pl.Float64, "clock": UTC_MICROSECONDS})


def standings(name: str) -> list[dict[str, Any]]:
    """Return the rows of the table ``standings`` as they are now, a row a model."""
    table = Table(name, "standings")
    cursor = table.cursor("score")
    return table.read(where=pl.col("seq") == cursor).sort("at").unique("model", keep="last").to_dicts() if cursor else []
