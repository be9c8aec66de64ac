"""What would each way to serve have given, outcome by outcome: what was served, each model, the best in hindsight, a policy?

Each is counted over the same outcomes, by the dataset's loss and metrics, and beside what was served.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from millrace import metrics
from millrace.dataset import PRIOR, Dataset
from millrace.loss import Prediction
from millrace.standings import Race

SERVED, POLICY, BEST = "what was served", "this policy", "the best in hindsight"


@dataclass
class Line:
    """What one way to serve would have given: mean ``loss`` and ``metrics`` over ``labelled`` events, ``changes`` of model;
    ``gain`` is by how much its mean loss is lower than that of what was served, over the events of both."""

    name: str
    labelled: int = 0
    loss: float | None = None
    gain: float | None = None
    changes: int | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Reign:
    """A stretch of events, in order of arrival, that one model served."""

    model: str
    first: datetime
    last: datetime
    events: int


@dataclass
class Outcome:
    """An outcome, what was said of its event, and what tells which promotions had taken effect then.

    ``place`` is the arrival at which it was final; ``at`` is when the event was predicted (None where that was not in service;
    then ``knew`` counts, the seq that was known), ``scored`` when the race came to the outcome.
    """

    arrival: int
    place: int
    time: datetime
    label: Any
    clock: datetime
    number: int
    seq: int
    said: Mapping[str, Prediction]
    served: tuple[str, Prediction] | None
    at: datetime | None
    knew: int
    scored: datetime


class Tally:
    """The accounts of one way to serve: how many labels, their losses, and who it was, if that ``changes``."""

    def __init__(self, dataset: Dataset, changes: bool) -> None:
        self._dataset, self._metrics, self._changes = dataset, metrics.build(dataset), changes
        self._failed = dict[str, str]()
        self.labelled, self.sum, self.both, self.difference = 0, 0.0, 0, 0.0
        self.models: list[tuple[int, datetime, str]] = []

    def add(self, one: Outcome, model: str, prediction: Prediction, beside: float | None) -> float:
        """Count what a model said of an event; ``beside`` is the loss of what was served."""
        loss = float(self._dataset.race_loss.of(prediction, one.label))
        self.labelled, self.sum = self.labelled + 1, self.sum + loss
        if self._changes:
            self.models.append((one.arrival, one.time, model))
        if beside is not None:
            self.both, self.difference = self.both + 1, self.difference + beside - loss
        metrics.update_each(self._metrics, self._failed, prediction, one.label)
        return loss

    def line(self, name: str) -> Line:
        """Return what was counted."""
        if not self.labelled:
            return Line(name)
        gain = self.difference / self.both if self.both else None
        changes = len(self.reigns()) - 1 if self._changes else None
        return Line(name, self.labelled, self.sum / self.labelled, gain, changes, metrics.values(self._metrics, self._failed))

    def reigns(self) -> list[Reign]:
        """Return who served when, in order of arrival."""
        found: list[Reign] = []
        for _, time, model in sorted(self.models):
            if found and found[-1].model == model:
                last = found[-1]
                found[-1] = Reign(model, last.first, max(last.last, time), last.events + 1)
            else:
                found.append(Reign(model, time, time, 1))
        return found


class Ways:
    """What was served, what a policy would have, each model, and the best of each ``stretch`` of labels, outcome by outcome.

    The policy is that of ``dataset``: its models and its rule of the race.
    """

    def __init__(self, dataset: Dataset, stretch: int) -> None:
        self._dataset, self._length, self._race = dataset, stretch, Race()
        self._tallies = {name: Tally(dataset, name not in dataset.racing) for name in (SERVED, BEST, *dataset.racing, POLICY)}
        self._promoted: list[str] = [PRIOR]
        self._scored: list[datetime] = []
        self._seqs: list[int] = []
        self._stretch: list[tuple[Outcome, float | None]] = []

    def see(self, one: Outcome) -> None:
        """Count an outcome, and look whether the rule would have promoted a model."""
        beside = self._tallies[SERVED].add(one, *one.served, None) if one.served else None
        effective = bisect_left(self._scored, one.at) if one.at else bisect_right(self._seqs, one.knew)
        champion = self._promoted[effective]
        champion = champion if champion in one.said else PRIOR
        for model, prediction in one.said.items():
            self._tallies[model].add(one, model, prediction, beside)
        if champion in one.said:
            self._tallies[POLICY].add(one, champion, one.said[champion], beside)
        self._stretch.append((one, beside))
        if len(self._stretch) == self._length:
            self._close()
        self._race.outcome, self._race.seq, self._race.place, self._race.clock = one.number, one.seq, one.place, one.clock
        self._race.score(self._dataset, one.said, one.label, one.arrival)
        if promotion := self._race.decide(self._dataset):
            self._promoted.append(promotion.model)
            self._scored.append(one.scored)
            self._seqs.append(one.seq)

    def _close(self) -> None:
        """Choose the model that was best in a stretch, among those that predicted all of it."""
        sums = {
            model: sum(self._dataset.race_loss.of(one.said[model], one.label) for one, _ in self._stretch)
            for model in self._dataset.racing
            if all(model in one.said for one, _ in self._stretch)
        }
        if sums:
            best = min(sums, key=lambda model: (sums[model], model))
            for one, beside in self._stretch:
                self._tallies[BEST].add(one, best, one.said[best], beside)
        self._stretch = []

    def told(self) -> tuple[list[Line], dict[str, list[Reign]]]:
        """Return what was counted, a line a way; and who served when, by what was and what would have been."""
        self._close()
        lines = []
        for name, tally in self._tallies.items():
            one = tally.line(f"{name}, each {self._length:,} labels" if name == BEST else name)
            if name in self._dataset.racing:
                one.name = f"{name} alone"
            lines.append(one)
        return lines, {name: self._tallies[name].reigns() for name in (SERVED, POLICY)}
