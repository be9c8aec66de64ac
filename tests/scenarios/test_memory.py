"""What is remembered of earlier events, and does it stay exact whatever happens?"""

from __future__ import annotations

import marshal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings

from millrace import catalog, models, pyfunc, recall, remembered, what_if
from millrace.errors import DatasetError
from millrace.explain import explain
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.maintain import maintain
from millrace.proof import verify
from millrace.remembered import Remembered
from millrace.replay import ReplayReport, replay
from millrace.run import run
from millrace.tables import Table
from tests.conftest import settled, undone
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


_MEMORY = (
    '[m.count().by("country").last("1h"), m.since().by("country"), m.mean("amount").by("country").last("1h"),'
    ' m.high("amount").by("country").last("1h"), m.low("amount"), m.total("amount").by("country"),'
    ' m.distinct("country").last("1h"), m.last_value("amount").by("country").alias("before")]'
)


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


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """A shop that lived through the week with a memory, in four ticks."""
    place = tmp_path_factory.mktemp("lived") / "place"
    place.mkdir()
    with settled(place, mlflow_store) as shop:
        declare(shop, _MEMORY)
        for tick in WEEK.strip().splitlines()[:3], WEEK.strip().splitlines()[3:5], WEEK.strip().splitlines()[5:]:
            shop.arrive("\n".join(tick))
            shop.tick()
        yield shop


@pytest.fixture
def after(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop after that week, to go on from."""
    with undone(lived, monkeypatch) as shop:
        yield shop


def test_each_event_is_told_what_was_before_it(after: Shop) -> None:
    hour = ["count_by_country_1h", "since_by_country", "mean_amount_by_country_1h", "high_amount_by_country_1h"]
    assert logged(after, *hour) == {
        "a": (0, None, None, None),
        "b": (1, 600, 30, 30),
        "c": (0, None, None, None),
        "d": (2, -240, 40, 50),  # served with what was known, though b is later
        "e": (2, 3300, 60, 70),  # a is an hour older than e, and past; d is remembered at its own time
        "f": (0, 6900, None, None),
        "g": (0, 11400, None, None),
    }
    rest = ["low_amount", "total_amount_by_country", "distinct_country_1h", "before"]
    assert logged(after, *rest) == {
        "a": (None, 0, 0, None),
        "b": (30, 30, 1, 30),
        "c": (30, 0, 1, None),
        "d": (10, 80, 2, 50),
        "e": (10, 150, 2, 50),
        "f": (10, 170, 0, 20),
        "g": (10, 10, 1, 10),
    }


def file_of_memory(shop: Shop) -> Path:
    """Return the file."""
    return remembered.path(shop.name)


def everything(shop: Shop) -> Any:
    """Return what was logged of all events, to the bit, and what is known of each key."""
    with sqlite3.connect(file_of_memory(shop)) as connection:
        keys = connection.execute("SELECT part, key, seen, state FROM key ORDER BY part, key").fetchall()
    connection.close()
    known = [(part, key, seen, marshal.loads(state)) for part, key, seen, state in keys]
    return [repr(row) for row in shop.table("features").select("event_id", "memory", "x").rows()], repr(known)


def test_status_counts_keys_late_events_and_null_keys(after: Shop) -> None:
    memory = after.status().memory
    assert memory
    assert (memory["keys"], memory["late"], memory["null_keys"]) == (3, 1, 0)
    after.put("events-1.ndjson", '{"event_id": "z", "event_time": "2026-01-05T15:00:00Z", "amount": 5, "country": null}\n')
    report = after.tick().infer
    assert report
    assert report.nulls == 1
    assert "1 events have a key of memory that is null" in str(report)
    found = after.status()
    assert found.memory
    assert found.memory["null_keys"] == 1
    assert logged(after, "count_by_country_1h")["z"] == (0.0,)


@pytest.mark.parametrize("loss", ["gone", "torn", "damaged", "cut", "behind"])
def test_what_is_lost_is_remembered_again_from_the_stored_events(after: Shop, loss: str) -> None:
    file, before = file_of_memory(after), everything(after)
    if loss == "gone":
        file.unlink()
    elif loss == "torn":
        file.write_bytes(b"SQLite format 3\0" + b"torn" * 1000)
    elif loss == "damaged":  # beyond what is looked at when it is opened
        file.write_bytes(file.read_bytes()[:8192] + b"\xff" * 4096)
    elif loss == "cut":  # what SQLite cannot notice
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE key SET state = substr(state, 1, 12)")
        connection.close()
    else:  # as a kill between the commit of features and that of memory leaves it
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM stands")
            connection.execute("DELETE FROM key")
        connection.close()
    for part in file.parent.glob(f"{file.name}-*"):
        part.unlink()
    after.arrive("event  h  14:00  amount=5 country=FR\nlabel  b  15:00  false")
    report = after.tick().infer
    assert report
    assert report.refolded == 7
    assert logged(after, "count_by_country_1h", "total_amount_by_country")["h"] == (1, 70)
    assert everything(after)[0][:7] == before[0]


def test_replay_and_maintenance_are_not_held_up_by_a_damaged_file(after: Shop) -> None:
    file, before = file_of_memory(after), everything(after)
    for part in file.parent.glob(f"{file.name}-*"):
        part.unlink()
    damaged = file.read_bytes()[:8192] + b"\xff" * 4096
    file.write_bytes(damaged)
    report = replay("shop")
    assert isinstance(report, ReplayReport)
    assert (report.remembered, report.problems) == (7, [])
    assert everything(after) == before
    file = file_of_memory(after)
    for part in file.parent.glob(f"{file.name}-*"):
        part.unlink()
    file.write_bytes(damaged)
    with Remembered(catalog.load("shop")) as memory, pytest.raises(sqlite3.DatabaseError):
        memory.checkpoint(worth=0)
    assert maintain("shop").problems == []
    after.arrive("event  h  14:00  amount=5 country=FR")
    after.tick()
    assert everything(after)[0][:7] == before[0]
    assert verify("shop").problems == []


def test_a_checkpoint_is_written_however_many_keys_an_event_has(after: Shop) -> None:
    three = 'm.count().by("amount"), m.count().by("amount", "country"), m.count().by("country", "amount")'
    redeclare(after, _MEMORY, f"[{three}]")
    after.arrive("event  h  14:00  amount=5 country=FR")
    after.tick()
    with Remembered(catalog.load("shop")) as memory:
        assert memory.checkpoint(worth=5), "9 arrivals, and 8 keys of each of three kinds"
        assert not memory.checkpoint(worth=5)
    replay("shop")
    kept = after.table("checkpoints").filter(model="memory")
    assert kept["seq"].to_list() == [9, 9]


def test_a_changed_definition_is_refolded_before_it_is_used(after: Shop) -> None:
    redeclare(after, _MEMORY, '[m.count().by("country").last("2h").alias("orders")]')
    after.arrive("event  h  13:40  amount=5 country=DE")
    told = list[tuple[str, int, int]]()
    report = run("shop", lambda *come: told.append(come)).infer
    assert report
    assert told[0] == ("memory", 8, 8)
    assert (report.refolded, report.problems) == (7, [])
    assert logged(after, "orders", "count_by_country_1h") == {
        **{event: (None, count) for event, (count,) in logged(after, "count_by_country_1h").items()},
        "h": (1.0, None),
    }
    assert after.table("features")["memory"].n_unique() == 2
    assert after.table("definitions").filter(model="memory").height == 2
    proof = str(verify("shop"))
    assert "memory of features: 1 of 8 compared and the same; 7 by another definition were not compared" in proof


@pytest.mark.parametrize(
    "how", ["pl.col('amount').map_elements(band, pl.String)", "pl.reduce(least, [pl.col('amount'), pl.lit(45.0)])"]
)
def test_a_function_in_a_feature_that_memory_looks_at_is_part_of_its_definition(shop: Shop, how: str) -> None:
    functions = """
LEAST = 45


def band(amount):
    return "small" if amount < LEAST else "large"


def least(one, other):
    return pl.select(pl.min_horizontal(one, pl.lit(float(LEAST)))).to_series()


dataset = Dataset("""
    shop.change("\ndataset = Dataset(", functions)
    shop.change('pl.col("country")]', f'pl.col("country"), {how}.alias("band")]')
    declare(shop, '[m.count().by("band").alias("alike")]')
    shop.arrive("event  a  10:00  amount=30\nevent  b  10:10  amount=40\nevent  c  10:20  amount=50")
    shop.tick()
    shop.change("LEAST = 45", "LEAST = 35")
    shop.arrive("event  d  10:30  amount=60")
    report = shop.tick().infer
    assert report and report.refolded == 3
    assert logged(shop, "alike")["d"] == (2,), "b and c are as large by now"
    assert verify("shop").problems == []


def test_a_changed_file_is_no_other_definition_where_no_function_is_in_a_feature(after: Shop) -> None:
    before = recall.of(catalog.load("shop")).fingerprint
    after.define(after.path.read_text() + "\n# another text\n")
    assert recall.of(catalog.load("shop")).fingerprint == before


def test_verify_finds_a_value_that_memory_did_not_say(after: Shop) -> None:
    assert verify("shop").problems == []
    table = Table("shop", "features")
    rows = table.read()
    changed = pl.when(pl.col("event_id") == "e").then(9.0).otherwise(pl.col("x").struct.field("count_by_country_1h"))
    rewritten = rows.with_columns(pl.col("x").struct.with_fields(changed.alias("count_by_country_1h")))
    write_deltalake(str(table.path), rewritten, mode="overwrite")
    problem = verify("shop").problems[0]
    assert "event 'e'" in problem
    assert "x.count_by_country_1h is 9.0 on record, and made again 2.0" in problem


def test_explain_shows_each_value_and_makes_it_again(after: Shop) -> None:
    found = explain("shop", "e")
    assert [(one.name, one.value, one.remade.same) for one in found.memory[:2]] == [
        ("count_by_country_1h", 2.0, True),
        ("since_by_country", 3300.0, True),
    ]
    assert (
        "count_by_country_1h 2: number of events by country, last 1h; from the 4 events of its keys before it: the same"
        in str(found)
    )
    redeclare(after, _MEMORY, "()")
    assert any("is no longer declared in" in note for note in explain("shop", "e").notes)


def test_replay_and_maintenance_leave_a_checkpoint_to_begin_from(after: Shop) -> None:
    known = everything(after)
    report = replay("shop")
    assert isinstance(report, ReplayReport)
    assert report.remembered == 7
    assert everything(after) == known
    kept = after.table("checkpoints").filter(model="memory")
    assert kept["seq"].to_list() == [8]
    file_of_memory(after).unlink()
    after.arrive("event  h  14:00  amount=5 country=FR")
    found = after.tick().infer
    assert found
    assert found.refolded == 0
    assert logged(after, "count_by_country_1h")["h"] == (1,)
    assert maintain("shop").problems == []
    assert "memory of features: 8 of 8 compared and the same" in str(verify("shop"))


def test_what_if_features_have_todays_memory(after: Shop) -> None:
    redeclare(after, _MEMORY, '[m.count().by("country").last("2h").alias("orders")]')
    what_if.recompute("shop")
    x = Table("shop", what_if.NAME).read("event_id", pl.col("x").struct.field("orders"))
    assert dict(x.iter_rows()) == {"a": 0, "b": 1, "c": 0, "d": 2, "e": 3, "f": 1, "g": 0}


def test_a_published_model_is_given_what_memory_says(place: Path) -> None:
    import pandas as pd
    from mlflow.exceptions import MlflowException

    shop = Shop(place)
    declare(shop, _MEMORY)
    dataset = catalog.load("shop")
    memory: dict[str, Any] = dict.fromkeys(recall.of(dataset).schema, 1.0)
    signature = pyfunc.signature(None, "binary", dataset, None)
    assert signature
    assert {"event_time", *memory} <= set(signature.inputs.required_input_names())
    raw = {"event_time": "2026-01-05T10:20:00Z", "amount": 30.0, "country": "DE"}
    model = pyfunc.RiverModel(models.build(dataset, "logistic"), "binary", dataset)
    assert model.predict(pd.DataFrame([{**raw, **memory}])).shape == (1, 3)
    memory.pop("since_by_country")
    without = pd.DataFrame([{**raw, **memory}])
    with pytest.raises(MlflowException, match="'since_by_country' must be among the columns"):
        model.predict(without)


def test_a_key_that_was_idle_is_let_go(shop: Shop) -> None:
    declare(shop, 'm.Memory([m.count().by("country"), m.since().by("country")], itself=True, idle="2h")')
    shop.arrive("""
        event  a  10:00  country=DE
        event  b  10:30  country=FR
        event  c  12:00  country=DE
        event  d  12:45  country=FR
        event  e  15:00  country=DE
    """)
    shop.tick()
    expected = {"a": (1, None), "b": (1, None), "c": (2, 7200), "d": (1, None), "e": (1, None)}
    assert logged(shop, "count_by_country", "since_by_country") == expected
    shop.arrive("event  f  19:00  country=IT")
    shop.tick()
    memory = shop.status().memory
    assert memory
    assert memory["keys"] == 1


def test_idle_keys_are_removed_though_only_labels_come_between_the_events(place: Path) -> None:
    shop = Shop(place)
    declare(shop, 'm.Memory([m.count().by("amount")], idle="2h")')
    dataset = catalog.load("shop")

    def some(amounts: Sequence[float], hour: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        raw = pl.DataFrame({"amount": amounts, "country": ["DE"] * len(amounts)}, schema=dataset.event.dtypes)
        times = pl.Series([hour * 3_600_000_000] * len(amounts), dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        ids = pl.Series([str(amount) for amount in amounts], dtype=pl.String)
        return pl.DataFrame({"event_id": ids, "event_time": times, "clock": times, "raw": raw.to_struct()}), raw

    with Remembered(dataset, apart=True) as memory:
        memory.fold(*some([float(amount) for amount in range(20)], 0), 0)
        memory.keep(20)
        for at in range(20, 50, 2):
            memory.fold(*some([at // 2 % 2], at // 2), at)  # the first two keys stay
            memory.keep(at + 1)
            memory.fold(*some([], at // 2), at + 1)
            memory.keep(at + 2)
        known = memory._connection.execute("SELECT key FROM key ORDER BY key").fetchall()
    assert known == [(b"[0.0]",), (b"[1.0]",)]


_RIVER = """
from river import feature_extraction, stats, utils


def lately():
    how = utils.TimeRolling(stats.Mean, period=timedelta(hours=1))
    return feature_extraction.Agg("amount", "country", how) + feature_extraction.Agg("amount", None, stats.Max())


def scaled():
    return compose.Select("amount") | preprocessing.StandardScaler() | compose.Suffixer("_scaled")


dataset = Dataset("""


def test_rivers_transformers_are_folded_over_events(shop: Shop) -> None:
    from river import feature_extraction, preprocessing, stats, utils

    shop.change("\ndataset = Dataset(", _RIVER)
    declare(shop, "m.Memory([lately, scaled], itself=True)")
    for i in range(12):
        shop.arrive(f"event  {i}  10:{5 * i:02d}  amount={i * i % 13} country={['DE', 'FR'][i % 2]}")
        if i % 5 == 4:
            shop.tick()
    assert shop.tick().problems == []
    how = utils.TimeRolling(stats.Mean, period=timedelta(hours=1))
    mean, largest = feature_extraction.Agg("amount", "country", how), feature_extraction.Agg("amount", None, stats.Max())
    scaler, expected = preprocessing.StandardScaler(), {}
    for event, time, x in shop.table("features").select("event_id", "event_time", "x").rows():
        row = {"amount": x["amount"], "country": x["country"]}
        mean.learn_one(row, t=time.replace(tzinfo=None))
        largest.learn_one(row)
        scaler.learn_one({"amount": x["amount"]})
        transformed = [*mean.transform_one(row).values(), *largest.transform_one(row).values()]
        expected[event] = (*transformed, scaler.transform_one({"amount": x["amount"]})["amount"])
    assert logged(shop, "amount_mean_by_country_1h", "amount_max", "amount_scaled") == expected
    assert shop.tick().problems == []
    assert verify("shop").problems == []
    assert len(explain("shop", "7").memory) == 3


_ROWS = st.lists(
    st.tuples(st.integers(0, 180), st.sampled_from(["DE", "FR", None]), st.sampled_from([10.0, 0.1, 31.7, None])),
    min_size=2,
    max_size=20,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, cuts=st.sets(st.integers(1, 19)))
def test_no_cut_shows(place: Path, rows: list[tuple[int, str | None, float | None]], cuts: set[int]) -> None:
    shop = Shop(place)
    declare(shop, f'm.Memory({_MEMORY}, idle="90m")')
    dataset = catalog.load("shop")
    times = pl.Series([minute * 60_000_000 for minute, *_ in rows]).cast(pl.Datetime("us", "UTC"))
    raw = pl.DataFrame(
        {"country": [row[1] for row in rows], "amount": [row[2] for row in rows]}, schema_overrides=dataset.event.dtypes
    )
    events = pl.DataFrame({"event_id": [str(i) for i in range(len(rows))], "event_time": times, "clock": times.cum_max()})
    events = events.with_columns(raw.to_struct("raw"))

    def said(cuts: set[int]) -> pl.DataFrame:
        ends, found = [*sorted(cut for cut in cuts if cut < len(rows)), len(rows)], []
        with Remembered(dataset, apart=True) as memory:
            for start, end in zip([0, *ends], ends, strict=False):
                memory.fold(events[start:end], raw[start:end], start)  # and killed before it was kept
                found.append(memory.fold(events[start:end], raw[start:end], start))
                memory.keep(end)
        return pl.concat(found)

    assert repr(said(cuts).rows()) == repr(said(set()).rows())


def test_no_kill_between_the_features_and_memory_shows(lived: Shop, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything(lived)

    keep, logged_before = Remembered.keep, list[int]()

    def kill(memory: Remembered, upto: int) -> None:
        if upto > logged_before[-1]:
            raise KeyboardInterrupt
        keep(memory, upto)

    with undone(lived, monkeypatch) as after:
        shop = after.afresh(mlflow_store)
        declare(shop, _MEMORY)
        for line in WEEK.strip().splitlines():
            shop.arrive(line)
            ingest("shop")
            if "event" in line:
                logged_before.append(Table("shop", "features").cursor("infer"))
                with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                    patch.setattr(Remembered, "keep", kill)
                    infer("shop")
        with Remembered(catalog.load("shop")) as memory:
            memory.follow()
        assert everything(shop) == expected


def test_two_processes_beside_each_other_remember_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(shop, '[m.count().by("country")]')
    lines, append, inside = WEEK.strip().splitlines(), Table.append, list[int]()

    def competed(table: Table, *arguments: Any) -> None:
        if table.name == "features" and not inside:
            inside.append(1)
            infer("shop")  # another process does it all between this one's fold and its commit
        append(table, *arguments)

    shop.arrive("\n".join(lines[:4]))
    monkeypatch.setattr(Table, "append", competed)
    shop.tick()
    monkeypatch.setattr(Table, "append", append)
    shop.arrive("\n".join(lines[4:]))
    shop.tick()
    assert logged(shop, "count_by_country") == {"a": (0,), "b": (1,), "c": (0,), "d": (2,), "e": (3,), "f": (4,), "g": (1,)}


@pytest.mark.parametrize("other", [_MEMORY, '[m.total("amount").by("country").last("2h").alias("mean_amount_by_country_1h")]'])
def test_what_another_process_begins_anew_misleads_nobody(after: Shop, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """A replay, or a tick by another definition, is killed right after it emptied the file, between two looks of this one."""
    follow, inside = Remembered.follow, list[int]()

    def killed(memory: Remembered, upto: int) -> None:
        raise KeyboardInterrupt

    def competed(memory: Remembered, *arguments: Any) -> int:
        count = follow(memory, *arguments)
        if not inside:
            inside.append(1)
            redeclare(after, _MEMORY, other)
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), Remembered(catalog.load("shop")) as rival:
                patch.setattr(Remembered, "keep", killed)
                follow(rival, anew=True)
            redeclare(after, other, _MEMORY)
        return count

    after.arrive("event  h  13:40  amount=5 country=DE")
    with monkeypatch.context() as patch:
        patch.setattr(Remembered, "follow", competed)
        after.tick()
    assert inside
    assert logged(after, "count_by_country_1h", "total_amount_by_country", "mean_amount_by_country_1h")["h"] == (1, 210, 40)
    after.arrive("event  i  13:45  amount=5 country=DE")
    after.tick()
    assert logged(after, "count_by_country_1h", "total_amount_by_country")["i"] == (2, 215)
    assert verify("shop").problems == []


def test_a_process_that_is_behind_does_not_empty_the_file_of_one_that_is_ahead(after: Shop) -> None:
    """It looks at the table, another process goes on, and then it looks at the file."""
    known = Remembered._stands

    def competed(memory: Remembered) -> Any:
        if not inside:
            inside.append(1)
            after.arrive("event  h  13:40  amount=5 country=DE")
            infer_all()
        return known(memory)

    def infer_all() -> None:
        ingest("shop")
        infer("shop")

    inside = list[int]()
    with Remembered(catalog.load("shop")) as memory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remembered, "_stands", competed)
        assert memory.follow() == 0
    with sqlite3.connect(file_of_memory(after)) as connection:
        assert connection.execute("SELECT arrival FROM stands").fetchone() == (9,)
    connection.close()


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ("[m.count().last(60)]", r"last\(60\) has no unit; write '60s' or timedelta\(seconds=60\)"),
        ('[m.mean("amout")]', "mean_amout: unknown feature or raw column 'amout'; did you mean 'amount'"),
        ('[m.mean("label")]', "'label' is the label, and memory knows none"),
        ('[m.mean("country")]', r"'country' is String, and mean\(\) is of numbers"),
        ('[m.count().alias("amount")]', "'amount' is among features already"),
        ("[m.count(), m.count()]", "'count' is among memory already"),
        ('[m.distinct("country")]', r"write distinct\('country'\).last\('7d'\)"),
        ("[preprocessing.StandardScaler()]", "write a function that builds it"),
        ('["amount"]', r"memory holds 'amount'; write count\(\)"),
        ('m.Memory([m.count()], idle="never")', r"idle='never': 'never' is no length of time"),
        ("m.Memory([m.count()], idle=30)", r"idle=30 has no unit; write '30d' or timedelta\(days=30\)"),
        (
            'm.count().by("country").last("1h")',
            r"memory is count\(\).by\('country'\).last\('1h'\), and no list; write memory=\[count\(\).by\('country'\)",
        ),
        ("logistic", r"memory is logistic, and no list; write memory=\[logistic\]"),
        ("None", r"memory holds None; write count\(\)"),
        (
            '[m.count().by(["country", "amount"])]',
            r".by\(\['country', 'amount'\]\): names are not given as a list; write .by\('country', 'amount'\)",
        ),
        ('[m.count().by(pl.col("country"))]', r"""by\(col\("country"\)\): .* not an expression; write .by\('country'\)"""),
        ('[m.mean(pl.col("amount"))]', r"""mean\(col\("amount"\)\): .* not an expression; write mean\('amount'\)"""),
        ('[m.mean(pl.col("amount") * 2)]', r"make a feature of it with .alias\('name'\), and write mean\('name'\)"),
        ('[m.low(["amount"])]', r"low\(\['amount'\]\): names are not given as a list; write low\('amount'\)"),
        ("[m.high(7)]", r"high\(7\): it takes a column's name; write high\('name'\)"),
        (
            '[m.count().by("country").last("180d")]',
            r"count_by_country_180d looks back 180d, and a key is let go when no event of it came for 90d; write "
            r"Memory\(\[…\], idle='180d'\), or a window of '90d' at most",
        ),
        ('m.Memory([m.since().last("3h")], idle="2h")', "since_3h looks back 3h, and a key is let go .* idle='3h'"),
    ],
)
def test_a_memory_that_cannot_be_right_is_refused(place: Path, memory: str, message: str) -> None:
    shop = Shop(place)
    declare(shop, memory)
    with pytest.raises(DatasetError, match=message):
        catalog.load("shop")


@pytest.mark.parametrize(
    ("built", "message"),
    [
        ('compose.Select("country") | preprocessing.OneHotEncoder()', r"grown\(\) gives other names from event to event"),
        ('feature_extraction.TargetAgg("amount", how=stats.Mean())', "learns from labels, and memory knows none"),
        ("preprocessing.StandardScaler()", "grown|'amount' is among features already"),
        ('feature_extraction.Agg("country", None, stats.Mean())', "cannot take 'a'"),
        ("linear_model.LogisticRegression()", "which is no transformer"),
        (
            'feature_extraction.Agg("amount", "country", utils.TimeRolling(stats.Mean, period=timedelta(days=100)))',
            "amount_mean_by_country_100d looks back 100d, .* write Memory",
        ),
        (
            "feature_extraction.RandomTreesEmbedding(n_trees=2)",
            "part of memory 'grown' is built differently each time: an unseeded random generator",
        ),
        ("compose.FuncTransformer(lambda x: x)", "part of memory 'grown' cannot be stored: .*Functions in a part of memory are"),
        ("7", r"part of memory 'grown' is no part of memory: grown\(\) gave 7"),
    ],
)
def test_a_transformer_that_cannot_be_remembered_is_refused(place: Path, built: str, message: str) -> None:
    shop = Shop(place)
    built = f"from river import feature_extraction, stats, utils\n\n\ndef grown():\n    return {built}\n\n\ndataset = Dataset("
    shop.change("dataset = Dataset(", built)
    declare(shop, "[grown]")
    with pytest.raises(DatasetError, match=message):
        recall.of(catalog.load("shop"))


def test_a_function_without_a_name_is_told_to_build_a_part_of_memory(place: Path) -> None:
    shop = Shop(place)
    declare(shop, '[lambda: compose.Select("amount")]')
    with pytest.raises(DatasetError, match="the function <lambda>, which builds a part of memory, cannot be found by its name"):
        recall.of(catalog.load("shop"))


_OWN = """
from river import feature_extraction, stats


class Whole(feature_extraction.Agg):
    def learn_one(self, x, t=None):
        super().learn_one({**x, "amount": x["amount"] // 10})


def whole():
    return Whole("amount", "country", stats.Sum())


dataset = Dataset("""


def test_a_class_of_ones_own_is_what_it_does_and_not_what_it_derives_from(shop: Shop) -> None:
    shop.change("\ndataset = Dataset(", _OWN)
    declare(shop, "[whole]")
    shop.arrive("event  a  10:00  amount=31\nevent  b  10:10  amount=52\nevent  c  10:20  amount=10")
    assert shop.tick().problems == []
    assert logged(shop, "amount_sum_by_country") == {"a": (0,), "b": (3,), "c": (8,)}
    redeclare(shop, "[whole]", "[whole()]")
    with pytest.raises(DatasetError, match=r"memory holds Whole\(…\); write a function that builds it, and name that"):
        catalog.load("shop")


_RAISES = """
from river import feature_extraction, stats, utils


class Picky(stats.base.Univariate):
    def __init__(self):
        self.last = 0.0

    def update(self, x):
        if x == 50:
            raise ValueError("fifty")
        self.last = x

    def get(self):
        if self.last == 10:
            raise ValueError("ten")
        return "much" if self.last == 70 else self.last


def picky():
    return feature_extraction.Agg("amount", "country", Picky())


def several():
    return feature_extraction.Agg("country", None, stats.Mode()) + (
        compose.Select("amount") | preprocessing.StandardScaler() | compose.Suffixer("_scaled")
    )


def spread():
    return feature_extraction.Agg("amount", "country", utils.TimeRolling(stats.SEM, period=timedelta(hours=1)))


dataset = Dataset("""


def test_a_part_of_river_that_raises_tells_this_event_nothing_and_stops_no_tick(shop: Shop, mlflow_store: Path) -> None:
    shop.change("\ndataset = Dataset(", _RAISES)
    declare(shop, "[picky, several, spread]")
    shop.arrive(WEEK)
    problems = shop.tick().problems
    assert problems == [
        "memory: Picky of River of amount by country could not tell 3 of 7 events anything (first: event 'b': "
        "ValueError('fifty'))",
        "memory: several() could not tell 6 of 7 events anything (first: event 'b': "
        "TypeError(\"it gave 'DE' where a number was promised\"))",
    ]
    told = {event: value for event, (value,) in logged(shop, "amount_picky_by_country").items()}
    assert told == {"a": 0, "b": None, "c": 0, "d": 30, "e": None, "f": 20, "g": None}
    file_of_memory(shop).unlink()
    last = "event  h  14:00  amount=50 country=FR"
    shop.arrive(last)
    report = shop.tick().infer
    assert report and report.refolded == 7
    assert ["1 of 1" in problem for problem in report.problems] == [True, True]
    assert verify("shop").problems == []
    at_once = [repr(row) for row in shop.table("features").select("event_id", "memory", "x").rows()]
    again = shop.afresh(mlflow_store)
    again.change("\ndataset = Dataset(", _RAISES)
    declare(again, "[picky, several, spread]")
    for line in [*WEEK.strip().splitlines(), last]:
        again.arrive(line)
        again.tick()
    assert [repr(row) for row in again.table("features").select("event_id", "memory", "x").rows()] == at_once


def test_neither_listing_nor_status_builds_rivers_transformers(shop: Shop) -> None:
    shop.change("\ndataset = Dataset(", _RIVER)
    declare(shop, "[lately]")
    shop.arrive("event  a  10:00")
    shop.tick()
    code = """
import sys
from millrace.run import run
from millrace.status import status
run("shop")
assert status("shop").memory
assert "river.stats" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
