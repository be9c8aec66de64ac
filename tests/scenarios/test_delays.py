"""How long do answers take, by class, and when can they not be learned as they arrive?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from millrace import catalog, delays, ingest
from millrace.clock import write_moment
from millrace.delays import Delays, measure
from millrace.errors import DatasetError
from tests.shop import Shop

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
LABELS = "labels=Labels(window=timedelta(days=1))"


def stream(shop: Shop, delay: Callable[[bool, np.random.Generator], float | None], days: int = 3, after: int = 0) -> None:
    """Ask an order each quarter of an hour, of which a quarter is sent back; the answer comes after so many hours, or never."""
    draw = np.random.default_rng(1)
    rows: dict[str, list[tuple[datetime, dict[str, object]]]] = {"events": [], "labels": []}
    for i in range(days * 96):
        asked, back = BEGIN + timedelta(minutes=15 * i), bool(draw.random() < 0.25)
        id, hours = f"o{i:04d}", delay(back, draw)
        amount = max(1.0, float(np.round(draw.normal(60.0 if back else 30.0, 15.0))))
        rows["events"].append((asked, {"event_id": id, "event_time": write_moment(asked), "amount": amount, "country": "DE"}))
        if hours is not None:
            known = asked + timedelta(hours=hours)
            rows["labels"].append((known, {"event_id": id, "label": back, "label_time": write_moment(known)}))
    for part in range(after * 4, days * 4):
        start, end = (BEGIN + timedelta(hours=6 * k) for k in (part, part + 1))
        for kind, given in rows.items():
            written = [orjson.dumps(row) for known, row in sorted(given, key=lambda one: one[0]) if start <= known < end]
            if written:
                shop.put(f"{kind}-{part:04d}.ndjson", b"\n".join(written))


def measured(shop: Shop) -> Delays:
    ingest(shop.name)
    return measure(catalog.load(shop.name))


def test_the_delay_of_each_class_is_that_of_first_labels_late_ones_too(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        event  b  10:00
        event  c  10:00
        event  d  10:00
        label  a  11:00  true
        label  b  13:00  true
        label  c  12:00  false
        label  c  14:00  true
        label  e  14:00  true
        label  a  2026-01-07T10:00:00Z  false
        event  f  2026-01-07T10:00:00Z
    """)
    found = measured(shop)
    assert [(one.of, one.answers, one.median, one.late) for one in found.classes] == [
        ("False", 1, 7_200, 7_200),
        ("True", 2, 7_200, 10_080),
    ]
    assert (found.answers, found.unanswered, found.stretch) == (
        3,
        0.25,
        86_400,
    )  # of a to d, whose windows have closed, d has none
    assert (found.differ, found.unsafe) == (False, None), "three answers tell nothing"


def test_answers_whose_delay_says_nothing_are_safe(shop: Shop) -> None:
    stream(shop, lambda back, draw: draw.exponential(4.0), days=7)
    found = measured(shop)
    assert (found.differ, found.unsafe) == (False, None)
    assert [one.of for one in found.classes if one.answers >= delays.ENOUGH] == ["False", "True"]
    assert found.distance is not None and 0 < found.distance < 0.2


def test_while_windows_are_open_only_quick_answers_are_there_and_they_are_not_measured(shop: Shop) -> None:
    stream(shop, lambda back, draw: 1.0 if back else 20.0, days=3)
    found = measured(shop)
    closed = shop.table("events").filter(pl.col("event_time") < pl.lit(shop.status().clock) - timedelta(days=1))
    expected = closed.join(shop.table("labels"), on="event_id")["label"].value_counts().sort("label").rows()
    assert [(one.of == "True", one.answers) for one in found.classes] == expected
    assert sum(count for _, count in expected) == found.answers >= delays.ENOUGH


def test_where_a_window_holds_more_events_than_are_measured_its_silence_is_still_heard(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream(shop, lambda back, draw: draw.exponential(3.0) if back else None, days=7)
    monkeypatch.setattr(delays, "RECENT", 90)  # a window has 96
    monkeypatch.setattr(delays, "ENOUGH", 50)
    found = measured(shop)
    assert found.unanswered is not None and 0.6 < found.unanswered < 0.9
    assert found.unsafe == "no label ever said False: it is told by silence alone"


def test_a_class_that_answers_a_window_later_is_unsafe(shop: Shop) -> None:
    stream(shop, lambda back, draw: draw.exponential(3.0) if back else 20.0, days=7)
    found = measured(shop)
    assert found.differ
    assert found.unsafe is not None
    assert (
        found.unsafe.startswith("of the events of the last 1d, 8") and "of True and 16.7% of False are answered" in found.unsafe
    )


def test_a_difference_that_is_short_beside_the_window_is_told_and_safe(shop: Shop) -> None:
    stream(shop, lambda back, draw: 2.0 + back * 0.75, days=7)
    found = measured(shop)
    assert found.differ and found.distance == 1
    assert found.unsafe is None


def test_an_ad_that_nobody_clicks_says_nothing(shop: Shop) -> None:
    """Only those that are clicked get a label: what arrives is always true."""
    stream(shop, lambda back, draw: draw.exponential(3.0) if back else None, days=7)
    found = measured(shop)
    assert found.unsafe == "no label ever said False: it is told by silence alone"
    shop.change(LABELS, 'labels=Labels(window=timedelta(days=1), default=False, learn="arrival")')
    assert measured(shop).unsafe == "no label ever said False: it is told by silence alone"
    [problem] = [problem for problem in shop.status().problems if "unsafe" in problem]
    assert "told by silence alone" in problem and "learn='window' holds each answer 1d" in problem and "shop.py" in problem

    shop.change('learn="arrival"', 'learn="window"')
    assert not [problem for problem in shop.status().problems if "unsafe" in problem], "nothing is learned before its time"
    told = orjson.loads(shop.status().as_json())["delays"]
    assert [one["of"] for one in told["classes"]] == ["False", "True"]
    assert told["classes"][0]["median"] is None and 5_000 < told["classes"][1]["median"] < 10_000

    shop.change(', learn="window"', "")
    with pytest.raises(DatasetError) as refused:
        catalog.load("shop")
    said = str(refused.value)
    assert said.startswith(f"{shop.path}:") and "default=False must say when it is learned" in said
    assert "False: no answers; True: 1" in said and "never answered: 7" in said
    assert "learn='window'" in said and "learn='provisional'" in said


def test_a_default_must_say_when_it_is_learned_before_anything_has_arrived(shop: Shop) -> None:
    shop.change(LABELS, "labels=Labels(window=timedelta(days=1), default=False)")
    with pytest.raises(DatasetError, match="No answer has arrived yet to measure delays by"):
        catalog.load("shop")


def test_a_default_is_told_the_delays_of_the_history(shop: Shop) -> None:
    asked = [BEGIN + timedelta(minutes=i) for i in range(400)]
    back = [i % 3 == 0 for i in range(400)]
    columns = {"event_time": asked, "amount": 30.0, "country": "DE", "label": back}
    history = pl.DataFrame({"event_id": [str(i) for i in range(400)], **columns}).with_columns(
        (pl.col("event_time") + pl.when("label").then(timedelta(hours=1)).otherwise(timedelta(hours=9))).alias("label_time")
    )
    history.write_parquet(shop.path.parent / "orders.parquet")
    shop.change(LABELS, 'labels=Labels(window=timedelta(days=1), default=False), history="orders.parquet"')
    with pytest.raises(DatasetError) as refused:
        catalog.load("shop")
    said = str(refused.value)
    assert (
        "The 400 answers of its history: False: 266 answers, median 9h, nine of ten within 9h; True: 134 answers, median 1h"
        in said
    )
    assert "of the events of the last 1d, 95.8% of True and 62.5% of False are answered" in said


def test_numbers_are_measured_by_the_quarter_of_their_values(shop: Shop) -> None:
    """The higher, the later: as damages are."""
    asked = [BEGIN + timedelta(minutes=i) for i in range(800)]
    history = pl.DataFrame({"event_id": [str(i) for i in range(800)], "event_time": asked, "amount": 30.0, "country": "DE"})
    value = pl.int_range(pl.len()).mul(7).mod(100).cast(pl.Float64).alias("label")
    late = (pl.col("event_time") + pl.duration(minutes=pl.col("label") * 12)).alias("label_time")
    history.with_columns(value).with_columns(late).write_parquet(shop.path.parent / "damages.parquet")
    shop.change('task="binary"', 'task="regression", history="damages.parquet"')
    shop.change("label=pl.Boolean", "label=pl.Float64")
    shop.change('loss="log"', 'loss=Loss("absolute", scale=10)')
    shop.change('metrics=["Accuracy"]', 'metrics=["MAE"]')
    shop.change("from millrace import", "from millrace.loss import Loss\nfrom millrace import")
    found = measure(catalog.load("shop"), stored=True)
    assert [one.of for one in found.classes] == ["0 to 24.75", "24.75 to 49.5", "49.5 to 74.25", "74.25 to 99"]
    assert [one.median for one in found.classes] == [12 * 720, 37 * 720, 62 * 720, 87 * 720]
    assert found.unsafe is not None and "0 to 24.75" in found.unsafe

    unclaimed = pl.when(pl.col("label") > 60).then("label").alias("label")  # no claim: no damage, after a day
    stored = pl.read_parquet(shop.path.parent / "damages.parquet")
    stored.with_columns(unclaimed).write_parquet(shop.path.parent / "damages.parquet")
    shop.change(LABELS, 'labels=Labels(window="1d", default=0.0, learn="window")')
    found = measure(catalog.load("shop"), stored=True)
    assert [(one.of, one.answers) for one in found.classes] == [("0 to 74.25", 112), ("74.25 to 99", 200)]
    assert found.unsafe is not None and "of 0 to 74.25 are answered" in found.unsafe, "three quarters are told by silence"


def test_flights_are_later_when_late_and_safe(bundled: Path) -> None:
    found = measure(catalog.load("flights"), stored=True)
    assert (found.source, found.differ, found.unsafe) == ("history", True, None)
    assert [(one.of, one.median) for one in found.classes] == [("False", 163 * 60), ("True", 213 * 60)]
