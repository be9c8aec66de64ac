"""How does each model stand after a number of outcomes?

Its loss and metrics since its first labelled prediction, and of a shadow the difference to the champion in this reign, over the
same labelled events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from millrace import interventions, layout, metrics
from millrace.clock import now
from millrace.dataset import PRIOR, Dataset
from millrace.interventions import Intervention
from millrace.loss import Prediction
from millrace.promotions import Promotion
from millrace.reign import Reign

RECENT = 1_000
"""Labelled events in the recent loss."""


@dataclass
class _Racer:
    """A model's score since its first labelled prediction.

    ``failed`` are the metrics that could not take a label, and why; they go no further, and have no value.
    """

    metrics: list[Any]
    failed: dict[str, str] = field(default_factory=dict)
    labelled: int = 0
    empty: int = 0
    loss: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))


class Race:
    """The fold: what is known after a number of outcomes. It is pickled between runs."""

    def __init__(self) -> None:
        self.racers: dict[str, _Racer] = {}
        self.reign = Reign()
        self.number = 0  # of promotions
        self.pinned = False
        self.outcome, self.seq = 0, 0
        self.place = 0  # the arrival at which the outcome was final
        self.clock: datetime | None = None

    def score(self, dataset: Dataset, said: Mapping[str, Prediction], label: Any, arrival: int) -> None:
        """Score what each model said of one event, now that its label is known.

        Of an event that arrived in a champion's reign, and that the champion did not predict, what was served in its place is
        compared with the shadows: what ``prior`` said. So a champion that predicts no more is judged by what it leaves to others,
        and gives way. One that arrived before is not its to answer for.
        """
        losses = {model: dataset.race_loss.of(prediction, label) for model, prediction in said.items()}
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
            metrics.update_each(racer.metrics, racer.failed, said[model], label)
        if self.reign.champion not in losses and PRIOR in losses and arrival > self.reign.place:
            losses[self.reign.champion] = losses[PRIOR]
        self.reign.see(dataset, losses, self.clock)

    def promote(self, model: str, reason: str, evidence: str) -> Promotion:
        """Let another model be champion from here on."""
        before, self.number = self.reign.champion, self.number + 1
        self.reign = Reign(model, before, self.clock, self.place)
        return Promotion(self.number, self.seq, model, before, reason, evidence, self.clock, outcome=self.outcome)

    def stand(self, promotion: Promotion) -> None:
        """Let a promotion stand that is on record."""
        self.number, self.reign = promotion.number, Reign(promotion.model, promotion.before, self.clock, self.place)

    def replace(self, dataset: Dataset) -> Promotion | None:
        """Let the best of the others stand in for a champion that is no longer in the dataset's file."""
        if self.pinned or self.reign.champion in dataset.racing:
            return None
        evidence = orjson.dumps({"removed": self.reign.champion, "loss": dataset.race_loss.name}).decode()
        return self.promote(self.reign.heir(dataset), f"{self.reign.champion!r} is no longer in the dataset's file", evidence)

    def decide(self, dataset: Dataset) -> Promotion | None:
        """Promote by the rule; None for nobody."""
        reign, shadows = self.reign, len(self.reign.pairs)
        if self.pinned or (found := reign.challenger(dataset)) is None:
            return None
        return self.promote(found.model, found.reason(dataset, shadows), found.evidence(dataset, shadows))

    def obey(self, order: Intervention) -> Promotion | None:
        """Do what a person has ordered; return the promotion where it is one."""
        if order.action not in interventions.PROMOTING:
            self.pinned = order.action == "pin"
            return None
        if order.model is None or order.model == self.reign.champion:
            return None
        return self.promote(order.model, f"by hand: {order.reason}", orjson.dumps({"intervention": order.number}).decode())

    def rows(self, dataset: Dataset, sha256: str, environment: str, rule: str) -> pl.DataFrame:
        """Return how the models stand, as rows of the table ``standings``.

        Parameters
        ----------
        sha256, environment
            The race's state, and where it was made.
        rule
            By what its outcomes were scored (:mod:`millrace.rule`).
        """
        found = {verdict.model: verdict for verdict in self.reign.verdicts(dataset, over="reign")}
        common = {"seq": self.seq, "outcome": self.outcome, "clock": self.clock, "sha256": sha256, "at": now()}
        common |= {"environment": environment, "rule": rule}
        rows: list[dict[str, Any]] = []
        for model, racer in self.racers.items():
            row: dict[str, Any] = {"model": model, "labelled": racer.labelled, "empty": racer.empty}
            row |= {"loss": racer.loss / racer.labelled, "recent_loss": sum(racer.recent) / len(racer.recent)}
            row["metrics"] = orjson.dumps(metrics.values(racer.metrics, racer.failed)).decode()
            said = metrics.confusion(racer.metrics)
            row["confusion"] = None if said is None else orjson.dumps(said).decode()
            if (one := found.get(model)) is not None:
                row |= {"paired": one.labels, "difference": one.difference, "lower": one.lower, "upper": one.upper}
            if model == self.reign.champion and self.reign.worse_since and self.reign.judged:
                over, labels, by = self.reign.judged
                row |= {"worse_since": self.reign.worse_since, "worse_over": over, "worse_labels": labels, "worse_by": by}
            rows.append(row | common)
        nobody = [{"model": PRIOR, "labelled": 0, "empty": 0, "metrics": "{}", **common}]
        return pl.DataFrame(rows or nobody, schema=layout.schemas(dataset)["standings"])
