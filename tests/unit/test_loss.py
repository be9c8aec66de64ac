"""Is each loss what it says, bounded, and the worst for what a model had nothing to say of?"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import DatasetError
from millrace.loss import LOSSES, Loss, Prediction

LOG, BRIER, ZERO_ONE = Loss("log"), Loss("brier"), Loss("zero_one")
ABSOLUTE, SQUARED, QUANTILE = (
    Loss("absolute", scale=10.0),
    Loss("squared", scale=10.0),
    Loss("quantile", scale=10.0, quantile=0.9),
)
BANK = Loss("cost", costs={(False, True): 5, (True, False): 1}, threshold=0.2)
DESK = Loss("cost", costs={("cheap", "dear"): 7, ("dear", "cheap"): 2})
EVERY = [LOG, BRIER, ZERO_ONE, ABSOLUTE, SQUARED, QUANTILE, BANK, DESK]


@pytest.mark.parametrize(
    ("loss", "prediction", "label", "found"),
    [
        (LOG, {True: 0.25, False: 0.75}, True, math.log(4)),
        (LOG, {True: 0.001, False: 0.999}, True, math.log(100)),  # clipped at 0.01
        (LOG, {True: 1.0, False: 0.0}, True, 0.0),
        (BRIER, {True: 0.25, False: 0.75}, True, 0.75**2 * 2),
        (BRIER, {"a": 0.5, "b": 0.3, "c": 0.2}, "a", 0.25 + 0.09 + 0.04),
        (ZERO_ONE, {"a": 0.5, "b": 0.3, "c": 0.2}, "a", 0.0),
        (ZERO_ONE, {"a": 0.5, "b": 0.3, "c": 0.2}, "c", 1.0),
        (ABSOLUTE, 3.0, 5.5, 2.5),
        (ABSOLUTE, 3.0, 25.0, 10.0),
        (SQUARED, 3.0, 5.0, 4.0),
        (SQUARED, 3.0, 25.0, 100.0),
        (QUANTILE, 3.0, 5.0, 0.9 * 2),  # too low is nine times as bad as too high
        (QUANTILE, 5.0, 3.0, 0.1 * 2),
        (QUANTILE, 3.0, 1e9, 10.0),
        (BANK, {True: 0.3, False: 0.7}, True, 0.0),  # 0.3 is above the threshold, so True is decided
        (BANK, {True: 0.3, False: 0.7}, False, 1.0),
        (BANK, {True: 0.1, False: 0.9}, True, 5.0),
        (DESK, {"cheap": 0.6, "dear": 0.4}, "dear", 7.0),
        (DESK, {"cheap": 0.4, "dear": 0.6}, "cheap", 2.0),
        (DESK, {"cheap": 0.6, "dear": 0.4}, "cheap", 0.0),
    ],
)  # fmt: skip
def test_what_a_prediction_costs(loss: Loss, prediction: Prediction, label: Any, found: float) -> None:
    assert loss.of(prediction, label) == pytest.approx(found, abs=1e-15)


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: f"{loss.name} {loss.worst:g}")
def test_nothing_said_and_a_class_that_is_not_named_cost_the_most(loss: Loss) -> None:
    if "regression" in LOSSES[loss.name]:
        assert loss.of(None, 3.0) == loss.of(math.nan, 3.0) == loss.of(math.inf, 3.0) == loss.worst
    else:
        assert loss.of({}, "new") == loss.of(None, "new") == loss.of({"old": 1.0, "older": 0.0}, "new") == loss.worst


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: f"{loss.name} {loss.worst:g}")
def test_a_class_with_probability_0_costs_what_one_that_is_left_out_does(loss: Loss) -> None:
    if "regression" not in LOSSES[loss.name]:
        assert loss.of({"a": 0.5, "b": 0.5, "new": 0.0}, "new") == loss.of({"a": 0.5, "b": 0.5}, "new") == loss.worst
        assert loss.of({True: 1.0, False: 0.0}, False) == loss.of({True: 1.0}, False) == loss.worst


@given(st.sampled_from([LOG, BRIER, ZERO_ONE, DESK]), st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 4))
def test_a_loss_of_probabilities_is_bounded(loss: Loss, weights: list[float], label: int) -> None:
    total = sum(weights) or 1.0
    names = ["cheap", "dear", "c", "d", "e"]
    said = {name: weight / total for name, weight in zip(names, weights, strict=False)}
    assert 0 <= loss.of(said, names[label]) <= loss.worst


@given(st.sampled_from([ABSOLUTE, SQUARED, QUANTILE]), st.floats(allow_nan=True), st.floats(-1e300, 1e300))
def test_a_loss_of_a_value_is_bounded(loss: Loss, said: float, label: float) -> None:
    assert 0 <= loss.of(said, label) <= loss.worst


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"name": "cost", "costs": {(False, True): -1}}, "must be 0 or more, and some above 0"),
        ({"name": "cost", "costs": {(False, True): 0}}, "must be 0 or more, and some above 0"),
        ({"name": "cost", "costs": {(False, True): 1}, "threshold": 20}, "threshold=20 is a probability"),
        ({"name": "cost"}, "needs costs"),
        ({"name": "absolute"}, "needs a scale"),
        ({"name": "quantile", "scale": 1.0, "quantile": 90}, "quantile=90 lies between 0 and 1"),
        ({"name": "brie"}, "did you mean"),
    ],
)
def test_a_loss_that_cannot_be_right_is_refused(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        Loss(**declared)
