"""What becomes of an id that comes again, within the horizon and after it?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis.strategies as st
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from millrace import catalog, features, tables
from millrace.errors import DatasetError
from millrace.ingest import ingest
from millrace.join import join
from millrace.outcomes import mature
from millrace.status import status
from millrace.tables import Table
from millrace.waiting import WaitingRoom
from tests.shop import Shop

HORIZON, WINDOW = timedelta(days=2), timedelta(days=1)
BEGINNING = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def short(shop: Shop) -> Shop:
    """The shop, whose ids are unique within two days."""
    shop.change("    race=", "    id_horizon=timedelta(days=2),\n    race=")
    return shop


def test_an_id_that_comes_again_after_the_horizon_is_another_event(short: Shop) -> None:
    short.arrive("""
        event  a  2026-01-05T10:00:00Z  amount=30
        label  a  2026-01-05T12:00:00Z  true
        event  a  2026-01-07T10:00:00Z  amount=30
        event  a  2026-01-07T10:00:01Z  amount=31
        label  a  2026-01-07T11:00:00Z  true
        label  a  2026-01-07T12:00:00Z  false
    """)
    short.tick()
    log = short.table("examples").select("seq", "event_arrival", "label_arrival", "label").rows()
    assert log == [(1, 1, 2, True), (2, 4, 5, True)]
    found = short.status()
    assert (found.events, found.quarantined, found.labels, found.corrections) == (2, 1, 3, 1)  # 48 hours are within two days


def test_a_label_after_the_horizon_waits_for_the_next_event_of_its_id(short: Shop) -> None:
    short.arrive("""
        event  a  2026-01-05T10:00:00Z
        label  a  2026-01-08T10:00:00Z  true
    """)
    short.tick()
    assert (short.log(), short.status().labels_waiting) == ([], 1)
    short.arrive("event  a  2026-01-07T10:00:00Z  amount=31")
    short.tick()
    assert (short.log(), short.status().labels_waiting) == ([(1, "a", True)], 0)


def test_a_label_waits_for_its_event_within_the_horizon(short: Shop) -> None:
    short.arrive("label  a  2026-01-05T10:00:00Z  true")
    short.tick()
    assert short.status().labels_waiting == 1
    short.arrive("event  a  2026-01-07T10:00:01Z")
    short.tick()
    assert (short.log(), short.status().labels_waiting, short.status().events_waiting) == ([], 0, 1)


def test_what_no_row_can_meet_is_forgotten(short: Shop) -> None:
    for day in range(5, 25):
        short.arrive(f"event  {day}  2026-01-{day:02d}T10:00:00Z\nlabel  {day}  2026-01-{day:02d}T11:00:00Z  true")
        _taken_in_and_joined("shop")
    with WaitingRoom("shop") as room:
        ids = pl.Series([str(day) for day in range(5, 25)])
        assert room.events(ids)["event_id"].to_list() == ["22", "23", "24"]
        assert room.labels(ids)["event_id"].to_list() == ["19", "20", "21", "22", "23", "24"]
    assert short.table("examples")["seq"].to_list() == list(range(1, 21))


def test_an_index_for_another_horizon_is_made_again(short: Shop) -> None:
    short.arrive("event  a  2026-01-05T10:00:00Z\nevent  b  2026-01-09T10:00:00Z")
    _taken_in_and_joined("shop")
    short.arrive("event  c  2026-01-09T11:00:00Z")
    _taken_in_and_joined("shop")
    for horizon, known in (("None", ["a", "b", "c"]), ("timedelta(days=2)", ["b", "c"])):
        text = short.path.read_text()
        short.define("\n".join(f"    id_horizon={horizon}," if "id_horizon" in line else line for line in text.split("\n")))
        with WaitingRoom("shop") as room:
            assert room.events(pl.Series(["a", "b", "c"]))["event_id"].to_list() == known


@pytest.mark.parametrize(
    ("horizon", "said"), [("timedelta(hours=23)", "is longer than id_horizon"), ("timedelta(0)", "longer than nothing")]
)
def test_a_horizon_that_cannot_be_is_refused(shop: Shop, horizon: str, said: str) -> None:
    shop.change("    race=", f"    id_horizon={horizon},\n    race=")
    with pytest.raises(DatasetError, match=said):
        catalog.load("shop")


# --- against the rules, said once more -----------------------------------------------------------------------


@dataclass
class _Event:
    arrival: int
    id: int
    time: datetime
    value: object
    clock: datetime


@dataclass
class _Label(_Event):
    event: _Event | None
    correction: bool


_Pair = tuple[int, int | None]
_Row = tuple[str, int, datetime, object]
_Story = tuple[list[_Pair], list[tuple[int, int, _Pair]], int, int, int, int, int]


def _told(rows: list[_Row], policy: str) -> _Story:
    """Apply the rules row by row.

    Return the log (arrivals of the event and the label, none for a default), the outcomes (the log's end, place and both), how
    many rows were duplicates, quarantined or corrections, how many labels late, and how many labels wait.
    """
    events: list[_Event] = []
    labels: list[_Label] = []
    duplicates = quarantined = 0
    clock, clocks = BEGINNING, dict[int, datetime]()
    for arrival, (kind, id, time, value) in enumerate(rows, 1):
        moment = max(clock, time)
        of_id = [event for event in events if event.id == id and moment - event.clock <= HORIZON]
        event = of_id[-1] if of_id else None
        if kind == "events":
            if event is not None:
                same = (event.time, event.value) == (time, value)
                duplicates, quarantined = duplicates + same, quarantined + (not same)
                continue
            events.append(_Event(arrival, id, time, value, moment))
            for label in labels:
                if label.id == id and label.event is None and moment - label.clock <= HORIZON:
                    label.event = events[-1]
        else:
            before = [one for one in labels if one.id == id and one.event is event]
            before = [one for one in before if event is not None or moment - one.clock <= HORIZON]
            if before and before[-1].value == value:
                duplicates += 1
                continue
            labels.append(_Label(arrival, id, time, value, moment, event, bool(before)))
        clock = clocks[arrival] = moment
    pairs = [(label, label.event) for label in labels if label.event is not None]
    quarantined += sum(label.time < event.time for label, event in pairs)
    pairs = [(label, event) for label, event in pairs if label.time >= event.time]
    in_time = [(label, event) for label, event in pairs if label.clock <= event.time + WINDOW]
    waiting = sum(label.event is None and clock - label.clock <= HORIZON for label in labels)
    corrections = sum(label.correction for label in labels)
    log, outcomes = _learned(policy, events, in_time, clocks)
    return log, outcomes, duplicates, quarantined, corrections, len(pairs) - len(in_time), waiting


def _learned(
    policy: str, events: list[_Event], in_time: list[tuple[_Label, _Event]], clocks: dict[int, datetime]
) -> tuple[list[_Pair], list[tuple[int, int, _Pair]]]:
    first = {event.arrival: label.arrival for label, event in reversed(in_time)}
    contrary = {event.arrival: label.arrival for label, event in reversed(in_time) if label.value}
    final = first | contrary if policy == "provisional" else first
    closed = list[tuple[int, datetime, _Pair]]()
    for event in events:
        past = [at for at, clock in clocks.items() if clock > event.time + WINDOW]
        if past and (event.arrival in final or policy != "none"):
            closed.append((max(past[0], event.arrival), event.time, (event.arrival, final.get(event.arrival))))
    closed.sort(key=lambda one: (*one[:2], one[2][0]))
    met = (contrary if policy == "provisional" else first).items()
    learned: list[tuple[int, bool, _Pair]] = [(max(pair), True, pair) for pair in met]
    if policy == "window":
        learned = [(place, True, pair) for place, _, pair in closed]
    elif policy == "provisional":
        learned += [(event.arrival, False, (event.arrival, None)) for event in events]
    elif policy == "arrival":
        learned += [(place, False, pair) for place, _, pair in closed if pair[1] is None]
    learned.sort(key=lambda one: one[:2])
    outcomes = [(sum(at <= place for at, *_ in learned), place, pair) for place, _, pair in closed]
    return [pair for *_, pair in learned], outcomes


def _taken_in_and_joined(name: str) -> None:
    """Ingest and join, with features logged and without models."""
    ingest(name)
    dataset, table = catalog.load(name), Table(name, "features")
    upto = tables.head(name)
    if upto > table.cursor("infer"):
        new = Table(name, "events").read(where=pl.col("arrival") > table.cursor("infer"))
        x = features.compute(dataset, new.select("event_id", "event_time", pl.col("raw").struct.unnest()))
        kept = new.select("arrival", "event_id", "event_time", "clock", versions=pl.lit("{}"), memory=pl.lit(None))
        table.append(kept.with_columns(x.to_struct("x")), {"infer": upto})
    join(name)
    mature(name)


_ROW = st.tuples(
    st.sampled_from(["events", "labels"]),
    st.integers(0, 2),
    st.sampled_from([0, 0, 1, 6, 20, 30]),  # hours that pass
    st.sampled_from([0, 0, 0, 1, 12, 40]),  # hours that it came late
    st.booleans(),
)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(st.tuples(_ROW, st.sampled_from(["", "file", "tick", "index"])), min_size=2, max_size=25),
    policy=st.sampled_from(["none", "arrival", "window", "provisional"]),
)
def test_the_log_is_what_the_rules_say_however_rows_are_cut(
    short: Shop, mlflow_store: Path, drawn: list[tuple[tuple[str, int, int, int, bool], str]], policy: str
) -> None:
    text = short.path.read_text()
    one = short.afresh(mlflow_store)
    learn = "" if policy == "none" else f", default=False, learn={policy!r}"
    labels = f"    labels=Labels(window=timedelta(days=1){learn}),"
    one.define("\n".join(labels if "labels=" in line else line for line in text.split("\n")))
    hours, held, rows = 0, [], list[_Row]()
    for i, ((kind, id, step, ago, value), then) in enumerate(drawn):
        hours += step
        time = BEGINNING + timedelta(hours=hours - min(ago, hours))
        rows.append((kind, id, time, value))
        if kind == "events":
            row = {"event_id": f"id{id}", "event_time": time, "amount": 30 + value, "country": "DE"}
        else:
            row = {"event_id": f"id{id}", "label_time": time, "label": value}
        held.append(orjson.dumps(row) + b"\n")
        last = i + 1 == len(drawn)
        if then or last or drawn[i + 1][0][0] != kind:
            one.put(f"{kind}-{i:04d}.ndjson", b"\n" * i + b"".join(held))  # no two files of the same bytes
            held = []
        if then in ("tick", "index") or last:
            _taken_in_and_joined("shop")
        if then == "index":
            shutil.rmtree(one.place / "cache" / "shop")
    found = status("shop")
    log = Table("shop", "examples").read("event_arrival", "label_arrival").rows()
    final = Table("shop", "outcomes").read("seq", "arrival", "event_arrival", "label_arrival").rows()
    outcomes = [(seq, place, (event, label)) for seq, place, event, label in final]
    late = Table("shop", "examples").cursor("late")
    story = (log, outcomes, found.duplicates, found.quarantined, found.corrections, late, found.labels_waiting)
    assert story == _told(rows, policy)
