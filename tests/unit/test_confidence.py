"""Do the bounds hold at all moments at once, and are they as tight as they can be told to be?"""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.race import NEVER, forecasts, in_vain, promoted
from millrace.confidence import BETS, Confidence
from millrace.dataset import Race

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


def known(differences: list[float]) -> Confidence:
    """What is known after these differences."""
    found = Confidence()
    for one in differences:
        found.add(one)
    return found


def empirical_bernstein(differences: list[float], level: float) -> float:
    """The lower bound of the mean by the empirical-Bernstein supermartingale of the same bets, around 0."""
    total, squares = sum(differences), sum(one * one for one in differences)

    def wealth(mean: float) -> float:
        each = [bet * (total - len(differences) * mean) + (math.log1p(-bet) + bet) * squares for bet in BETS]
        most = max(each)
        return most + math.log(sum(math.exp(one - most) for one in each) / len(each))

    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if wealth(middle) > -math.log(level) else (low, middle)
    return low


@given(DIFFERENCES, st.sampled_from([0.5, 0.05, 0.001]))
def test_the_bounds_enclose_the_mean_and_are_no_wider_than_empirical_bernstein(differences: list[float], level: float) -> None:
    found = known(differences)
    lower, upper = found.interval(level)
    assert -1 <= lower <= found.mean + 1e-12 and found.mean - 1e-12 <= upper <= 1
    assert lower >= empirical_bernstein(differences, level) - 1e-9
    assert upper <= -empirical_bernstein([-one for one in differences], level) + 1e-9


@given(DIFFERENCES, st.sampled_from([0.5, 0.05]))
def test_evidence_is_a_lower_bound_above_zero(differences: list[float], level: float) -> None:
    found = known(differences)
    lower, _ = found.interval(level)
    if abs(lower) > 1e-9:
        assert found.is_above(level) == (lower > 0)


@given(DIFFERENCES, st.integers(0, 60))
def test_it_goes_on_from_a_pickle_to_the_same_bits(differences: list[float], cut: int) -> None:
    taken_up = pickle.loads(pickle.dumps(known(differences[:cut])))
    for one in differences[cut:]:
        taken_up.add(one)
    assert taken_up == known(differences)


@pytest.mark.parametrize("always", [1.0, -1.0])
def test_differences_as_large_as_they_get_are_finite(always: float) -> None:
    lower, upper = known([always] * 1_000).interval(0.05)
    assert (lower > 0.9) == (always > 0) and (upper < -0.9) == (always < 0)


def test_a_chance_is_wrong_at_any_of_many_looks_no_more_often_than_the_level() -> None:
    """Fair coins, the hardest case: looked at after each of 400 throws, at a level of 20%."""
    coins = np.random.default_rng(7).choice([-1.0, 1.0], size=(400, 500))
    share = float((promoted(coins, Race(minimum=1, cooldown=0, level=0.2)) < NEVER).mean())
    assert 0.01 < share <= 0.2


def test_the_simulation_bets_as_the_race_does() -> None:
    streams = forecasts("better", 1.5, seed=11, streams=3, labels=600)
    rule = Race(minimum=50, level=0.05, window=200)
    when = promoted(streams.differences, rule)
    assert streams.gain > 0.1 and in_vain(streams, when) == 0
    for differences, label in zip(streams.differences.T, when, strict=True):
        reign = Confidence()  # the one shadow has half of the level; the other half is kept for one that joins
        looks = [(reign, 2)]
        found = NEVER
        for number, one in enumerate(differences.tolist(), start=1):
            if number > 1 and (number - 1) % 200 == 0:
                start = (number - 1) // 200
                looks = [(reign, 2), (Confidence(), (start + 1) * (start + 2))]
            for look, _ in looks:
                look.add(one)
            if any(look.number >= 50 and look.is_above(rule.level / 2 / part) for look, part in looks):
                found = number
                break
        assert found == label < NEVER
