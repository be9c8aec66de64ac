"""What became of each event, and where is it final?"""

from __future__ import annotations

import shutil
from typing import Any

import polars as pl
import pytest

from millrace.outcomes import mature
from millrace.proof import verify
from millrace.replay import replay
from millrace.tables import Table
from tests.shop import Shop

COLUMNS = ("number", "seq", "arrival", "event_id", "label")
STORY = """
    event  a  10:00
    event  b  10:05
    label  b  11:00  true
    event  c  11:10
    label  a  11:30  false
    event  d  2026-01-06T10:04:00Z
    event  e  2026-01-06T10:20:00Z
    label  e  2026-01-06T11:00:00Z  true
    label  c  2026-01-06T11:10:01Z  true
    event  f  2026-01-05T09:00:00Z
    label  f  2026-01-06T11:30:00Z  true
    label  g  2026-01-06T11:31:00Z  false
    event  g  2026-01-06T11:30:30Z
    event  h  2026-01-08T10:00:00Z
"""


def outcomes(shop: Shop) -> list[tuple[object, ...]]:
    return shop.table("outcomes").select(COLUMNS).rows()


def test_an_outcome_stands_where_its_window_closed(shop: Shop) -> None:
    shop.arrive(STORY)
    shop.tick()
    # A window is a day: a's closes at d, b's at e, c's too late label is no answer, f came when its own was closed, and those
    # of d, e and g close at h, in order of their times; d has no answer.
    assert [event for _, event, _ in shop.log()] == ["b", "a", "e", "g"]
    assert outcomes(shop) == [
        (1, 2, 6, "a", False),
        (2, 2, 7, "b", True),
        (3, 4, 14, "e", True),
        (4, 4, 14, "g", False),
    ]


def test_without_a_window_each_example_is_an_outcome(shop: Shop) -> None:
    shop.change("labels=Labels(window=timedelta(days=1)),", "")
    shop.arrive(STORY)
    shop.tick()
    log = shop.table("examples").select(pl.col("seq").alias("number"), *COLUMNS[1:]).rows()
    assert [event for _, _, _, event, _ in log] == ["b", "a", "e", "c", "f", "g"]
    assert outcomes(shop) == log


def test_an_example_that_comes_where_a_window_closes_is_counted_in_the_log_at_that_place(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  10:30  true
        event  b  2026-01-06T09:00:00Z
        label  b  2026-01-06T10:00:01Z  false
        label  z  2026-01-06T10:00:02Z  false
    """)
    shop.tick()
    assert outcomes(shop) == [(1, 2, 4, "a", True)]


def test_while_no_row_comes_no_window_closes(shop: Shop) -> None:
    shop.arrive("event  a  10:00\nlabel  a  10:30  true")
    shop.tick()
    assert (outcomes(shop), shop.pending()) == ([], False)
    shop.arrive("event  z  2026-01-06T10:00:00Z")
    shop.tick()
    assert outcomes(shop) == []
    shop.arrive("event  y  2026-01-06T10:00:01Z")
    shop.tick()
    assert outcomes(shop) == [(1, 1, 4, "a", True)]


def test_a_dataset_from_before_gets_the_outcomes_of_its_whole_log(shop: Shop) -> None:
    shop.change("    race=", "    id_horizon=timedelta(days=1),\n    race=")
    for day in range(5, 12):
        shop.arrive(f"event  {day}  2026-01-{day:02d}T10:00:00Z\nlabel  {day}  2026-01-{day:02d}T11:00:00Z  true")
        shop.tick()
    before = outcomes(shop)
    assert [event for *_, event, _ in before] == ["5", "6", "7", "8", "9", "10"]
    shutil.rmtree(shop.place / "root" / "shop" / "outcomes")
    (shop.place / "root" / "shop" / ".layout").write_text("3")
    assert shop.pending()
    shop.tick()
    assert outcomes(shop) == before
    assert not shop.pending()
    shop.arrive("event  12  2026-01-12T10:00:01Z")
    shop.tick()
    assert outcomes(shop) == [*before, (7, 7, 15, "11", True)]


def test_outcomes_that_are_missing_are_named_and_put_back_by_replay(shop: Shop) -> None:
    from deltalake import DeltaTable

    shop.arrive(STORY)
    shop.tick()
    before = outcomes(shop)
    table = DeltaTable(str(shop.place / "root" / "shop" / "outcomes"))
    table.restore(0)
    assert "outcomes: number 1 (event 'a'): is not on record" in verify("shop").problems[0]
    assert replay("shop").outcomes == len(before)
    assert outcomes(shop) == before
    assert verify("shop").problems == []


def test_outcomes_are_the_same_in_parts_and_two_processes_make_them_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.outcomes._ARRIVALS_AT_ONCE", 3)
    append, inside = Table.append, list[str]()

    def competed(table: Table, *arguments: Any) -> None:
        if table.name == "outcomes" and not inside:
            inside.append(table.name)
            mature("shop")
        append(table, *arguments)

    monkeypatch.setattr(Table, "append", competed)
    shop.arrive(STORY)
    shop.tick()
    assert [(number, seq, event) for number, seq, _, event, _ in outcomes(shop)] == [
        (1, 2, "a"),
        (2, 2, "b"),
        (3, 4, "e"),
        (4, 4, "g"),
    ]
    assert next(one for one in verify("shop").proofs if one.things == "outcomes").same == 4
