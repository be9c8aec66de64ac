"""Is history that is brought in at once what it would have been to live through it, and are its predictions fair?"""

from __future__ import annotations

import gzip
import importlib
import io
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from millrace import bits, catalog, history, outbox, progressive, task
from millrace.asof import model_at
from millrace.backfill import backfill, differing
from millrace.errors import MillraceError, UsageError
from millrace.examples import as_examples
from millrace.feed import feed
from millrace.hindsight import answered_before
from millrace.history import bring_in
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.join import join
from millrace.proof import verify
from millrace.status import status
from millrace.tables import Table
from millrace.waiting import WaitingRoom
from tests.scenarios.test_crash import Crash, Killer
from tests.shop import TEXT, Shop

MODELS = """def leaves():
    return tree.HoeffdingTreeClassifier(grace_period=5)


def boosted():
    return Batch(ensemble.HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, random_state=1),
                 last=timedelta(days=2), every=timedelta(hours=6))


dataset = Dataset("""
MANY = (
    TEXT.replace("preprocessing\n", "preprocessing, tree\nfrom sklearn import ensemble\n")
    .replace("import Column", "import Batch, Column")
    .replace("dataset = Dataset(", MODELS)
    .replace('{"logistic": logistic}', '{"logistic": logistic, "leaves": leaves, "boosted": boosted}')
)


PICKY = """class Picky(linear_model.LogisticRegression):
    def learn_one(self, x, y):
        if x.get("amount") == 23.0:
            raise ValueError("23")
        super().learn_one(x, y)


def logistic():"""


def moment(hours: float, day: int = 5) -> str:
    """Write a moment so many hours after the fifth of January."""
    seconds = round(hours * 3600)
    return f"2026-01-{day + seconds // 86400:02d}T{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"


def order(name: str, hours: float, amount: float = 30.0, country: str = "DE") -> dict[str, Any]:
    return {"event_id": name, "event_time": moment(hours), "amount": amount, "country": country}


def answer(name: str, hours: float, label: object = True) -> dict[str, Any]:
    return {"event_id": name, "label": label, "label_time": moment(hours)}


def orders(
    count: int, start: int = 0, every: float = 0.25, delay: float = 2.2
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return orders, one each quarter of an hour, and their answers two hours and more later: French ones are sent back."""
    asked, told = [], []
    for i in range(start, start + count):
        country = ["DE", "FR", "IT"][i * 7 % 3]
        asked.append(order(f"o{i}", i * every, amount=float(10 + i * 13 % 50), country=country))
        if i % 11:
            told.append(answer(f"o{i}", i * every + delay + i % 5, country == "FR"))
    return asked, sorted(told, key=lambda row: row["label_time"])


def write(shop: Shop, file: str, rows: list[dict[str, Any]]) -> Path:
    """Write a file of history beside the landing folder."""
    path = shop.place / "history" / file
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    if ".parquet" in file:
        frame = pl.DataFrame(rows)
        times = [pl.col(name).str.to_datetime(time_zone="UTC") for name in frame.columns if name.endswith("_time")]
        frame.with_columns(times).write_parquet(buffer)
    elif ".csv" in file:
        pl.DataFrame(rows).write_csv(buffer)
    else:
        buffer.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    data = buffer.getvalue()
    path.write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
    return path


def past(shop: Shop, count: int = 60, **how: Any) -> tuple[list[Path], list[Path]]:
    """Write a history of two files."""
    asked, told = orders(count, **how)
    name = f"{how.get('start', 0)}"
    return [write(shop, f"asked-{name}.parquet", asked)], [write(shop, f"told-{name}.csv.gz", told)]


def account(shop: Shop) -> dict[str, Any]:
    """Return all that must not depend on how rows came."""
    found = shop.status()
    keys = ("seq", "event_id", "label", "arrival", "event_arrival", "label_arrival", "clock", "x")
    names = ("rows", "events", "labels", "corrections", "quarantined", "duplicates", "events_waiting", "labels_waiting", "late")
    return {
        "accounts": {name: getattr(found, name) for name in names},
        "clock": found.clock,
        "log": shop.table("examples").select(keys).rows(),
        "digests": shop.digests(),
        "quarantine": sorted(shop.table("quarantine").select("arrival", "event_id").rows()),
    }


def said(shop: Shop) -> list[Any]:
    """Return the predictions, but for the moment at which they were made."""
    return shop.table("predictions").drop("at").sort("arrival", "model").rows()


def differences(shop: Shop, model: str) -> list[bits.Difference | None]:
    """Return for each stretch of history the first prediction of a model that is not what it says again."""
    dataset = catalog.load("shop")
    return [differing(dataset, model, stretch) for stretch in answered_before(dataset, history.stretches("shop", 0))]


def live(shop: Shop, rows: list[dict[str, Any]]) -> None:
    """Let rows arrive in order of time, events first, a new file where the kind changes; ``test_invariance`` cuts them up."""
    rows = sorted(rows, key=lambda row: (row.get("event_time", row.get("label_time")), "label" in row))
    for i, (kind, some) in enumerate(itertools.groupby(rows, lambda row: "labels" if "label" in row else "events")):
        shop.put(f"{kind}-{i:04d}.ndjson", b"\n" * i + b"".join(orjson.dumps(row) + b"\n" for row in some))
    shop.tick()


@pytest.mark.parametrize("learn", ["window", "provisional"])
def test_by_a_policy_of_labels_history_is_settled_as_if_it_had_been_lived_through(
    shop: Shop, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, learn: str
) -> None:
    def settled(one: Shop) -> list[Any]:
        keys = ("arrival", "event_id", "label", "label_source", "label_arrival", "clock", "seq")
        return [one.table(name).select(keys).rows() for name in ("examples", "outcomes")]

    def declared(one: Shop) -> Shop:
        one.change("Labels(window=timedelta(days=1))", f'Labels(window="6h", default=False, learn="{learn}")')
        return one

    asked, told = orders(36, every=0.5)
    told = [{**answer("o30", 1), "label_time": moment(14)}, *told]  # it came an hour before its event
    built, enter = list[Path](), WaitingRoom.__enter__

    def entered(room: WaitingRoom) -> WaitingRoom:
        built.append(room._path)
        return enter(room)

    monkeypatch.setattr(WaitingRoom, "__enter__", entered)
    live(declared(shop), [*asked, *told])
    lived = settled(shop)
    assert len(lived[1]) == 35  # the last window is open
    built.clear()
    other = declared(shop.afresh(mlflow_store))
    report = backfill("shop", [write(other, "asked.ndjson", asked)], [write(other, "told.ndjson", told)])
    assert report.problems == []
    assert len([path for path in built if path.parent.name != "shop"]) <= 1  # the index is gone through once
    assert settled(other) == lived
    assert (report.race and report.race.scored, report.waiting) == (35, 0)
    said = other.table("predictions").filter(origin="backfill")
    assert said.filter("answered")["event_id"].unique().to_list() == ["o30"]
    assert {model: rows.height for (model,), rows in said.group_by("model")} == {"prior": 36, "logistic": 36}
    assert verify("shop").problems == []


_ID, _HOURS = st.integers(0, 5).map("id{}".format), st.integers(0, 80)
_EVENTS = st.lists(st.builds(order, _ID, _HOURS, st.sampled_from([10.0, 30.0, 31.0, 2000.0])), min_size=1, max_size=8)
_LABELS = st.lists(st.builds(answer, _ID, _HOURS, st.booleans()), max_size=8)
"""Hours at which much happens at once; ids again, within the horizon and after it; labels early, late and corrected."""


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS, labels=_LABELS, cut=st.integers(0, 8))
def test_the_log_is_that_of_having_lived_through_it(
    shop: Shop, mlflow_store: Path, events: list[dict[str, Any]], labels: list[dict[str, Any]], cut: int
) -> None:
    one = shop.afresh(mlflow_store)
    one.change("    race=", "    id_horizon=timedelta(days=1),\n    race=")
    live(one, events + labels)
    lived = account(one)
    other = shop.afresh(mlflow_store)
    other.change("    race=", "    id_horizon=timedelta(days=1),\n    race=")
    files = [[write(other, f"{i}.{form}", part) for i, part in enumerate((rows[:cut], rows[cut:])) if part]
             for rows, form in ((events, "ndjson"), (labels, "ndjson.gz"))]  # fmt: skip
    backfill("shop", files[0], files[1])
    assert account(other) == lived


@pytest.mark.parametrize("every", [timedelta(hours=1), timedelta(days=1)])
def test_the_log_and_the_models_are_those_of_feeding_it_tick_by_tick(shop: Shop, mlflow_store: Path, every: timedelta) -> None:
    def fed(one: Shop) -> Shop:
        one.define(
            MANY.replace("    race=", '    history="past.parquet",\n    race=').replace(
                "window=timedelta(days=1)", "window=timedelta(hours=60)"
            )
        )
        stored = pl.DataFrame(asked).join(pl.DataFrame(told), on="event_id", how="left")
        times = pl.col("event_time", "label_time").str.to_datetime(time_zone="UTC")
        stored.with_columns(times).write_parquet(one.path.parent / "past.parquet")
        return one

    def log(one: Shop) -> Any:
        return (
            one.table("examples").select("seq", "event_id", "label", "label_time", "x").rows(),
            one.digests(),
            one.status().late,
        )

    asked, told = orders(160)
    for i in range(0, len(told), 9):
        told[i]["label_time"] = moment(90 + i)  # the window has long closed
    one = fed(shop)
    feed("shop", every=every)
    shop.tick()
    lived = log(one)
    assert lived[2] > 10
    other = fed(shop.afresh(mlflow_store))
    backfill("shop", [write(other, "asked.parquet", asked)], [write(other, "told.ndjson", told)])
    assert log(other) == lived


def test_rows_out_of_order_are_sorted_and_one_without_a_time_stays_behind_its_predecessor(shop: Shop) -> None:
    rows = [order("late", 5), {**order("no-time", 0), "event_time": "soon"}, order("first", 1), order("same", 1)]
    before = [{**order("none", 0), "event_time": None}, order("a", 3)]
    events = [write(shop, "x.ndjson", rows), write(shop, "y.ndjson", before)]
    report = bring_in("shop", events, [write(shop, "l.ndjson", [answer("first", 1), answer("late", 6)])])
    assert report.notes == ["the rows of x.ndjson are not in order of time: they were sorted"]
    where = {row["event_id"]: row["arrival"] for name in ("events", "quarantine") for row in shop.table(name).to_dicts()}
    assert where == {"first": 1, "same": 2, "none": 4, "a": 5, "late": 6, "no-time": 7}
    assert dict(shop.table("labels").select("event_id", "arrival").rows()) == {"first": 3, "late": 8}
    raw = dict(shop.table("quarantine").select("event_id", "raw").rows())
    assert {name: json.loads(line)["event_id"] for name, line in raw.items()} == {"none": "none", "no-time": "no-time"}
    files = shop.table("files")
    assert files.select("kind", "first_arrival", "rows", "good", "quarantined").rows() == [
        ("events", 1, 4, 3, 1), ("events", 1, 2, 1, 1), ("labels", 1, 2, 2, 0)
    ]  # fmt: skip
    assert files["path"].to_list() == [str(path) for path in (*events, shop.place / "history" / "l.ndjson")]


def test_files_stay_where_they_are_and_are_taken_in_once(shop: Shop) -> None:
    events, labels = past(shop)
    assert backfill("shop", events, labels).ingest.files == 2
    before = account(shop), said(shop)
    again = backfill("shop", [*events, *events], labels)
    assert (again.ingest.files, again.problems) == (0, [])
    assert [path.exists() for path in (*events, *labels)] == [True, True]
    assert (account(shop), said(shop)) == before
    assert not shop.pending() or shop.tick().ingest.files == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("file", "says"), [("nowhere.csv", "is not there"), ("", "a folder; name its files"), ("asked.xlsx", "write it as one of")]
)
def test_what_cannot_be_brought_in_is_refused_before_anything_is_written(shop: Shop, file: str, says: str) -> None:
    write(shop, "asked.xlsx", [order("a", 1)])
    with pytest.raises(UsageError, match=says):
        backfill("shop", [shop.place / "history" / file])
    assert not (shop.place / "root" / "shop").exists()


def test_too_much_at_once_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.history._BYTES_AT_MOST", 1000)
    with pytest.raises(UsageError, match="the oldest first"):
        backfill("shop", *past(shop))


def test_history_that_live_data_has_gone_past_is_refused(shop: Shop) -> None:
    shop.arrive("event  now  12:00\nevent  o3  12:10")
    shop.tick()
    before = account(shop)
    events, labels = past(shop, count=80)
    with pytest.raises(MillraceError, match=r"48 of these 79 new events are older .* 2026-01-05T12:10:00Z"):
        backfill("shop", events, labels)
    assert account(shop) == before
    backfill("shop", *past(shop, start=49, count=10))  # from 12:15 on
    assert shop.status().events == 12


def test_nothing_of_it_is_served_and_the_race_begins_with_evidence(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    report = backfill("shop", *past(shop, count=150))
    assert report.problems == []
    made = shop.table("predictions")
    assert set(made.select("origin", "served", "answered", "version").rows()) == {("backfill", False, False, None)}
    assert made.group_by("model").len().sort("model").rows() == [("logistic", 150), ("prior", 150)]
    assert not list(outbox.folder("shop").glob("*"))
    found = shop.status()
    assert found.champion == "logistic"
    assert [(found.models[name].labelled, found.models[name].predictions) for name in ("logistic", "prior")] == [(136, 150)] * 2
    assert (found.models["logistic"].published_seq, found.backfill_waiting, found.problems) == (136, 0, [])
    shop.arrive("event  live  2026-01-12T10:00:00Z")
    shop.tick()
    rows = shop.table("predictions").filter(pl.col("origin") == "live").sort("model")
    assert rows.select("model", "seq", "served").rows() == [("logistic", 136, True), ("prior", 136, False)]


@pytest.mark.parametrize("hours", [1, 24])
def test_predictions_are_the_delayed_progressive_ones(shop: Shop, hours: int) -> None:
    """River's order of questions and answers, and the state that a version at their ``seq`` would have."""
    shop.define(MANY)
    cadence = timedelta(hours=hours)
    events, labels = past(shop, count=100)
    labels.append(write(shop, "at-once.ndjson", [answer("o44", 11)]))  # at the moment of its question, and of a publication
    report = backfill("shop", events, labels, cadence=cadence)
    assert report.problems == []
    dataset, log, asked = catalog.load("shop"), shop.table("examples"), shop.table("features")
    rows = asked.join(
        log.select("event_arrival", "label", "weight", answer="clock"), left_on="arrival", right_on="event_arrival", how="left"
    )
    rows = rows.sort("event_time", "arrival")
    steps = progressive.order(progressive.times(rows["event_time"]), progressive.times(rows["answer"]), cadence)
    xs = [x for *_, x in as_examples(rows.select("event_id", "event_time", "label", "weight", "x").with_row_index("seq"))]
    for model in dataset.racing:
        here = model_at(dataset, model, 0)
        ask = here.predict_proba_one
        times = rows["event_time"].to_list()
        wanted = dict(progressive.predictions(here, ask, xs, rows["label"].to_list(), times, steps))
        made = shop.table("predictions").filter(pl.col("model") == model).sort("arrival")
        stored = task.from_columns(dataset, made)
        answered = [i for i, label in enumerate(rows["label"]) if label is not None]
        assert [stored[i] for i in answered] == [wanted[i] for i in answered]
        for i in (0, 37, 99):
            assert made["seq"][i] == sum(step < 0 for step in steps[: steps.index(i)])
            assert task.predict(model_at(dataset, model, made["seq"][i]), "binary", [xs[i]])[0] == [stored[i]]


def test_they_are_the_same_in_processes_of_their_own(shop: Shop, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    backfill("shop", *past(shop), progress=lambda *one: told.append(one))
    assert told == [("prior", 54, 54), ("prior, asked", 60, 60), ("logistic", 54, 54), ("logistic, asked", 60, 60)]
    before, alone = (account(shop), said(shop)), sorted(told)
    told.clear()
    monkeypatch.setattr("millrace.parallel.WORTH_PROCESSES", 1)
    other = shop.afresh(mlflow_store)
    backfill("shop", *past(other), progress=lambda *one: told.append(one))
    assert (account(other), said(other)) == before
    assert sorted(told) == alone


def standing(shop: Shop) -> Any:
    """Return all that must be the same after a crash."""
    race = shop.table("standings").filter(pl.col("seq") == pl.col("seq").max()).unique("model")
    promoted = shop.table("promotions").select("number", "seq", "model", "before", "evidence").rows()
    return account(shop), said(shop), race.select("model", "labelled", "loss", "metrics").sort("model").rows(), promoted


def test_a_crash_at_any_commit_leaves_no_trace(shop: Shop, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    monkeypatch.setattr("millrace.hindsight.CHUNK", 20)
    monkeypatch.setattr(importlib.import_module("millrace.backfill"), "publish", lambda name: None)  # test_crash kills there

    def brought_in(one: Shop) -> int:
        events, labels = past(one, count=30)
        for crashes in range(3):
            try:
                backfill("shop", events, labels)
                return crashes
            except Crash:
                pass
        raise AssertionError("it crashed again")

    brought_in(shop)
    undisturbed, commits = standing(shop), killer.commits
    assert commits >= 20
    for at in range(1, commits + 1, 3):  # every third, before it and after it in turn
        killer.at, killer.after, killer.commits = at, at % 2 == 1, 0
        one = shop.afresh(mlflow_store)
        assert brought_in(one) == 1, f"no crash at commit {at}"
        killer.at = None
        assert standing(one) == undisturbed, f"after a crash at commit {at}"


def test_a_live_tick_takes_up_what_a_backfill_left_unfinished_and_the_race_waits(shop: Shop, mlflow_store: Path) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    later = "event  p  2026-01-06T12:00:00Z\nlabel  p  2026-01-06T13:00:00Z  true\nlabel  o0  2026-01-06T13:01:00Z  false"
    events, labels = past(shop)
    backfill("shop", events, labels)
    shop.arrive(later)
    shop.tick()
    wanted = account(shop)
    other = shop.afresh(mlflow_store)
    other.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    bring_in("shop", *past(other))
    other.arrive(later)
    report = other.tick()
    assert account(other) == wanted
    assert report.infer
    assert (report.infer.events, report.infer.versions) == (1, {"prior": 5, "logistic": 6})
    found = other.status()
    assert (found.models["logistic"].labelled, found.champion, found.backfill_waiting) == (0, "prior", 60)
    assert found.problems == [
        "60 events of a backfill wait for predictions, and the race for these; run: millrace replay shop --backfill"
    ]
    other.tick()
    assert not other.pending()
    assert backfill("shop").problems == []
    assert account(other) == wanted
    found = other.status()
    assert (found.models["logistic"].labelled, found.models["logistic"].predictions, found.backfill_waiting) == (56, 61, 0)


@pytest.mark.parametrize(("step", "joined"), [("join", False), ("_cadence", True), ("fold_alone", True)])
def test_what_another_process_brings_in_meanwhile_waits_and_is_predicted_by_the_next(
    shop: Shop, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, step: str, joined: bool
) -> None:
    backfill("shop", *past(shop, count=30))
    backfill("shop", *past(shop, start=30, count=30))
    undisturbed = said(shop), shop.status().models["logistic"].labelled
    other = shop.afresh(mlflow_store)
    module = importlib.import_module("millrace.backfill")
    one: Callable[..., Any] = getattr(module, step)

    def beside(*given: Any) -> Any:
        done = one(*given)
        if other.status().events == 30:
            bring_in("shop", *past(other, start=30, count=30))
            if joined:
                infer("shop"), join("shop")
        return done

    monkeypatch.setattr(module, step, beside)
    report = backfill("shop", *past(other, count=30))
    assert (report.problems, report.waiting) == ([], 0 if joined and step == "join" else 30)
    report = backfill("shop")
    assert (report.problems, report.waiting) == ([], 0)
    assert (said(other), other.status().models["logistic"].labelled) == undisturbed


def test_the_race_waits_for_every_history_that_is_not_predicted(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    bring_in("shop", past(shop, count=20)[0], [])  # nothing of it was answered yet
    bring_in("shop", *past(shop, start=20, count=20))
    shop.tick()
    assert (shop.status().examples, shop.table("standings").height) == (18, 0)
    backfill("shop")
    assert shop.status().models["logistic"].labelled == 18


def test_a_file_that_a_crash_left_unread_is_found_where_it_lies(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    killer.at, killer.after = 1, True
    events, labels = past(shop)
    with pytest.raises(Crash):
        backfill("shop", events, labels)
    away = events[0].rename(events[0].with_suffix(".away"))
    with pytest.raises(MillraceError, match=f"put it back as {events[0]}"):
        shop.tick()
    away.rename(events[0])
    shop.tick()
    assert shop.status().events == 60


def test_it_goes_on_behind_live_data_with_what_the_models_know(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    live(shop, [row for part in orders(40) for row in part])
    known = shop.status().examples
    backfill("shop", *past(shop, start=80, count=40))
    made = shop.table("predictions").filter(pl.col("origin") == "backfill")
    assert (made.height, made["seq"].min()) == (80, known)
    assert [differences(shop, model) for model in ("prior", "logistic")] == [[None], [None]]
    assert shop.status().models["logistic"].labelled == shop.status().examples
    backfill("shop", *past(shop, start=120, count=40))
    assert differences(shop, "logistic") == [None, None]
    assert shop.status().models["logistic"].labelled == shop.status().examples


def test_an_event_whose_label_had_arrived_before_counts_for_nothing(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    shop.arrive("event  x  00:00\nlabel  o5  03:00  true")
    shop.tick()
    backfill("shop", *past(shop, count=20))
    rows = shop.table("predictions").filter(pl.col("answered"))
    assert set(rows["event_id"]) == {"o5"}
    assert shop.status().models["logistic"].labelled == shop.status().examples - 1


def test_what_a_model_could_not_learn_it_does_not_learn_here_either(shop: Shop) -> None:
    shop.change("def logistic():", PICKY)
    shop.change("| linear_model.LogisticRegression()", "| Picky()")
    shop.change('numbers = compose.Select("amount") | preprocessing.StandardScaler()', 'numbers = compose.Select("amount")')
    backfill("shop", *past(shop))
    assert shop.status().models["logistic"].skips == 2
    assert shop.table("predictions").filter(pl.col("model") == "logistic").height == 60
    assert differences(shop, "logistic") == [None]


def test_a_model_that_cannot_be_folded_holds_the_race_up_until_it_can(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    shop.arrive("event  x  00:00")
    shop.tick()
    text = shop.path.read_text()
    shop.define(text.replace("LogisticRegression()", "LogisticRegression(l2=0.5)"))
    report = backfill("shop", *past(shop))
    assert len(report.problems) == 1
    assert report.problems[0].startswith("logistic: ")
    assert (report.waiting, report.models[0].predictions) == (60, 60)
    assert report.race
    assert report.race.seq == 0
    assert str(report).endswith("run: millrace replay shop --backfill")
    shop.define(text)
    report = backfill("shop")
    assert (report.waiting, report.race.seq if report.race else 0) == (0, 54)


def test_the_race_does_not_wait_for_a_model_that_is_declared_later(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    backfill("shop", *past(shop))
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "other": other}')
    shop.arrive("event  x  2026-01-08T10:00:00Z\nlabel  x  2026-01-08T10:30:00Z  true")
    shop.tick()
    assert shop.status().models["logistic"].labelled == 55
    assert backfill("shop").waiting == 0


def test_predictions_that_were_begun_at_a_cadence_are_completed_at_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise Crash

    events, labels = past(shop)
    with monkeypatch.context() as broken:
        broken.setattr("millrace.parallel.each", crash)
        with pytest.raises(Crash):
            backfill("shop", events, labels, cadence=timedelta(hours=6))
    with pytest.raises(UsageError, match="every 6h"):
        backfill("shop", *past(shop, start=60, count=20), cadence=timedelta(hours=1))
    assert shop.status().events == 60  # it was refused before anything was brought in
    assert backfill("shop", events, labels).cadence == timedelta(hours=6)
    with pytest.raises(UsageError, match="longer than nothing"):
        backfill("shop", cadence=timedelta(0))


def test_a_stored_prediction_that_was_changed_is_found(shop: Shop) -> None:
    from deltalake import write_deltalake

    backfill("shop", *past(shop))
    table = shop.table("predictions")
    assert [differences(shop, model) for model in ("prior", "logistic")] == [[None], [None]]
    chosen = (pl.col("event_id") == "o17") & (pl.col("model") == "logistic")
    shares = pl.when(chosen).then(pl.col("probabilities").list.eval(pl.element() * (1 + 1e-15))).otherwise("probabilities")
    write_deltalake(str(shop.place / "root" / "shop" / "predictions"), table.with_columns(shares), mode="overwrite")
    (found,) = differences(shop, "logistic")
    assert found
    assert (found.row["event_id"], found.field, found.row["seq"]) == ("o17", "probabilities", table.filter(chosen)["seq"][0])
    assert found.recorded != found.again
    assert np.allclose(found.recorded, found.again)
    assert differences(shop, "prior") == [None]


def test_tables_of_an_older_layout_take_history_too(shop: Shop) -> None:
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    shop.arrive("event  x  00:00")
    shop.tick()
    root = shop.place / "root" / "shop"
    from deltalake import write_deltalake

    write_deltalake(str(root / "files"), shop.table("files").drop("path"), mode="overwrite", schema_mode="overwrite")
    (root / ".layout").write_text("2")
    assert status("shop").backfill_waiting == 0
    backfill("shop", *past(shop))
    assert Table("shop", "files").cursor("backfill") == shop.status().rows
    assert shop.status().models["logistic"].labelled == 54


def test_live_events_between_two_histories_are_predicted_and_these_are_not(shop: Shop) -> None:
    bring_in("shop", *past(shop, count=20))
    shop.arrive("event  p  06:00\nevent  q  06:01")
    ingest("shop")
    bring_in("shop", *past(shop, start=40, count=20))
    shop.tick()
    assert shop.table("predictions").select("event_id", "model", "origin").sort("event_id", "model").rows() == [
        ("p", "logistic", "live"), ("p", "prior", "live"), ("q", "logistic", "live"), ("q", "prior", "live")
    ]  # fmt: skip
    assert (backfill("shop").waiting, shop.table("predictions").height) == (0, 2 * 42)


def test_what_was_begun_is_completed_by_a_release_that_takes_other_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    events, labels = past(shop)
    monkeypatch.setattr("millrace.hindsight.CHUNK", 25)
    append, kept = Table.append, list[int]()

    def killing(table: Table, frame: pl.DataFrame, cursors: Mapping[str, int]) -> None:
        append(table, frame, cursors)
        if "backfill/logistic" in cursors:
            kept.append(frame.height)
            raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(Table, "append", killing)
        with pytest.raises(Crash):
            backfill("shop", events, labels)
    monkeypatch.setattr("millrace.hindsight.CHUNK", 40)
    backfill("shop", events, labels)
    assert kept == [25]
    made = shop.table("predictions").filter(pl.col("model") == "logistic")
    assert (made.height, made["event_id"].n_unique()) == (60, 60)
    assert differences(shop, "logistic") == [None]
