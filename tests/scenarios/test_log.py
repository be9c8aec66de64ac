"""Which rows become examples, and where in the log?"""

from __future__ import annotations

import importlib

import pytest

from tests.shop import Shop


def test_an_example_stands_where_the_later_of_its_rows_arrived(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        event  b  10:05
        label  b  11:00  true
        event  c  11:10
        label  a  11:30  false
    """)
    shop.tick()
    assert shop.log() == [(1, "b", True), (2, "a", False)]
    assert shop.status().events_waiting == 1


def test_a_label_before_its_event_waits(shop: Shop) -> None:
    shop.arrive("label  a  12:00  true")
    shop.tick()
    assert (shop.log(), shop.status().labels_waiting) == ([], 1)
    shop.arrive("event  a  11:00")
    shop.tick()
    assert (shop.log(), shop.status().labels_waiting) == ([(1, "a", True)], 0)


def test_a_prediction_made_after_its_answer_is_marked_and_counts_for_nothing(shop: Shop) -> None:
    shop.change("window=timedelta(days=1)", "")  # an answer is final when it is there
    shop.arrive("""
        label  a  12:00  true
        event  a  11:00
        event  b  11:00
        label  b  12:00  true
    """)
    shop.tick()
    marked = shop.table("predictions").select("event_id", "answered").unique().sort("event_id")
    assert list(marked.iter_rows()) == [("a", True), ("b", False)]
    assert shop.status().models["prior"].labelled == 1


def test_an_event_without_a_label_waits_until_its_window_closes(shop: Shop) -> None:
    shop.arrive("event  a  10:00")
    shop.tick()
    assert shop.status().events_waiting == 1
    shop.arrive("event  z  2026-01-06T10:00:01Z")
    shop.tick()
    assert shop.status().events_waiting == 1  # z waits, a's window of a day has closed on the clock of the data


def test_a_label_after_the_window_is_kept_and_not_learned(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        event  b  2026-01-06T09:00:00Z
        label  a  2026-01-06T10:00:01Z  true
        label  b  2026-01-06T10:00:02Z  true
    """)
    report = shop.tick()
    assert shop.log() == [(1, "b", True)]
    assert report.learn and report.learn.join.late == 1
    assert shop.status().labels == 2


def test_a_label_earlier_than_its_event_is_quarantined_when_they_meet(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  09:59  true
    """)
    shop.tick()
    assert shop.log() == []
    assert "is earlier than its event" in shop.reasons()["a"][0]
    assert shop.status().quarantined == 1


def test_the_first_label_is_learned_and_another_value_is_a_correction(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
        label  a  11:01  true
        label  a  11:02  false
        label  a  11:03  false
        label  a  11:04  true
    """)
    shop.tick()
    found = shop.status()
    assert shop.log() == [(1, "a", True)]
    assert (found.labels, found.corrections, found.duplicates) == (3, 2, 2)


def test_an_event_again_is_a_duplicate_and_with_other_content_quarantined(shop: Shop) -> None:
    shop.arrive("event  a  10:00  amount=30")
    shop.tick()
    shop.arrive("""
        event  a  10:00  amount=30
        event  a  10:00  amount=31
        event  b  10:00  amount=30
        event  b  10:00  amount=30
        event  b  10:01  amount=30
    """)
    shop.tick()
    found = shop.status()
    assert (found.events, found.duplicates, found.quarantined) == (2, 2, 2)
    assert "taken in before with other content, line 1 of file 1" in shop.reasons()["a"][0]


def test_the_same_file_again_is_not_taken_in(shop: Shop) -> None:
    row = '{"event_id": "a", "event_time": "2026-01-05T10:00:00Z", "amount": 1, "country": "DE"}\n'
    shop.put("events-1.ndjson", row)
    shop.tick()
    shop.put("events-again.ndjson", row)
    report = shop.tick()
    assert report.ingest and "events-again.ndjson was taken in before, as events-1.ndjson (file 1)" in report.ingest.notes
    assert shop.status().rows == 1


def test_events_are_predicted_by_what_was_published_before_the_labels_beside_them_are_learned(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  10:30  true
        event  b  11:00
        label  b  11:30  true
    """)
    shop.tick()
    shop.arrive("event  c  12:00")
    shop.tick()
    seqs = shop.table("predictions").filter(model="prior").select("event_id", "seq")
    assert list(seqs.iter_rows()) == [("a", 0), ("b", 0), ("c", 2)]


def test_a_model_that_is_better_takes_over(shop: Shop) -> None:
    shop.change("window=timedelta(days=1)", "")  # an answer is final when it is there
    for hour in range(10, 20):
        shop.arrive(f"""
            event  a{hour}  {hour}:00  country=DE
            event  b{hour}  {hour}:01  country=FR
            label  a{hour}  {hour}:30  true
            label  b{hour}  {hour}:31  false
        """)
        shop.tick()
    found = shop.status()
    assert found.champion == "logistic"
    assert found.models["logistic"].loss < found.models["prior"].loss  # type: ignore[operator]
    served = shop.table("predictions").filter("served").sort("arrival")["model"].to_list()
    assert (served[0], served[-1]) == ("prior", "logistic")
    assert len(served) == 20


@pytest.mark.parametrize(("at_once", "files"), [(20_000, 1), (6, 1), (4, 2), (2, 3), (1, 6)])
def test_a_backlog_is_predicted_stretch_by_stretch(shop: Shop, monkeypatch: pytest.MonkeyPatch, at_once: int, files: int) -> None:
    monkeypatch.setattr(importlib.import_module("millrace.infer"), "_EVENTS_AT_ONCE", at_once)
    shop.arrive("""
        event  a  10:00
        label  a  10:30  true
        event  b  11:00
        event  c  11:01
        label  b  11:30  false
        event  d  12:00
        event  e  12:01
        event  f  12:02
        label  f  12:30  false
    """)
    report = shop.tick()
    assert report.infer
    assert (report.infer.events, len(report.infer.files)) == (6, files)
    said = shop.table("predictions").sort("model", "arrival").select("model", "event_id", "seq")
    assert list(said.iter_rows()) == [(model, event, 0) for model in ("logistic", "prior") for event in "abcdef"]


def test_a_model_that_is_declared_later_catches_up_tick_by_tick_and_then_joins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (10, 11, 12):
        shop.arrive(f"""
            event  a{hour}  {hour}:00
            event  b{hour}  {hour}:01
            label  a{hour}  {hour}:30  true
            label  b{hour}  {hour}:31  true
        """)
        shop.tick()
    monkeypatch.setattr("millrace.fold.COMMIT_EVERY", 3)
    shop.change('{"logistic": logistic}', '{"logistic": logistic, "later": other}')
    shop.arrive("event  c  13:00\nlabel  c  13:30  true")
    first = shop.tick()
    assert first.learn is not None
    assert [(one.model, one.learned, one.behind) for one in first.learn.folds] == [
        ("prior", 1, 0),
        ("logistic", 1, 0),
        ("later", 3, 4),
    ]
    assert "later: learned 3, at seq 3, 4 behind" in str(first)
    assert shop.status().models["later"].version is None
    assert shop.pending()
    shop.tick()
    assert (shop.digests()["later"][0], shop.status().models["later"].version) == (6, None)
    shop.tick()
    assert shop.digests()["later"][0] == shop.digests()["logistic"][0] == 7
    assert shop.status().models["later"].version is not None
    assert not shop.pending()
    shop.arrive("event  d  14:00")
    shop.tick()
    assert shop.table("predictions").filter(event_id="d")["model"].sort().to_list() == ["later", "logistic", "prior"]
