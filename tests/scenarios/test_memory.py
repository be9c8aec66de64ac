"""What is remembered of earlier events, and does it stay exact whatever happens?"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from millrace import catalog
from millrace.errors import DatasetError
from tests.shop import Shop

WEEK = """
    event  a  10:00  amount=30 country=DE
    event  b  10:10  amount=50 country=DE
    event  c  10:20  amount=10 country=FR
    event  d  10:06  amount=70 country=DE
    event  e  11:05  amount=20 country=DE
    event  f  13:00  amount=40 country=DE
    label  a  14:00  true
    event  g  13:30  amount=60 country=FR
"""
"""``d`` comes late: ``b`` and ``c`` were before it, and are later by their times."""


def declare(shop: Shop, memory: str) -> None:
    """Let the shop's dataset have a memory."""
    shop.change("from millrace import", "import millrace as m\nfrom millrace import")
    shop.change("    race=", f"    memory={memory},\n    race=")


def redeclare(shop: Shop, old: str, new: str) -> None:
    """Change the memory's definition."""
    shop.change(f"memory={old}", f"memory={new}")


def logged(shop: Shop, *names: str) -> dict[str, tuple[Any, ...]]:
    """Return what was logged of each event."""
    rows = shop.table("features").select("event_id", pl.col("x").struct.unnest()).select("event_id", *names).rows()
    return {event: tuple(values) for event, *values in rows}


def test_each_event_is_told_what_was_before_it(shop: Shop) -> None:
    declare(
        shop,
        '[m.count().by("country").last("1h"), m.since().by("country"), m.mean("amount").by("country").last("1h"),'
        ' m.high("amount").by("country").last("1h"), m.low("amount"), m.total("amount").by("country"),'
        ' m.distinct("country").last("1h"), m.last_value("amount").by("country").alias("before")]',
    )
    shop.arrive(WEEK)
    shop.tick()
    hour = ["count_by_country_1h", "since_by_country", "mean_amount_by_country_1h", "high_amount_by_country_1h"]
    assert logged(shop, *hour) == {
        "a": (0, None, None, None),
        "b": (1, 600, 30, 30),
        "c": (0, None, None, None),
        "d": (2, -240, 40, 50),  # served with what was known, though b is later
        "e": (2, 3300, 60, 70),  # a is an hour older than e, and past; d is remembered at its own time
        "f": (0, 6900, None, None),
        "g": (0, 11400, None, None),
    }
    rest = ["low_amount", "total_amount_by_country", "distinct_country_1h", "before"]
    assert logged(shop, *rest) == {
        "a": (None, 0, 0, None),
        "b": (30, 30, 1, 30),
        "c": (30, 0, 1, None),
        "d": (10, 80, 2, 50),
        "e": (10, 150, 2, 50),
        "f": (10, 170, 0, 20),
        "g": (10, 10, 1, 10),
    }
    report = shop.table("features")
    assert report["memory"].n_unique() == 1
