"""Is the loss of predictions estimated well before their labels are there?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from millrace.cohorts import Said
from millrace.estimate import Estimate, estimate
from millrace.loss import Loss

DAY = 86_400 * 10**6
Numbers = np.ndarray[Any, np.dtype[np.float64]]


def world(
    seed: int, said: Callable[[Numbers], Numbers] = lambda true: true, classes: int = 2, events: int = 6_000
) -> tuple[Said, Said]:
    """A month of events with known probabilities, and what a model says of them; the window is a week.

    Returns those whose window has closed, and the others, whose labels a model does not see.
    """
    draw = np.random.default_rng(seed)
    true = draw.dirichlet([0.6 * 2**i for i in range(classes)], events)
    came = (draw.random((events, 1)) > true.cumsum(axis=1)).sum(axis=1)
    time = np.sort(draw.integers(0, 30 * DAY, events))
    names: list[Any] = [False, True] if classes == 2 else list("abcd"[:classes])
    spoken = [dict(zip(names, map(float, row), strict=True)) for row in said(true)]
    label = [names[i] for i in np.minimum(came, classes - 1)]

    def those(mask: np.ndarray[Any, Any]) -> Said:
        at = np.flatnonzero(mask)
        return Said([spoken[i] for i in at], [label[i] for i in at], time[at], time[at] + 7 * DAY)

    closed = time + 7 * DAY < 30 * DAY
    return those(closed), those(~closed)


def mean(loss: Loss, said: Said) -> float:
    return float(np.mean([loss.of(*pair) for pair in zip(said.predictions, said.label, strict=True)]))


def sure(true: Numbers) -> Numbers:
    """A model that exaggerates."""
    return np.asarray(true**3 / (true**3).sum(axis=1, keepdims=True))


def turned(said: Said) -> Said:
    """The same, but from the middle of the month on the contrary comes."""
    label = [not one if time >= 15 * DAY else one for one, time in zip(said.label, said.time, strict=True)]
    return Said(said.predictions, label, said.time, said.known)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("said", [lambda true: true, sure, lambda true: true[:, ::-1]], ids=["calibrated", "too sure", "wrong"])
@pytest.mark.parametrize("name", ["log", "brier", "zero_one"])
def test_the_estimate_comes_within_its_stated_error(classes: int, said: Callable[[Numbers], Numbers], name: str) -> None:
    loss = Loss(name)
    matured, waiting = world(1, said, classes)
    found = estimate(loss, matured, waiting, timedelta(days=1))
    assert found.loss is not None and found.error is not None
    assert abs(found.loss - mean(loss, waiting)) <= found.error
    assert found.error < 0.35 * found.loss, "a cohort has two hundred events, and chance of its own"
    assert found.events == len(waiting.predictions)


def test_of_calibrated_predictions_it_is_what_they_say_themselves() -> None:
    for seed in range(5):
        matured, waiting = world(seed, events=10_000)
        found = estimate(Loss("log"), matured, waiting, timedelta(days=1))
        said = [sum(p * Loss("log").of(one, y) for y, p in one.items()) for one in waiting.predictions if isinstance(one, dict)]
        assert found.loss == pytest.approx(np.mean(said), rel=0.06)


def test_of_past_cohorts_is_told_what_came_and_what_was_expected_by_what_was_known() -> None:
    loss = Loss("log")
    matured, waiting = world(2, events=7_000)
    found = estimate(loss, matured, waiting, timedelta(days=1))
    past = [one for one in found.cohorts if one.loss is not None]
    assert [one.start.day for one in past] == list(range(1, 24)), "of 30 days those whose window of a week has closed"
    assert [one.estimate is None for one in past] == [True] * 8 + [False] * 15, "in the first week nothing had matured"
    assert all(one.loss is None and one.estimate for one in found.cohorts[len(past) :])

    again = estimate(loss, turned(matured), waiting, timedelta(days=1))
    assert [one.estimate for one in again.cohorts[:22]] == [one.estimate for one in past[:22]], "what came later was not known"
    assert again.loss != found.loss


def test_a_world_that_has_turned_shows_in_the_error() -> None:
    matured, waiting = world(3)
    before = estimate(Loss("log"), matured, waiting, timedelta(days=1))
    after = estimate(Loss("log"), turned(matured), waiting, timedelta(days=1))
    assert before.error is not None and after.error is not None
    assert after.error > 5 * before.error


def test_too_little_has_matured_to_tell() -> None:
    matured, waiting = world(4, events=200)
    assert estimate(Loss("log"), matured, waiting, timedelta(days=1)).loss is None
    assert estimate(Loss("log"), Said.nothing(), Said.nothing(), timedelta(days=1)) == Estimate(0, None, None, [])


def test_a_prediction_that_says_nothing_costs_the_most() -> None:
    matured, waiting = world(5)
    silent = Said([{} for _ in waiting.predictions], waiting.label, waiting.time, waiting.known)
    assert estimate(Loss("log"), matured, silent, timedelta(days=1)).loss == pytest.approx(Loss("log").worst)
