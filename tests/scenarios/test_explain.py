"""What is there to know about one event, and is each prediction of it what its version says?"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import orjson
import polars as pl
import pytest

from millrace import catalog, checkpoints, models
from millrace.contributions import contributions
from millrace.errors import UsageError
from millrace.explain import explain
from millrace.explanation import Explanation, PredictionRow
from millrace.infer import load
from millrace.replay import replay
from millrace.tables import Table
from tests.conftest import settled
from tests.scenarios.test_examples_that_fail import FRAGILE, orders
from tests.shop import Shop

HOUR = """
    event  a{0}  1{0}:00  amount=30
    event  b{0}  1{0}:01  amount=40 country=FR
    label  a{0}  1{0}:30  true
    label  b{0}  1{0}:31  false
"""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Shop:
    """The shop after three ticks, an hour each."""
    with settled(tmp_path_factory.mktemp("life"), mlflow_store) as shop:
        for hour in range(3):
            shop.arrive(HOUR.format(hour))
            shop.tick()
    return shop


def rewrite(shop: Shop, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a table's rows behind its back."""
    from deltalake import write_deltalake

    write_deltalake(str(shop.place / "root" / "shop" / table), change(shop.table(table)), mode="overwrite")


def tamper(shop: Shop, event_id: str, model: str, **columns: pl.Expr) -> None:
    """Change a stored prediction."""
    one = (pl.col("event_id") == event_id) & (pl.col("model") == model)
    changed = {name: pl.when(one).then(value).otherwise(pl.col(name)) for name, value in columns.items()}
    rewrite(shop, "predictions", lambda frame: frame.with_columns(**changed))


def of(found: Explanation, model: str) -> PredictionRow:
    """The prediction of a model."""
    return next(one for one in found.predictions if one.model == model)


def outcomes(found: Explanation) -> dict[str, list[tuple[str, bool | None]]]:
    """How each model's prediction was made again, and whether it was the same."""
    return {one.model: [(again.how, again.same) for again in one.remade] for one in found.predictions}


def test_a_plain_event_is_told_from_its_line_to_the_versions_that_learned_it(lived: Shop) -> None:
    found = explain("shop", "b2")
    files = lived.table("files").filter(number=5).row(0, named=True)
    came = found.came
    assert (came.name, came.file, came.line, came.sha256) == (files["name"], 5, 2, files["sha256"])
    assert (found.arrival, f"{found.event_time:%H:%M}", found.raw) == (10, "12:01", {"amount": 40.0, "country": "FR"})
    assert found.features == {"amount": 40.0, "country": "FR"}
    assert ([one.seq for one in found.examples], found.others, found.quarantined, found.problems) == ([6], [], [], [])
    label = found.labels[0]
    assert (label.label, label.label_source, label.delay, label.correction) == (False, "natural", 1800.0, False)
    assert (label.became, label.came.file, label.came.line, label.arrival) == ("learned at seq 6", 6, 2, 12)
    stored = lived.table("predictions").filter(event_id="b2")
    assert {one.model: (one.version, one.seq) for one in found.predictions} == {
        model: (version, seq) for model, version, seq in stored.select("model", "version", "seq").iter_rows()
    }
    again = [("folded again from seq 2 to seq 4", True)]
    assert outcomes(found) == {one.model: [(f"from the state of v{one.version}", True), *again] for one in found.predictions}
    versions = Table("shop", "checkpoints").read(where=pl.col("version").is_not_null() & (pl.col("seq") == 6))
    assert {one.model: (one.checkpoint, one.version, one.version_seq, one.skipped) for one in found.examples[0].learned} == {
        model: (6, version, 6, None) for model, version in versions.select("model", "version").iter_rows()
    }


def test_it_is_read_by_people_and_by_machines_and_adds_up(lived: Shop) -> None:
    told: list[tuple[str, int, int]] = []
    found = explain("shop", "b2", from_nothing=True, progress=lambda *said: told.append(said))
    said = str(found)
    assert "event 'b2', asked 2026-01-05T12:01:00Z, arrival 10" in said
    assert "label False (natural) at 2026-01-05T12:31:00Z, 0:30:00 after the event: learned at seq 6" in said
    assert said.count("the same to the last bit") == 4
    read = orjson.loads(orjson.dumps(found))
    assert read["predictions"][1]["remade"][0]["same"] is True
    assert read["raw"] == {"amount": 40.0, "country": "FR"}

    assert outcomes(found)["logistic"][1] == ("folded from nothing to seq 4", True)
    assert told == [("prior", 4, 4), ("logistic", 4, 4)]

    one = of(found, "logistic")
    sha256 = Table("shop", "checkpoints").read("sha256", where=pl.col("version") == one.version)["sha256"][0]
    model = load(catalog.load("shop"), one.version or 0, sha256)
    assert one.contributions == contributions(model, {"amount": 40.0, "country": "FR"})
    assert one.contributions is not None
    assert set(one.contributions.reaches) == {"amount", "country_DE", "country_FR"}
    terms = one.contributions.terms
    assert [abs(term.contribution) for term in terms] == sorted((abs(term.contribution) for term in terms), reverse=True)
    assert all(term.contribution == term.value * term.weight for term in terms)
    share = 1 / (1 + math.exp(-sum(term.contribution for term in terms)))
    assert share != 0.5
    assert share == pytest.approx(dict(zip(one.classes, one.probabilities, strict=True))[True], rel=1e-12)


def test_what_was_tampered_with_is_told(lived: Shop) -> None:
    one = of(explain("shop", "b2"), "logistic")
    before = dict(zip(one.classes, one.probabilities, strict=True))
    share = math.nextafter(before[True], 1)
    tamper(lived, "b2", "logistic", probabilities=pl.lit([before[False], share]))
    found = explain("shop", "b2")
    told = f"the probability of True is stored as {share!r}, and is {before[True]!r} made again"
    assert [problem.startswith("logistic, ") and told in problem for problem in found.problems] == [True, True]
    assert {model: [same for _, same in again] for model, again in outcomes(found).items()} == {
        "prior": [True, True],
        "logistic": [False, False],
    }

    tamper(lived, "b1", "prior", seq=pl.lit(5))
    assert "seq is stored as 5, and is 2 made again" in explain("shop", "b1").problems[0]

    x = pl.struct(pl.lit(31.0).alias("amount"), pl.col("x").struct.field("country"))
    here = pl.col("event_id") == "a2"
    rewrite(lived, "features", lambda frame: frame.with_columns(pl.when(here).then(x).otherwise(pl.col("x")).alias("x")))
    assert [problem.split(",")[0] for problem in explain("shop", "a2").problems] == ["logistic", "logistic"]

    tamper(lived, "a1", "logistic", version=pl.lit(99))
    assert explain("shop", "a1").problems == ["logistic: v99 is not in the table checkpoints, which was changed by hand"]

    tamper(lived, "a0", "logistic", version=pl.lit(None, dtype=pl.Int64), origin=pl.lit("backfill"))
    found = explain("shop", "a0")
    assert (of(found, "logistic").remade, found.problems) == ([], [])
    assert "made in a backfill; to prove it, run: millrace replay shop logistic --verify" in str(found)

    rewrite(lived, "predictions", lambda frame: frame.filter(pl.col("event_id") != "b0"))
    assert explain("shop", "b0").notes == ["no model has predicted it yet; what to do is told by: millrace status shop"]
    rewrite(lived, "features", lambda frame: frame.filter(pl.col("event_id") != "b0"))
    assert explain("shop", "b0").notes == ["not predicted yet; run: millrace infer shop"]


def test_where_the_state_before_is_gone_an_older_one_is_folded_on(lived: Shop) -> None:
    lineage = checkpoints.newest(Table("shop", "checkpoints"), ["logistic"])["logistic"]
    history = checkpoints.history(Table("shop", "checkpoints"), "logistic", lineage.fingerprint, lineage.environment)
    path = {one.seq: lived.place / "root" / "shop" / "states" / f"{one.sha256}.pkl" for one in history}
    path[2].unlink()
    assert outcomes(explain("shop", "b2"))["logistic"][1] == ("folded again from seq 0 to seq 4", True)
    path[0].write_bytes(b"another")
    path[4].unlink()  # that of the version: MLflow has it
    version = of(explain("shop", "b2"), "logistic").version
    again = [(f"from the state of v{version}", True), ("folded from nothing to seq 4", True)]
    assert outcomes(explain("shop", "b2"))["logistic"] == again


def test_a_changed_definition_is_told_and_is_no_fault(lived: Shop) -> None:
    lived.change("linear_model.LogisticRegression()", "linear_model.LogisticRegression(l2=0.1)")
    lived.arrive(HOUR.format(3))
    lived.tick()
    learned = explain("shop", "a3").examples[0].learned
    assert {one.model: (one.stands, one.checkpoint) for one in learned} == {"prior": (8, 8), "logistic": (6, None)}
    replay("shop", "logistic")
    learned = explain("shop", "a3").examples[0].learned
    assert {one.model: (one.stands, one.checkpoint) for one in learned} == {"prior": (8, 8), "logistic": (8, 8)}
    found = explain("shop", "b2")
    assert (outcomes(found)["logistic"][1], found.problems) == (("folded again from seq 2 to seq 4", True), [])
    found = explain("shop", "b2", from_nothing=True)
    assert found.problems == []
    remade = of(found, "logistic").remade[1]
    assert remade.same is None
    assert "defines 'logistic' otherwise than when this was made" in str(remade)


OWN = """class Own(linear_model.LogisticRegression):
    pass


def logistic():"""


def test_a_class_that_the_file_no_longer_has_is_that_of_the_text_on_record(shop: Shop) -> None:
    text = shop.path.read_text()
    shop.change("linear_model.LogisticRegression()", "Own()")
    shop.change("def logistic():", OWN)
    for hour in range(2):
        shop.arrive(HOUR.format(hour))
        shop.tick()
    shop.define(text)
    found = explain("shop", "b1")
    assert outcomes(found)["logistic"] == [("from the state of v4", True), ("folded again from seq 0 to seq 2", True)]
    assert [same for _, same in outcomes(found)["prior"]] == [True, True]
    assert found.problems == []


def test_a_version_of_another_environment_is_not_loaded_and_its_prediction_may_differ_and_that_is_said(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_VERSIONS", {})  # of the rows as they were
    there = models.environment().replace("river ", "river 0.1+")
    rewrite(lived, "checkpoints", lambda frame: frame.with_columns(environment=pl.lit(there)))
    tamper(lived, "b2", "logistic", probabilities=pl.lit([0.25, 0.75]))
    found = explain("shop", "b2")
    assert found.problems == []
    assert [again.same for again in of(found, "prior").remade] == [None, True]
    loaded, folded = of(found, "logistic").remade
    assert loaded.same is None and "another environment (river 0.1+" in str(loaded) and "not loaded in this one" in str(loaded)
    assert folded.same is False and "(differs by 0." in str(folded) and "(made in another environment: river 0.1+" in str(folded)


def test_an_id_that_has_no_event_is_answered_with_what_there_is(shop: Shop) -> None:
    with pytest.raises(UsageError, match="nothing has arrived for shop yet"):
        explain("shop", "b0")
    shop.arrive(HOUR.format(0))
    shop.arrive("""
        event  broken  15:00  amount=5000
        event  a0      10:00  amount=31
        label  orphan  15:00  true
    """)
    shop.tick()
    with pytest.raises(UsageError, match="unknown event 'b1' of shop; did you mean 'b0'"):
        explain("shop", "b1")
    with pytest.raises(UsageError, match="unknown event 'something else' of shop; no id there is like it"):
        explain("shop", "something else")
    with pytest.raises(UsageError, match=r"events-0003.ndjson \(file 3\), line 1.* was quarantined: .* lies outside 0 to 1000"):
        explain("shop", "broken")
    with pytest.raises(UsageError, match=r"its label True came in labels-0004.ndjson \(file 4\), line 1.*, and waits for it"):
        explain("shop", "orphan")
    found = explain("shop", "a0")  # another row of this id was rejected
    assert (found.raw["amount"], found.arrival, len(found.quarantined)) == (30.0, 1, 1)
    assert found.quarantined[0].reasons[0] in str(found)
    assert "31" in found.quarantined[0].raw


def test_an_event_whose_answer_has_not_come_waits(shop: Shop) -> None:
    shop.arrive("event  a  10:00")
    shop.tick()
    found = explain("shop", "a")
    assert (found.examples, found.labels) == ([], [])
    assert found.notes == ["waits for its label, until 2026-01-06T10:00:00Z on the data's clock"]
    assert outcomes(found)["logistic"] == [("from the state of v2", True), ("folded from nothing to seq 0", True)]
    shop.arrive("event  b  2026-01-07T10:00:00Z")
    shop.tick()
    assert explain("shop", "a").notes == ["no label came within its window"]


def test_a_late_label_and_one_that_is_corrected_are_told_apart(shop: Shop) -> None:
    shop.arrive("""
        event  slow   10:00
        event  twice  10:00
        label  twice  11:00  true
        label  twice  12:00  false
        event  later  2026-01-06T11:00:00Z
        label  slow   2026-01-06T10:30:00Z  true
    """)
    shop.tick()
    found = explain("shop", "slow")
    assert [row.became for row in found.labels] == ["late, after the window of 1d had closed, and not learned"]
    assert (found.labels[0].delay, found.examples) == (24.5 * 3600, [])
    found = explain("shop", "twice")
    assert [(row.label, row.correction, row.became) for row in found.labels] == [
        (True, False, "learned at seq 1"),
        (False, True, "another label came first, and was learned"),
    ]


def test_a_label_that_came_before_its_event_is_its_own(shop: Shop) -> None:
    shop.arrive("""
        label  early  11:00  true
        event  early  10:00
        label  wrong  09:00  true
        event  wrong  10:00
    """)
    shop.tick()
    found = explain("shop", "early")
    assert ([row.became for row in found.labels], found.examples[0].seq) == (["learned at seq 1"], 1)
    assert all(one.answered for one in found.predictions)
    found = explain("shop", "wrong")
    assert (found.labels[0].became, found.examples) == ("earlier than its event, and not learned", [])
    assert [row.stage for row in found.quarantined] == ["join"]


def test_what_one_model_skipped_is_told_of_that_model(shop: Shop) -> None:
    shop.change("dataset = Dataset(", FRAGILE)
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "fragile": fragile}')
    shop.arrive(orders([10, 20, 666, 30, 40]))
    shop.tick()
    shop.arrive(orders([50, 555], hour=11))
    shop.tick()
    found = explain("shop", "10-2")
    skipped = {one.model: one.skipped for one in found.examples[0].learned}
    assert skipped == {"prior": None, "logistic": None, "fragile": "ValueError: the number of the beast"}
    found = explain("shop", "11-0")
    assert outcomes(found)["fragile"][1] == ("folded again from seq 0 to seq 5", True)  # which skips it again
    found = explain("shop", "11-1")  # the error is compared, too
    assert (of(found, "fragile").error, found.problems) == ("KeyError: 'five'", [])


def test_of_an_id_that_came_again_after_the_horizon_the_newest_event_is_told(shop: Shop) -> None:
    shop.change("cadence=timedelta(hours=1)", "cadence=timedelta(hours=1), id_horizon=timedelta(days=2)")
    shop.arrive("""
        event  a  10:00  amount=10
        label  a  11:00  true
        event  a  2026-02-05T10:00:00Z  amount=20
        label  a  2026-02-05T11:00:00Z  false
        label  a  2026-02-05T12:00:00Z  true
    """)
    shop.tick()
    found = explain("shop", "a")
    assert (found.arrival, found.raw["amount"], found.others) == (3, 20.0, [1])
    assert [(row.arrival, row.became) for row in found.labels] == [
        (4, "learned at seq 2"),
        (5, "another label came first, and was learned"),
    ]
    assert "there are earlier ones, at arrival 1" in found.notes[-1]


@pytest.mark.parametrize("name", ["logistic", "recent", "forest", "nightly"])
def test_every_model_of_the_flights_tells_what_reaches_it(bundled: Path, name: str) -> None:
    dataset = catalog.load("flights")
    x = {"distance": 200.0, "visib": 10.0, "rain": 0.0, "carrier": "UA", "origin": "EWR", "clock": 6.0, "hour": "6"}
    x |= {"dest": "IAH", "carrier_origin": "UA-EWR", "origin_hour": "EWR-6"}
    model = models.build(dataset, name)
    found = contributions(model, x)
    assert found.reaches
    assert bool(found.note) == (name in ("forest", "nightly"))
    assert not found.path


def test_a_tree_tells_its_path() -> None:
    from river import preprocessing, tree

    model = preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=20, delta=0.1)
    assert contributions(model, {"a": 1.0}).note == "the tree has learned nothing yet"
    for i in range(400):
        model.learn_one({"a": float(i % 10), "b": float(i % 3)}, i % 10 > 4)
    found = contributions(model, {"a": 9.0, "b": 1.0})
    assert len(found.path) == 2
    assert found.path[0].startswith("a > ")
    assert found.path[1].startswith("Class True: P(False) = 0.0")
    assert "path: a > " in str(found)
    missing = contributions(model, {"b": 1.0}).path  # it goes the way that most have gone, and no step is told twice
    assert [step.split()[0] for step in missing] == ["a", "a", "Class"]


def test_a_model_of_several_classes_has_a_score_each() -> None:
    from river import linear_model

    model = linear_model.SoftmaxRegression()
    for i in range(30):
        model.learn_one({"a": i % 3, "one": 1}, "xyz"[i % 3])
    x = {"a": 2, "one": 1}
    terms = contributions(model, x).terms
    scores = {of: math.exp(sum(term.contribution for term in terms if term.of == of)) for of in "xyz"}
    asked = model.predict_proba_one(x)
    assert {of: score / sum(scores.values()) for of, score in scores.items()} == pytest.approx(asked)


def test_what_wraps_a_regressor_is_named() -> None:
    from river import linear_model, preprocessing

    model = preprocessing.StandardScaler() | preprocessing.TargetStandardScaler(linear_model.LinearRegression())
    for i in range(20):
        model.learn_one({"a": i}, 3.0 * i + 1)
    found = contributions(model, {"a": 30})
    assert (found.estimator, found.note) == ("LinearRegression", "before what TargetStandardScaler makes of the answer")
    assert len(found.terms) == 2
