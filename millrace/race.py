"""Which model is best, over the same labelled events, by what each had said before it knew?

The race is a fold, too, over the outcomes: one by one, each model's stored prediction is scored, and the rule of
promotion (:mod:`millrace.reign`) is looked at after every one; so it does not matter how ticks fell. What a person ordered takes
effect right after the outcome that was the last to be scored then. Metrics are River's, and decide nothing. Where loss, window
or metrics are others than those by which it was run, or the environment is, it is run again from the first outcome, over the
stored predictions; the promotions that are on record stand.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from millrace import catalog, checkpoints, collector, history, interventions, models, promotions, rule, state, tables, task
from millrace.clock import from_microseconds
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, UsageError
from millrace.interventions import PROMOTING, Orders
from millrace.loss import Prediction
from millrace.promotions import Promotion
from millrace.reign import WouldReport
from millrace.standings import Race
from millrace.tables import Table, at_arrivals

_OUTCOMES_AT_ONCE = 20_000


@dataclass
class RaceReport:
    """What the race looks like after the outcomes that were scored in this run; ``again`` is why it was run from the first."""

    dataset: str
    scored: int = 0
    seq: int = 0
    champion: str = PRIOR
    losses: dict[str, float] = field(default_factory=dict)
    promoted: list[Promotion] = field(default_factory=list)
    again: str | None = None

    def __str__(self) -> str:
        said = f"{self.scored:,} labels scored, champion: {self.champion}"
        said += f"; the race was run again from its first outcome, and its promotions stand: {self.again}" if self.again else ""
        for promotion in self.promoted:
            said += f"; {promotion.model} took over from {promotion.before} at seq {promotion.seq:,}"
        return said

    def markdown(self) -> str:
        """Return it with a table of the models, best first."""
        rows = sorted(self.losses.items(), key=lambda item: item[1])
        table = "\n".join(f"| {model}{' ★' if model == self.champion else ''} | {loss:.4f} |" for model, loss in rows)
        return f"{self}\n\n| model | mean loss |\n| --- | ---: |\n{table}"


@dataclass
class _Given:
    """What the fold takes as given.

    Parameters
    ----------
    orders
        What persons ordered.
    before
        Promotions by the rule before there were outcomes, in order; up to ``quiet``, a place of the log, these stand alone.
    stand
        Promotions that stand as they are on record, by outcome; each stands once.
    ruled, replace
        Whether others are made by the rule and by orders, and in place of a champion that has left the file.
    """

    orders: Orders
    before: Sequence[Promotion]
    quiet: int
    stand: dict[int, list[Promotion]]
    ruled: bool = True
    replace: bool = True

    @classmethod
    def of(cls, name: str, standings: Table, orders: Orders, stand: Sequence[Promotion] = ()) -> _Given:
        """Read it; ``stand`` are the promotions that do."""
        quiet = standings.cursor("score")  # up to where the race went over the log itself, in an earlier release
        before = [one for one in promotions.history(name) if one.outcome is None] if quiet else []
        chosen: dict[int, list[Promotion]] = {}
        for one in stand:
            if one.outcome is not None:
                chosen.setdefault(one.outcome, []).append(one)
        return cls(orders, before, quiet, chosen)


def score(name: str) -> RaceReport:
    """Score the outcomes that are new, and promote by the rule of the dataset, or as was ordered.

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
        cursor, head = standings.cursor("matured"), history.scorable(name)
        (race, again), orders = _restored(dataset, standings, cursor), Orders(name, standings.cursor("obeyed"))
        if cursor >= head and standings.cursor("obeyed") >= orders.last and not again:
            return _stands(report, race)
        upto = min(max(head, cursor), cursor + _OUTCOMES_AT_ONCE)
        with collector.spared():
            found = _run(dataset, race, cursor, upto, _Given.of(name, standings, orders))
        try:
            with interventions.none_since(name, orders):
                promotions.record(promoted, found)
                _store(dataset, race, standings, orders)
        except ConflictError:
            continue
        report.again = report.again or again
        report.scored += upto - cursor
        report.promoted.extend(found)
        if upto >= head:
            return _stands(report, race)


def settled(name: str) -> bool:
    """Tell whether the race has kept account of all that was made of it: of each promotion on record, and of each order."""
    standings, last = Table(name, "standings"), promotions.latest(name)
    kept = last is None or (last.outcome or 0) <= standings.cursor("matured")
    return kept and standings.cursor("obeyed") >= interventions.count(name)


def _stands(report: RaceReport, race: Race) -> RaceReport:
    """Put into a report what the race looks like."""
    report.seq, report.champion = race.seq, race.reign.champion
    report.losses = {model: racer.loss / racer.labelled for model, racer in race.racers.items()}
    return report


def _restored(dataset: Dataset, standings: Table, cursor: int) -> tuple[Race, str | None]:
    """Take the race up where it stands; where its state is of no use, run it again, and return why."""
    columns = ("rule", "environment", "sha256", "at")
    rows = standings.read(*columns, where=pl.col("outcome") == cursor).sort("at").drop("at")
    if not cursor and not rows.height:
        return Race(), None
    try:
        if not rows.height:
            raise MillraceError(f"it is not in the table standings, run: millrace replay {dataset.name}")
        before, environment, sha256 = rows.row(-1)
        if (why := rule.otherwise(rule.write(dataset), before, environment)) is not None:
            if not promotions.whole(dataset.name):
                raise MillraceError(f"the table promotions was changed by hand, run: millrace replay {dataset.name}")
            return _run_again(dataset, standings, cursor, promotions.history(dataset.name)), why
        race: Race = state.load(checkpoints.read_state(dataset.name, sha256))
    except MillraceError as error:
        raise MillraceError(f"the race of {dataset.name!r} at outcome {cursor} cannot be taken up: {error}") from error
    return race, None


def _run_again(dataset: Dataset, standings: Table, upto: int, stand: Sequence[Promotion]) -> Race:
    """Run the race from the first outcome up to another; who was promoted is given."""
    race, orders = Race(), Orders(dataset.name, upto=standings.cursor("obeyed"))
    given = replace(_Given.of(dataset.name, standings, orders, stand), ruled=False, replace=False)
    for after, end in _stretches(0, upto):
        _run(dataset, race, after, end, given)
    return race


def _stretches(after: int, upto: int) -> Iterator[tuple[int, int]]:
    """Return after which outcome, and up to which, is scored at a time; once of none, as orders may stand there."""
    for one in range(after, max(upto, after + 1), _OUTCOMES_AT_ONCE):
        yield one, min(one + _OUTCOMES_AT_ONCE, upto)


def would(name: str) -> WouldReport:
    """Tell how each shadow stands, what it lacks, and who would be promoted, without a change to anything.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    MillraceError
        When the state of the race is gone or was changed.
    """
    dataset = catalog.load(name)
    if not tables.created(name):
        raise UsageError(f"nothing has arrived for {name} yet; put files into the landing folder, or try: millrace feed {name}")
    standings = Table(name, "standings")
    cursor = standings.cursor("matured")
    race, _ = _restored(dataset, standings, cursor)
    report = WouldReport(name, race.reign.champion, cursor, race.pinned, race.reign.verdicts(dataset))
    replaced = race.replace(dataset)  # as the next outcome will; this race is thrown away
    report.heir = replaced.model if replaced else None
    return report


def rebuild(name: str) -> RaceReport:
    """Score again from the first outcome, as far as was scored.

    The promotions that are on record stand; those that are missing there are made again.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    while True:
        standings = Table(name, "standings")
        cursor, orders = standings.cursor("matured"), Orders(name, upto=standings.cursor("obeyed"))
        if not cursor and not orders.last:
            return _stands(RaceReport(name), Race())
        try:
            if not promotions.whole(name):
                promotions.complete(name, [one for _, some in again(dataset, cursor, replaced=True) for one in some])
            race = _run_again(dataset, standings, cursor, promotions.history(name))
            _store(dataset, race, standings, orders)
        except ConflictError:
            continue
        return _stands(RaceReport(name, cursor), race)


def again(dataset: Dataset, upto: int, replaced: bool = False) -> Iterator[tuple[int, list[Promotion]]]:
    """Run the race from the first outcome by the rules on record, what was ordered given, without a change to anything.

    Parameters
    ----------
    replaced
        Whether others take over, too, in place of champions that have left the file; else those on record do.

    Yields
    ------
    int, list of Promotion
        After which outcome, and who was promoted since it was told last; in order.
    """
    race, standings = Race(), Table(dataset.name, "standings")
    orders, stand = Orders(dataset.name, upto=standings.cursor("obeyed")), promotions.history(dataset.name)
    stand = [one for one in stand if one.given]
    given = replace(_Given.of(dataset.name, standings, orders, stand), replace=replaced)
    after, before = 0, None
    for last, text in rule.on_record(standings, upto, rule.write(dataset)):
        ruled = rule.put(dataset, text)
        if before and rule.counted_otherwise(before, text):
            race = _run_again(ruled, standings, after, stand)
        for start, end in _stretches(after, last):
            found = _run(ruled, race, start, end, given)
            stand += found
            yield end, found
        after, before = last, text


def _run(dataset: Dataset, race: Race, after: int, upto: int, given: _Given) -> list[Promotion]:
    """Score the outcomes after one up to another, in order; promote by the rule, as was ordered, or as is on record."""
    columns = ("number", "seq", "arrival", "event_arrival", "label", pl.col("clock").to_physical())
    rows = Table(dataset.name, "outcomes").read(*columns, where=pl.col("number").is_between(after + 1, upto))
    said = _said(dataset, rows["event_arrival"])
    before = deque(one for one in given.before if one.number > race.number)
    found = _by_hand(race, given)
    for race.outcome, race.seq, race.place, arrival, label, clock in rows.iter_rows():
        race.clock = from_microseconds(clock)
        while before and before[0].seq <= race.seq:
            race.stand(before.popleft())
        if arrival in said:
            race.score(dataset, said[arrival], label, arrival)
            if given.ruled and race.seq > given.quiet and race.outcome not in given.stand:
                promotion = (race.replace(dataset) if given.replace else None) or race.decide(dataset)
                found += [promotion] if promotion else []
        found += _by_hand(race, given)
    return found


def _by_hand(race: Race, given: _Given) -> list[Promotion]:
    """Let the promotions stand here that do, and do what was ordered when the race stood here."""
    for promotion in given.stand.pop(race.outcome, []):
        race.stand(promotion)
    made = [race.obey(order) for order in given.orders.at(race.outcome) if given.ruled or order.action not in PROMOTING]
    return [promotion for promotion in made if promotion]


def _said(dataset: Dataset, arrivals: pl.Series) -> dict[int, dict[str, Prediction]]:
    """Return what was said of events before their answer arrived, by arrival and model."""
    fair = ~pl.col("answered") & pl.col("origin").is_in(["live", "backfill"])
    rows = Table(dataset.name, "predictions").read("arrival", "model", *task.columns(dataset), where=at_arrivals(arrivals) & fair)
    columns = (rows[name].to_list() for name in ("arrival", "model"))
    found: dict[int, dict[str, Prediction]] = {}
    for arrival, model, prediction in zip(*columns, task.from_columns(dataset, rows), strict=True):
        found.setdefault(arrival, {})[model] = prediction
    return found


def _store(dataset: Dataset, race: Race, standings: Table, orders: Orders) -> None:
    sha256 = checkpoints.write_state(dataset.name, pickle.dumps(race, protocol=5))
    rows = race.rows(dataset, sha256, models.environment(), rule.write(dataset))
    standings.append(rows, {"matured": race.outcome, "seq": race.seq, "obeyed": orders.last})


def standings(name: str) -> list[dict[str, Any]]:
    """Return the rows of the table ``standings`` as they are now, a row a model, in the order of their names."""
    table = Table(name, "standings")
    if not (cursor := table.cursor("matured")):
        return []
    rows = table.read(where=pl.col("outcome") == cursor)
    return rows.sort("at").unique("model", keep="last").sort("model").to_dicts()
