"""What would have been served under another policy: rule of promotion, set of models, or cadence?

The race is run again over the outcomes, with another rule or fewer models, over the predictions that are on record: no model
is asked again. With another cadence each is, by :mod:`millrace.hindsight`. A promotion takes effect as one on record would have:
for the events that were predicted after its outcome had been scored; and of history, or with another cadence, for those asked
when the log was known that far. Orders by hand are left out: it is what the rule alone would have done.
"""

from __future__ import annotations

import copy
import dataclasses
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from millrace import catalog, interventions, tables, task
from millrace.clock import MICROSECOND, parse_duration, write_duration, write_moment
from millrace.dataset import PRIOR, Dataset, Race
from millrace.errors import DatasetError, UsageError, unknown
from millrace.loss import Prediction
from millrace.parallel import Progress, silent
from millrace.tables import Table, at_arrivals
from millrace.ways import Line, Outcome, Reign, Ways

DECLARED = "declared"
"""The policy of the dataset's file as it is now."""
_OUTCOMES_AT_ONCE = 20_000


@dataclass
class PolicyReport:
    """What would have been served: a ``line`` a way to serve, and who served when, by what was and what would have been.

    ``policy`` says what was asked; ``stretch`` is how many labels in a row "the best in hindsight" knew beforehand.
    """

    dataset: str
    policy: dict[str, str]
    loss: str
    stretch: int
    lines: list[Line] = field(default_factory=list)
    reigns: dict[str, list[Reign]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    picture: Path | None = None

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
                 for row in rows]  # fmt: skip
        turns = [f"{name}: " + ", ".join(f"{one.model} from {write_moment(one.first)}" for one in some) for name, some in
                 self.reigns.items()]  # fmt: skip
        drawn = [f"drawn: {self.picture}"] if self.picture else []
        return "\n".join([self.policy_said, *(line.rstrip() for line in table), *turns, *self.notes, *drawn])

    def markdown(self) -> str:
        """Return it as a table in Markdown."""
        head, *rows = self._rows()
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        return "\n".join([self.policy_said, "", *(f"| {' | '.join(row)} |" for row in lines), "", *self.notes])

    @property
    def policy_said(self) -> str:
        """What was asked."""
        return "policy: " + (", ".join(f"{key}={value}" for key, value in self.policy.items()) or DECLARED)

    def _rows(self) -> list[list[str]]:
        names = list(dict.fromkeys(name for line in self.lines for name in line.metrics))
        rows = [["", f"{self.loss} loss", "better than served", *names, "labels", "changes"]]
        for line in self.lines:
            numbers = [line.loss, line.gain, *(line.metrics.get(name) for name in names)]
            shown = ["–" if value is None else f"{value:+.4f}" if i == 1 else f"{value:.4f}" for i, value in enumerate(numbers)]
            rows.append([line.name, *shown, f"{line.labelled:,}", "–" if line.changes is None else f"{line.changes:,}"])
        return rows


def policy(name: str, asked: Sequence[str] = (), draw: bool = True, progress: Progress | None = None) -> PolicyReport:
    """Tell what would have been served under another policy, over all outcomes that the race has scored; change nothing.

    Parameters
    ----------
    name
        The dataset.
    asked
        What is to be different: ``minimum=500``, ``cooldown=0`` and whatever else :class:`~millrace.dataset.Race` takes;
        ``models=recent+linear`` (``prior`` is always among them); ``cadence=1d``. Nothing, or ``declared``: the rule as
        the dataset's file has it now.
    draw
        Draw who served when, beside the tables.
    progress
        Is told how far it has come.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, model or option, a value does not fit, or the dataset's file is broken.
    """
    dataset = catalog.load(name)
    if not tables.created(name) or not Table(name, "standings").cursor("matured"):
        raise UsageError(f"the race of {name} has scored no label yet: there is nothing to replay a policy over")
    given, cadence = _parsed(dataset, asked)
    report = PolicyReport(name, _pairs(asked), dataset.race_loss.name, given.race.minimum)
    found = Ways(given, report.stretch)
    said = _Asked(given, cadence, progress or silent) if cadence else None
    for number, head, outcome in _outcomes(given, said):
        found.see(outcome)
        if number % 1_000 == 0 or number == head:
            (progress or silent)("outcomes", number, head)
    report.lines, report.reigns = found.told()
    if orders := [one for one in interventions.history(name) if one.action in (*interventions.PROMOTING, "pin")]:
        report.notes.append(f"{len(orders):,} orders by hand are left out: this policy is what the rule alone would have done")
    if cadence:
        report.notes.append(f"each model was asked again, as if it had been published every {write_duration(cadence)}")
    if draw:
        from millrace.validation import reigns

        report.picture = reigns.keep(report, given.racing)
    return report


def _pairs(asked: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in asked if text != DECLARED]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise UsageError(f"--policy {wrong[0]} says nothing; write {wrong[0]}=…, such as minimum=500, or {DECLARED}")
    return {key: value for key, _, value in pairs}


def _parsed(dataset: Dataset, asked: Sequence[str]) -> tuple[Dataset, timedelta | None]:
    """Return the dataset with another rule and fewer models, and the cadence where it is another."""
    rule, options = dict[str, Any](), {one.name for one in dataclasses.fields(Race)}
    given, cadence = copy.copy(dataset), None
    for key, value in _pairs(asked).items():
        if key == "models":
            wanted = [one for one in value.replace(",", "+").split("+") if one != PRIOR]
            if missing := [one for one in wanted if one not in dataset.models]:
                raise unknown("model", missing[0], dataset.racing)
            object.__setattr__(given, "models", {one: dataset.models[one] for one in wanted})
        elif key == "cadence":
            cadence = parse_duration(value)
            if cadence < MICROSECOND:
                raise UsageError(f"cadence={value} must be longer than nothing; write 1h or 1d")
        elif key in options:
            try:
                rule[key] = None if value == "none" else float(value) if "." in value or "e" in value else int(value)
            except ValueError:
                raise UsageError(f"{key}={value} is no number") from None
        else:
            raise unknown("policy", key, [*options, "models", "cadence"])
    try:
        object.__setattr__(given, "race", dataclasses.replace(dataset.race, **rule))
    except DatasetError as error:
        raise UsageError(str(error)) from None
    return given, cadence


class _Asked:
    """What each model would have said with another cadence; it is asked again, over the whole log."""

    def __init__(self, dataset: Dataset, cadence: timedelta, progress: Progress) -> None:
        from millrace.hindsight import Hindsight, answered_before

        [whole] = answered_before(dataset, [(1, Table(dataset.name, "examples").cursor("join"))])
        parts = []
        for model in dataset.racing:
            again = Hindsight(dataset, model, whole, cadence // MICROSECOND)
            parts += [frame for _, frame in again.said(progress)]
        self._rows = pl.concat(parts).sort("arrival", "model")

    def rows(self, arrivals: pl.Series) -> pl.DataFrame:
        """Return what was said of these events."""
        return self._rows.filter(at_arrivals(arrivals))


def _outcomes(dataset: Dataset, asked: _Asked | None) -> Iterator[tuple[int, int, Outcome]]:
    """Give the outcomes in order, each with its number and how many there are."""
    standings = Table(dataset.name, "standings")
    head = standings.cursor("matured")
    commits = standings.read("outcome", "at").drop_nulls("outcome").group_by("outcome").agg(pl.col("at").min()).sort("outcome")
    upto, moments = commits["outcome"].to_list(), commits["at"].to_list()
    columns = ("number", "seq", "event_arrival", "arrival", "event_time", "label", "clock")
    for after in range(0, head, _OUTCOMES_AT_ONCE):
        rows = Table(dataset.name, "outcomes").read(
            *columns, where=pl.col("number").is_between(after + 1, min(after + _OUTCOMES_AT_ONCE, head))
        )
        arrivals = rows["event_arrival"]
        stored = Table(dataset.name, "predictions").read(where=at_arrivals(arrivals) & ~pl.col("answered"))
        said: dict[int, dict[str, Prediction]] = {}
        served, when = dict[int, tuple[str, Prediction]](), dict[int, tuple[datetime | None, int]]()
        for row, prediction in _predictions(dataset, stored):
            if row["served"]:
                served[row["arrival"]] = (row["model"], prediction)
            if row["origin"] in ("live", "backfill") and asked is None:
                said.setdefault(row["arrival"], {})[row["model"]] = prediction
                when[row["arrival"]] = (row["at"] if row["origin"] == "live" else None, row["seq"])
        for row, prediction in _predictions(dataset, asked.rows(arrivals)) if asked else ():
            if not row["answered"]:
                said.setdefault(row["arrival"], {})[row["model"]] = prediction
                when[row["arrival"]] = (None, row["seq"])
        for number, seq, arrival, place, time, label, clock in rows.iter_rows():
            if arrival in said:
                wanted = {model: one for model, one in said[arrival].items() if model in dataset.racing}
                scored = moments[min(bisect_left(upto, number), len(moments) - 1)]
                at, knew = when[arrival]
                one = Outcome(arrival, place, time, label, clock, number, seq, wanted, served.get(arrival), at, knew, scored)
                yield number, head, one


def _predictions(dataset: Dataset, rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Prediction]]:
    kept = rows.select("arrival", "model", "served", "origin", "answered", "at", "seq").iter_rows(named=True)
    yield from zip(kept, task.from_columns(dataset, rows), strict=True)
