"""What is left after a process was killed, ran out of space, or ran beside another? The accounts of an undisturbed run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.life import POLICIES, account, batches, born, suffering, undisturbed
from tests.faults.zygote import Order, Zygote
from tests.shop import Shop


@pytest.fixture(scope="module")
def zygotes() -> Iterator[list[Zygote]]:
    """Two zygotes, of different hash seeds."""
    found = [Zygote("1"), Zygote("2")]
    yield found
    for one in found:
        one.close()


@pytest.fixture
def living(shop: Shop, mlflow_store: Path, zygotes: list[Zygote]) -> tuple[Shop, dict[str, Any]]:
    """The shop, newly born; and the account of an undisturbed life."""
    expected = expected_of("provisional", shop, mlflow_store, zygotes[0])
    return born(shop, mlflow_store, "provisional"), expected


EXPECTED: dict[str, dict[str, Any]] = {}
"""The account of an undisturbed life by policy, each lived once."""


def expected_of(learn: str, shop: Shop, mlflow_store: Path, zygote: Zygote) -> dict[str, Any]:
    if learn not in EXPECTED:
        found, points = undisturbed(born(shop, mlflow_store, learn), zygote)
        assert len(found["outcomes"]) >= 10
        assert found["counts"]["promotions"] >= (learn == "window")
        assert found["status"]["memory"]["late"] >= 1
        assert points > 100
        EXPECTED[learn] = found
    return EXPECTED[learn]


def test_after_kills_at_points_and_at_moments_the_accounts_are_those_of_an_undisturbed_run(
    shop: Shop, mlflow_store: Path, zygotes: list[Zygote]
) -> None:
    kills = Counter[str]()
    for seed, learn in enumerate(POLICIES):
        expected = expected_of(learn, shop, mlflow_store, zygotes[0])
        one = born(shop, mlflow_store, learn)
        kills += suffering(one, zygotes, random.Random(seed), kills=2)
        assert account(one) == expected, f"seed {seed}, kills {kills}"
        assert zygotes[0].run(Order("verify"))[0].said == "", f"seed {seed}"
    assert kills.total() >= 18, kills


def test_a_disk_that_is_full_is_told_and_loses_nothing(living: tuple[Shop, dict[str, Any]], zygotes: list[Zygote]) -> None:
    shop, expected = living
    for batch in batches():
        shop.arrive(batch)
        for largest in (0, 2_000, 6_000, 20_000, 100_000):
            (outcome,) = zygotes[0].run(Order(largest=largest))
            assert not outcome.killed
            assert outcome.said, f"a tick went well with files of at most {largest} bytes"
            assert "unexpected" not in outcome.said, outcome.said
        assert not zygotes[0].run(Order())[0].said
    assert account(shop) == expected


def test_two_processes_beside_each_other_do_it_once(living: tuple[Shop, dict[str, Any]], zygotes: list[Zygote]) -> None:
    shop, expected = living
    for batch in batches():
        shop.arrive(batch)
        outcomes = zygotes[0].run(Order(), Order(), Order("maintain"))
        assert not any(outcome.said for outcome in outcomes), outcomes
        assert not zygotes[1].run(Order())[0].said
    assert account(shop) == expected
