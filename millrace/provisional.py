"""How does a model learn that an event has the default label, before it is known that it has not?

Where ``learn="provisional"``, each event is learned at once with the default, and again with the contrary label if that comes:
every positive is a fake negative first. So the share of positives that a model sees is ``b = p / (1 + p)``, where ``p`` is
the true one. Two corrections give ``p`` back, both of S. Ktena et al., *Addressing delayed feedback for continuous training
with neural networks in CTR prediction*, RecSys 2019 (arXiv 1907.06558, sections 3.4 and 3.5):

=====================  =============================================================  ==========================
correction             learns                                                         says
=====================  =============================================================  ==========================
fake negative          a positive with weight ``1 + p``, a negative with              what the model says
weighting              ``(1 - p)(1 + p)``; ``p`` is what it says before it learns
fake negative          without weights                                                ``b / (1 - b)``, at most 1
calibration
=====================  =============================================================  ==========================

A model that takes a weight is given the first, any other the second.

Asking a learner is here a step of the fold like any other: it is asked once an example, at the same places of the log however
it is cut, so what asking may change in a model is changed the same in each fold. It stays exact.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

from typing import Any

from river import base

from millrace import arguments, task
from millrace.prior import PriorClassifier

_SUREST = 0.999
"""What a model that says more is taken to say when it is weighed: of weight 0, a negative would never correct it."""

Row = dict[str, Any]


def corrected(model: Any, default: bool) -> Any:
    """Put the correction that fits around a model.

    Parameters
    ----------
    model
        A binary classifier, exact.
    default
        The label that events are learned with at once; the contrary one is the positive.
    """
    if isinstance(model, PriorClassifier):
        return ProvisionalPrior(default)
    return (FakeNegativeWeighting if "w" in arguments.takes(model) else FakeNegativeCalibration)(model, default)


class Corrected(base.Wrapper, base.Classifier):
    """A binary classifier that learns defaults provisionally.

    Parameters
    ----------
    model
        What learns.
    default
        The label that events are learned with at once.
    """

    def __init__(self, model: Any, default: bool = False) -> None:
        self.model = model
        self.default = default

    @property
    def _wrapped_model(self) -> Any:
        return self.model

    @property
    def _multiclass(self) -> bool:
        return False

    def _said(self, x: Row) -> Any:
        """Return what the model says: a probability a label, and certainty where it knows labels only."""
        try:
            return self.model.predict_proba_one(x)
        except NotImplementedError:
            return task.certain(self.model)(x)


class FakeNegativeWeighting(Corrected):
    """Learns positives with more weight, and negatives with less, by what the model itself says.

    Examples
    --------
    >>> from river.linear_model import LogisticRegression
    >>> model = FakeNegativeWeighting(LogisticRegression())
    >>> model.predict_proba_one({"x": 1.0})[True]  # of an event that it then learns with the default: weight (1 - ½)(1 + ½)
    0.5
    >>> model.learn_one({"x": 1.0}, False)
    >>> by_hand = LogisticRegression()
    >>> by_hand.learn_one({"x": 1.0}, False, w=0.75)
    >>> model.predict_proba_one({"x": 1.0}) == by_hand.predict_proba_one({"x": 1.0})
    True
    """

    def learn_one(self, x: Row, y: Any, **given: Any) -> None:
        """Learn an example; its own weight ``w``, if it has one, is multiplied."""
        p = min(max(self._said(x).get(not self.default, 0.0), 0.0), _SUREST)
        weight = (1 - p) * (1 + p) if y == self.default else 1 + p
        self.model.learn_one(x, y, **{**given, "w": given.get("w", 1.0) * weight})

    def predict_proba_one(self, x: Row, **kwargs: Any) -> Any:
        """Return what the model says."""
        return self._said(x)


class FakeNegativeCalibration(Corrected):
    """Corrects what the model says, which has seen every positive as a negative, too.

    Examples
    --------
    >>> from river.naive_bayes import BernoulliNB
    >>> model = FakeNegativeCalibration(BernoulliNB())
    >>> for y in [False, False, False, False, True]:  # of four events one is positive: it was learned as both
    ...     model.learn_one({}, y)
    >>> round(model.model.predict_proba_one({})[True], 3), round(model.predict_proba_one({})[True], 3)
    (0.2, 0.25)
    """

    @property
    def many(self) -> bool:
        """Whether the model is asked about many rows at once."""
        return getattr(self.model, "many", False)

    def learn_one(self, x: Row, y: Any, **given: Any) -> None:
        """Learn an example."""
        self.model.learn_one(x, y, **given)

    def predict_proba_one(self, x: Row, **kwargs: Any) -> Any:
        """Return the corrected probabilities; nothing where the model says nothing."""
        return self._calibrated(self._said(x))

    def predict_proba_many(self, xs: list[Row]) -> list[dict[bool, float]]:
        """Return what `predict_proba_one` returns for each of `xs`, to the bit."""
        return [self._calibrated(said) for said in self.model.predict_proba_many(xs)]

    def _calibrated(self, said: Any) -> dict[bool, float]:
        if not said:
            return {}
        b = said.get(not self.default, 0.0)
        p = 1.0 if b >= 0.5 else b / (1 - b)  # NaN stays NaN
        return {self.default: 1 - p, not self.default: p}


class ProvisionalPrior(PriorClassifier):
    """The running share of positives among events, each of which is counted once as the default.

    Half a label each is there from the start, as with :class:`~millrace.prior.PriorClassifier`, whose answer this is where no
    default is learned before its label.

    Examples
    --------
    >>> model = ProvisionalPrior(default=False)
    >>> for y in [False, False, True, False]:  # three events, one of them positive
    ...     model.learn_one({}, y)
    >>> model.predict_proba_one({})
    {False: 0.625, True: 0.375}
    """

    def __init__(self, default: bool = False) -> None:
        super().__init__([default, not default])
        self.default = default

    def predict_proba_one(self, x: object, **kwargs: object) -> dict[Any, float]:
        """Return the share of each class, whatever the event."""
        p = (self.counts[not self.default] + 0.5) / (self.counts[self.default] + 1)
        return {self.default: 1 - p, not self.default: p}
