"""How good are predictions whose labels are still to come?

Confidence-based performance estimation (NannyML's CBPE; docs/how_it_works/performance_estimation.rst in NannyML/nannyml): a model
that gives probabilities says itself how often it will be wrong, once they are calibrated. They are, on matured events, by
histogram binning (Zadrozny and Elkan, *Obtaining calibrated probability estimates from decision trees and naive Bayesian
classifiers*, ICML 2001). It is an estimate: it holds while labels depend on what the model sees as they did, and its error on
past cohorts is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from millrace.clock import MICROSECOND, from_microseconds
from millrace.cohorts import Said
from millrace.loss import Loss, Prediction

ENOUGH = 200
"""Matured events to calibrate on, at least."""
_COHORT = 30
"""Events that a cohort has, at least, to be compared with its estimate."""
_IN_BIN = 25
"""Matured events in a bin. Few are enough: the expected loss is linear in the shares, so their chance evens out over the bins."""

_Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Cohort:
    """The events of a stretch of time.

    ``loss`` is their mean where they are matured, ``estimate`` what was expected of them by what was known before (None: too
    little).
    """

    start: datetime
    events: int
    loss: float | None
    estimate: float | None


@dataclass(frozen=True)
class Estimate:
    """The mean loss that is expected of ``events`` predictions (None: too little is matured to tell).

    Of past cohorts, nine of ten came within ``error`` of their estimate (None: there are less than three).
    """

    events: int
    loss: float | None
    error: float | None
    cohorts: list[Cohort] = field(default_factory=list)


def estimate(loss: Loss, matured: Said, waiting: Said, length: timedelta) -> Estimate:
    """Estimate the mean loss of waiting predictions, and what such estimates were worth before.

    Parameters
    ----------
    loss
        The loss that decides the race.
    matured, waiting
        What one model had said of events whose outcome is known, and of others. They are to be all events of their time: those
        of an open window that have a label already belong to the waiting ones, for what is answered early is no fair sample.
    length
        Cohorts are stretches of this length, counted from 1970.

    Returns
    -------
    Estimate
        With a cohort for each stretch with matured events, then for each with waiting ones, in order of time. A past cohort's
        estimate is by what was matured at its beginning.
    """
    seen = set(matured.label)
    for prediction in (*matured.predictions, *waiting.predictions):
        seen.update(prediction if isinstance(prediction, dict) else ())
    classes = sorted(seen, key=str)
    before, after = _Sayings(loss, matured.predictions, classes), _Sayings(loss, waiting.predictions, classes)
    truth = np.array([classes.index(label) for label in matured.label], dtype=np.int64)
    incurred = before.losses[np.arange(truth.size), truth] if truth.size else np.zeros(0)
    step, cohorts, errors = length // MICROSECOND, list[Cohort](), list[float]()
    stretch = matured.time // step
    for number in np.unique(stretch):
        own = stretch == number
        mean, expected = float(incurred[own].mean()), None
        known = matured.known <= number * step
        if own.sum() >= _COHORT and known.sum() >= ENOUGH:
            expected = float(before.expected(before, truth, known)[own].mean())
            errors.append(abs(expected - mean))
        cohorts.append(Cohort(from_microseconds(int(number) * step), int(own.sum()), mean, expected))
    if truth.size < ENOUGH or not waiting.predictions:
        return Estimate(len(waiting.predictions), None, _within(errors), cohorts)
    everything = np.ones(truth.size, dtype=bool)
    losses, stretch = after.expected(before, truth, everything), waiting.time // step
    for number in np.unique(stretch):
        own = stretch == number
        cohorts.append(Cohort(from_microseconds(int(number) * step), int(own.sum()), None, float(losses[own].mean())))
    return Estimate(len(waiting.predictions), float(losses.mean()), _within(errors), cohorts)


class _Sayings:
    """Predictions as a table: a row each, a column a class; ``losses`` is what each costs where the label is that class."""

    def __init__(self, loss: Loss, predictions: Sequence[Prediction], classes: Sequence[Any]) -> None:
        rows = [said if isinstance(said, dict) else {} for said in predictions]
        shape = (len(rows), len(classes))
        self.probabilities: _Numbers = np.array([[row.get(name, 0.0) for name in classes] for row in rows]).reshape(shape)
        self.losses: _Numbers = np.array([[loss.of(row, name) for name in classes] for row in rows]).reshape(shape)

    def expected(self, known: _Sayings, truth: np.ndarray[Any, Any], among: np.ndarray[Any, Any]) -> _Numbers:
        """Return what each prediction is expected to cost, calibrated on some of those whose outcome is known."""
        shares = np.column_stack(
            [
                _calibrated(known.probabilities[among, i], truth[among] == i, self.probabilities[:, i])
                for i in range(self.probabilities.shape[1])
            ]
        )
        total = shares.sum(axis=1, keepdims=True)
        shares = np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[1]), where=total > 0)
        return np.asarray((shares * self.losses).sum(axis=1))


def _calibrated(said: _Numbers, came: np.ndarray[Any, Any], asked: _Numbers) -> _Numbers:
    """Return how often a class came where its probability was said to be about as high."""
    bins = max(1, said.size // _IN_BIN)
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, said, side="right")
    events = np.bincount(place, minlength=edges.size + 1)
    share = np.bincount(place, weights=came, minlength=edges.size + 1) / np.maximum(events, 1)
    return np.where(events > 0, share, came.mean())[np.searchsorted(edges, asked, side="right")]


def _within(errors: Sequence[float]) -> float | None:
    """Return the error within which nine of ten lie."""
    return float(np.quantile(errors, 0.9)) if len(errors) >= 3 else None
