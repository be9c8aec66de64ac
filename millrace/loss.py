"""How bad was one prediction?

The loss decides the race, so it is bounded: one number an example, from 0 to :attr:`Loss.worst`. The worst is also what an
empty prediction costs, and one in which the class that it turned out to be is absent or has probability 0, whatever the loss and
the model: so it is the same whether a model leaves out what it holds to be impossible, or names it with 0. (River's
log loss reaches 34.5; with it a single surprise outweighs a thousand labels. Its cross-entropy is 0 for a class that a model
does not know.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millrace.errors import DatasetError, unknown

LOSSES = {
    "log": ("binary", "multiclass"),
    "brier": ("binary", "multiclass"),
    "zero_one": ("binary", "multiclass"),
    "cost": ("binary", "multiclass"),
    "absolute": ("regression",),
    "squared": ("regression",),
    "quantile": ("regression",),
}
"""The losses by name, and the tasks that each fits."""

SMALLEST = 0.01
"""A probability counts as at least this much in the log loss."""

Prediction = Mapping[Any, float] | float | None
"""The probability of each class, or a value; empty or None where a model has nothing to say."""


@dataclass(frozen=True)
class Loss:
    """A bounded loss.

    Parameters
    ----------
    name
        ``log`` (the probability of the label clipped at 0.01), ``brier`` (the squared error over all classes),
        ``zero_one``, ``cost`` (a cost for each wrong decision), ``absolute``, ``squared``, ``quantile``.
    scale
        For a regression: the error that is as bad as it gets, in the label's unit.
    quantile
        For ``quantile``: which one, between 0 and 1.
    costs
        For ``cost``: what a decision costs, by (decision, label), 0 or more; what is not named costs nothing.
    threshold
        For ``cost`` of a binary task: True is decided from this probability on. Of more classes, the most probable is decided.

    Raises
    ------
    DatasetError
        When the loss does not exist, or something that it needs is missing.

    Examples
    --------
    >>> Loss("log").of({True: 0.5, False: 0.5}, True)
    0.6931471805599453
    >>> Loss("absolute", scale=10.0).of(3.0, 25.0)
    10.0
    """

    name: str
    scale: float | None = None
    quantile: float = 0.5
    costs: Mapping[tuple[Any, Any], float] | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise DatasetError(str(unknown("loss", self.name, LOSSES)))
        if "regression" in LOSSES[self.name] and not (self.scale and self.scale > 0):
            raise DatasetError(
                f"loss {self.name!r} needs a scale, the error that is as bad as it gets: Loss({self.name!r}, scale=10)"
            )
        if self.name == "cost" and not self.costs:
            raise DatasetError("loss 'cost' needs costs, such as Loss('cost', costs={(False, True): 5, (True, False): 1})")
        if self.costs and (min(self.costs.values()) < 0 or max(self.costs.values()) <= 0):
            raise DatasetError(
                f"loss 'cost': costs={dict(self.costs)} must be 0 or more, and some above 0; a gain is what the others cost more"
            )
        if not 0 <= self.threshold <= 1:
            raise DatasetError(f"loss 'cost': threshold={self.threshold} is a probability, from 0 to 1")
        if not 0 < self.quantile < 1:
            raise DatasetError(f"loss 'quantile': quantile={self.quantile} lies between 0 and 1")

    @classmethod
    def of_task(cls, declared: str | Loss, task: str) -> Loss:
        """Return the loss that a dataset declares; refuse one that does not fit its task."""
        loss = declared if isinstance(declared, Loss) else cls(declared)
        if task not in LOSSES[loss.name]:
            fitting = [name for name, tasks in LOSSES.items() if task in tasks]
            raise DatasetError(f"loss {loss.name!r} does not fit a {task} task; available: {', '.join(fitting)}")
        return loss

    @property
    def worst(self) -> float:
        """The largest loss that there is."""
        match self.name:
            case "log":
                return -math.log(SMALLEST)
            case "brier":
                return 2.0
            case "zero_one":
                return 1.0
            case "cost":
                return float(max((self.costs or {}).values()))
            case "squared":
                return float(self.scale or 0) ** 2
            case _:
                return float(self.scale or 0)

    def of(self, prediction: Prediction, label: Any) -> float:
        """Return the loss of one prediction, once its label is known."""
        if isinstance(prediction, Mapping):
            return self._of_probabilities(prediction, label) if prediction else self.worst
        if prediction is None or not math.isfinite(prediction):
            return self.worst
        error = float(label) - prediction
        if self.name == "absolute":
            return min(abs(error), self.worst)
        if self.name == "squared":
            return min(error * error, self.worst)
        return min(max(self.quantile * error, (self.quantile - 1) * error), self.worst)

    def _of_probabilities(self, probabilities: Mapping[Any, float], label: Any) -> float:
        if not probabilities.get(label, 0.0) > 0:
            return self.worst
        if self.name == "log":
            return -math.log(min(max(probabilities[label], SMALLEST), 1.0))
        if self.name == "brier":
            others = sum(p * p for name, p in probabilities.items() if name != label)
            return min(others + (1 - probabilities[label]) ** 2, self.worst)
        decision = max(probabilities, key=probabilities.__getitem__)
        if self.name == "zero_one":
            return float(decision != label)
        if isinstance(label, bool):
            decision = probabilities.get(True, 0.0) >= self.threshold
        return float((self.costs or {}).get((decision, label), 0.0))
