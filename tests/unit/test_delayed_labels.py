"""Is the simulated stream what its file says, and what do the policies make of it?"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import delayed_labels
from millrace import catalog, join
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.tables import Table
from millrace.waiting import everything
from tests.shop import TEXT, Shop

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ads(bundled: Path) -> Any:
    catalog.load("ads")
    return sys.modules[f"{catalog.PACKAGE}.ads"]


def test_the_stream_is_the_same_each_time_and_as_described(ads: Any) -> None:
    clicks = ads.clicks(1_500)
    assert clicks.equals(ads.clicks(1_500))
    assert not clicks.equals(ads.clicks(1_500, seed=1))
    assert ads.history().equals(clicks.drop("truth"))
    assert clicks["event_time"].is_sorted()
    assert clicks["truth"].mean() == pytest.approx(0.009, rel=0.03)
    bought = clicks.filter(pl.col("label").is_not_null())
    assert bought.height / clicks.height == pytest.approx(0.009, rel=0.1)
    assert bought["label"].all()
    delays = bought["label_time"] - bought["event_time"]
    assert timedelta(0) <= delays.min() <= delays.max() <= ads.WINDOW
    mean = delays.mean()
    assert mean / timedelta(hours=12) == pytest.approx(1, rel=0.15)


def test_each_policy_learns_when_it_says() -> None:
    clicks = pl.DataFrame(
        {
            "event_time": [MIDNIGHT + timedelta(hours=hour) for hour in (0, 1, 9, 20)],
            "label": [None, True, None, None],
            "label_time": [None, MIDNIGHT + timedelta(hours=4), None, None],
        },
        schema={"event_time": pl.Datetime("us", "UTC"), "label": pl.Boolean, "label_time": pl.Datetime("us", "UTC")},
    )
    made = {one: list(delayed_labels.steps(one, clicks, timedelta(hours=6))) for one in delayed_labels.POLICIES}
    asked = [(click, None) for click in range(4)]
    first, second, third, last = asked
    assert made["arrival"] == [first, second, (1, True), (0, False), third, (2, False), last]
    assert made["window"] == [first, second, (0, False), (1, True), third, (2, False), last]
    assert made["provisional"] == [
        first, (0, False), second, (1, False), (1, True), third, (2, False), last, (3, False),
    ]  # fmt: skip


CLICKS = """
    event  0  10:00
    event  1  11:00
    label  1  14:00  true
    event  2  16:00
    event  3  16:01
    event  4  17:00
    label  2  20:00  true
    event  5  22:01
    label  3  22:01  true
    event  6  23:00
    event  7  23:30
"""
"""A window is six hours: 0 and 4 close later than at the very moment, 3 is answered at the last, and that of 5 stays open."""


def test_the_steps_are_those_of_the_log(shop: Shop) -> None:
    shop.arrive(CLICKS)
    ingest("shop")
    upto = infer("shop").events and Table("shop", "features").cursor("infer")
    found = shop.table("labels").select("event_id", "label", "label_time")
    clicks = shop.table("events").join(found, on="event_id", how="left", maintain_order="left")
    for policy in delayed_labels.POLICIES:
        shop.define(TEXT.replace("window=timedelta(days=1)", f'window="6h", default=False, learn="{policy}"'))
        made = delayed_labels.steps(policy, clicks, timedelta(hours=6))
        with everything("shop") as room:
            log = pl.concat([found for _, found in join.again(catalog.load("shop"), room, upto)])
        learned = [(str(click), label) for click, label in made if label is not None]
        assert learned == list(log.select("event_id", "label").iter_rows()), policy


def test_what_is_said_is_right_in_the_third_week_and_at_once_where_it_is_provisional(bundled: Path) -> None:
    found = {one.policy: one for one in delayed_labels.measure(2_500)}
    week = {policy: one.of(14, 21)[2] for policy, one in found.items()}
    assert abs(week["window"]) < 0.1
    assert abs(week["provisional"]) < 0.25
    assert found["arrival"].of(1, 7)[2] > 50
    assert abs(found["provisional"].of(4, 7)[2]) < 1
