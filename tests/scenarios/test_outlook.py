"""What is known of predictions while their labels wait?"""

from __future__ import annotations

import math
from dataclasses import replace

import orjson
import polars as pl
import pytest

from millrace import catalog, cohorts, screen
from millrace.outlook import Outlook, outlook
from millrace.waiting import WaitingRoom
from tests.scenarios.test_delays import LABELS, stream
from tests.shop import Shop

DAYS = """
    event  a  2026-01-05T10:00:00Z
    event  b  2026-01-05T10:00:00Z
    event  c  2026-01-05T10:00:00Z
    label  a  2026-01-05T11:00:00Z  true
    label  b  2026-01-05T12:00:00Z  false
    event  d  2026-01-06T12:00:00Z
    event  e  2026-01-06T12:00:00Z
    event  f  2026-01-06T12:00:00Z
    label  d  2026-01-06T13:00:00Z  true
    label  g  2026-01-06T13:00:00Z  true
    event  g  2026-01-06T12:30:00Z
"""


def of_logistic(shop: Shop, labelled: int = 0, loss: float | None = None) -> Outlook:
    return outlook(catalog.load(shop.name), shop.status().clock, {"logistic": (labelled, loss)})["logistic"]


def test_so_far_is_what_has_matured_and_what_was_answered_of_open_windows(shop: Shop) -> None:
    shop.arrive(DAYS)
    shop.tick()
    assert shop.table("outcomes")["event_id"].to_list() == ["a", "b"], "c was never answered, d to g are open"
    found = of_logistic(shop, labelled=2, loss=0.25)
    assert found.waiting == 2, "e and f; g's prediction was made after its answer had come, and counts for nothing"
    assert found.labelled_so_far == 3
    assert found.loss_so_far == pytest.approx((2 * 0.25 + math.log(2)) / 3)
    assert found.estimate is not None and (found.estimate.events, found.estimate.loss) == (3, None), "two outcomes tell nothing"


def test_without_a_window_an_answer_is_final_and_the_others_wait(shop: Shop) -> None:
    shop.change(LABELS, "labels=Labels()")
    shop.arrive(DAYS)
    shop.tick()
    found = of_logistic(shop, labelled=3, loss=0.5)
    assert (found.waiting, found.labelled_so_far, found.loss_so_far) == (3, 3, 0.5)


def columns(shop: Shop) -> list[str]:
    """Name the columns that status shows of what is known while labels wait."""
    return [str(column.header) for column in screen.outlook(shop.status()).columns]


def test_without_a_window_the_answers_so_far_are_shown_once_with_their_mark(shop: Shop) -> None:
    shop.arrive(DAYS)
    shop.tick()
    rest = ["estimate", "predictions that wait", "by cohort, then estimated"]
    assert columns(shop) == ["model", "matured", "so far", *rest]
    assert shop.status().window == "1d"
    shop.change(LABELS, "labels=Labels()")
    assert columns(shop) == ["model", "so far", *rest]
    found = shop.status()
    assert found.delays
    found.delays = replace(found.delays, differ=True)
    assert [str(column.header) for column in screen.outlook(found).columns][:3] == ["model", "so far (biased)", "estimate"]


def test_answered_events_of_open_windows_are_shown_though_none_waits(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.arrive("event  a  10:00\nevent  b  10:05\nlabel  a  11:00  true\nlabel  b  11:00  false")
    shop.tick()
    assert of_logistic(shop).waiting == 0
    screen.status(shop.status())
    assert "log loss, while labels wait" in capsys.readouterr().out
    shop.change(LABELS, "labels=Labels()")
    screen.status(shop.status())
    assert "while labels wait" not in capsys.readouterr().out, "all is answered, and nothing is open"


def test_of_many_open_events_some_stand_for_the_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.arrive("\n".join(f"event  o{i}  10:00" for i in range(12)))
    shop.tick()
    assert of_logistic(shop).waiting == 12
    monkeypatch.setattr(cohorts, "MOST", 5)
    monkeypatch.setattr(cohorts, "STRETCH", 1)
    found = of_logistic(shop)
    assert found.estimate is not None and (found.waiting, found.estimate.events) == (12, 4)


def test_of_many_events_whole_stretches_are_looked_at_so_that_other_files_are_not_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tick in range(4):
        shop.arrive("\n".join(f"event  o{2 * tick + i}  10:00" for i in range(2)))
        shop.tick()
    monkeypatch.setattr(cohorts, "MOST", 4)
    monkeypatch.setattr(cohorts, "STRETCH", 2)
    clock = shop.status().clock
    looked_at = shop.table("predictions").filter(pl.col("event_id").is_in(["o0", "o1", "o4", "o5"]))["arrival"]
    for file in (shop.place / "root" / "shop" / "predictions").glob("*.parquet"):
        arrivals = pl.read_parquet(file, columns=["arrival"])["arrival"]
        if arrivals.len() and not arrivals.is_in(looked_at.implode()).any():
            file.unlink()
    found = outlook(catalog.load(shop.name), clock, {"logistic": (0, None)})["logistic"]
    assert found.estimate is not None and (found.waiting, found.estimate.events) == (8, 4)


def test_provisionally_the_answer_so_far_is_the_first_that_is_contrary(shop: Shop) -> None:
    shop.change(LABELS, 'labels=Labels(window="1d", default=False, learn="provisional")')
    shop.arrive("""
        event  a  10:00
        event  b  10:00
        event  c  10:00
        label  a  11:00  false
        label  a  12:00  true
        label  a  12:30  false
        label  b  13:00  false
    """)
    shop.tick()
    with WaitingRoom(shop.name) as room:
        found = cohorts.open_events(catalog.load(shop.name), room, shop.status().clock)
    assert found.frame["label"].to_list() == [True, False, None]


def test_while_labels_wait_status_shows_an_estimate_with_its_error(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    stream(shop, lambda back, draw: 2.0, days=4)
    shop.tick()
    stream(shop, lambda back, draw: 2.0, days=8, after=4)
    shop.tick()
    found = shop.status()
    waits = 0.0
    for name, model in found.models.items():
        assert model.outlook is not None and model.outlook.estimate is not None
        told = model.outlook.estimate
        [matured, waiting] = [[one for one in told.cohorts if (one.loss is None) == still] for still in (False, True)]
        assert sum(one.events for one in matured) == shop.table("outcomes").height
        assert sum(one.events for one in waiting) == told.events == 96 + 1, "the last window"
        assert told.loss is not None and told.error is not None
        # what was said of the last day, and what came of it
        predictions = shop.table("predictions").filter(pl.col("model") == name)
        rows = predictions.join(shop.table("labels").select("event_id", "label"), on="event_id").tail(80)
        sure = [dict(zip(*pair, strict=True)) for pair in rows.select("classes", "probabilities").iter_rows()]
        losses = [catalog.load("shop").race_loss.of(one, label) for one, label in zip(sure, rows["label"], strict=True)]
        assert abs(told.loss - sum(losses) / len(losses)) < told.error + 0.05
        waits += model.outlook.waiting
    assert waits > 0
    screen.status(found)
    shown = capsys.readouterr().out
    assert "log loss, while labels wait" in shown and "≈ 0." in shown and "so far (biased)" not in shown
    told_as_json = orjson.loads(found.as_json())["models"]["prior"]["outlook"]["estimate"]
    assert told_as_json["cohorts"][0]["start"] == "2026-01-05T00:00:00Z"


def test_a_regression_has_no_estimate_and_says_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.change('task="binary"', 'task="regression"')
    shop.change("label=pl.Boolean", "label=pl.Float64")
    shop.change('loss="log"', 'loss=Loss("absolute", scale=10)')
    shop.change('metrics=["Accuracy"]', 'metrics=["MAE"]')
    shop.change("from millrace import", "from millrace.loss import Loss\nfrom millrace import")
    shop.change("linear_model.LogisticRegression()", "linear_model.LinearRegression()")
    shop.arrive(DAYS.replace("true", "3").replace("false", "2"))
    shop.tick()
    found = of_logistic(shop, labelled=2, loss=1.0)
    assert (found.waiting, found.labelled_so_far, found.estimate) == (2, 3, None)
    assert found.loss_so_far == pytest.approx((2 * 1.0 + 3) / 3)
    screen.status(shop.status())
    assert "there is no estimate for a regression" in capsys.readouterr().out
