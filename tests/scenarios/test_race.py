"""Who is promoted, when, and why: over the outcomes, whatever way they are cut, and as it is on record?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import catalog, checkpoints, landing, race, tables, task
from millrace.proof import verify
from millrace.race import would
from millrace.run import run
from millrace.status import status
from millrace.tables import Table
from tests.conftest import CHECKOUT, settled, undone
from tests.shop import Shop

RULE = "race=Race(minimum=5, cooldown=5, level=1),"
COLUMNS = ("number", "seq", "outcome", "model", "before", "reason", "evidence", "clock")


def orders(first: int, count: int, sent_back: bool = True) -> str:
    """Orders a minute apart, each with its answer: those above 500 are sent back; or those below."""
    rows = []
    for i in range(first, first + count):
        dear, hour, minute = i % 2 == 0, i // 60, i % 60
        rows.append(f"event o{i} {hour:02}:{minute:02} amount={900 if dear else 50} country={'DE' if dear else 'FR'}")
        rows.append(f"label o{i} {hour:02}:{minute:02} {str(dear == sent_back).lower()}")
    events = [row for row in rows if row.startswith("event")]
    return "\n".join(events + [row for row in rows if row.startswith("label")])


def promoted(shop: Shop) -> list[tuple[Any, ...]]:
    """Every promotion on record."""
    return shop.table("promotions").select(COLUMNS).rows()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """A life with a promotion by evidence: logistic learns in its first hour who sends back."""
    with settled(tmp_path_factory.mktemp("life"), mlflow_store) as shop:
        shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
        shop.change(RULE, "race=Race(minimum=20, cooldown=30, level=0.05),")
        shop.change('["Accuracy"]', '["Accuracy", "ConfusionMatrix"]')
        for first in (0, 60, 120, 180):
            shop.arrive(orders(first, 60))
            shop.tick()
        yield shop


@pytest.fixture
def lived(whole: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """That life, as it was lived: what a test does to it is undone."""
    with undone(whole, monkeypatch) as shop:
        yield shop


def test_a_better_model_is_promoted_by_evidence_and_everyone_is_told_why(lived: Shop) -> None:
    [(number, seq, outcome, model, before, reason, evidence, _)] = promoted(lived)
    assert (number, model, before, seq) == (1, "logistic", "prior", outcome)
    assert 60 < outcome < 240  # in its first hour it knows nothing
    said = orjson.loads(evidence)
    assert 0 < said["lower"] < said["difference"] < said["upper"]
    assert (said["labels"], said["level"], said["shadows"], said["loss"], said["over"]) == (outcome, 0.05, 1, "log", "reign")
    assert reason.startswith("mean log loss lower by 0.") and f"over the same {outcome} labelled events" in reason

    found = lived.status()
    assert (found.champion, found.champion_reason, found.problems) == ("logistic", reason, [])
    prior = found.models["prior"]
    assert prior.paired == 240 - outcome and prior.difference is not None and prior.difference < 0
    assert found.models["logistic"].confusion is not None
    assert sum(sum(row.values()) for row in found.models["logistic"].confusion.values()) == 240
    assert orjson.loads(found.as_json())["models"]["prior"]["difference"] == prior.difference

    from mlflow.tracking import MlflowClient

    registered = MlflowClient().get_model_version("shop", str(found.models["logistic"].version))
    assert f"Champion since seq {seq}, before it prior: {reason}." in registered.description
    assert (registered.tags["promoted"], registered.tags["evidence"]) == ("1", evidence)


@pytest.mark.parametrize("at_once", [60, 239])
def test_the_same_predictions_give_the_same_promotions_however_outcomes_are_cut(
    lived: Shop, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("millrace.race._OUTCOMES_AT_ONCE", at_once)
    found = [one for _, some in race.again(catalog.load("shop"), 240) for one in some]
    assert [tuple(getattr(one, name) for name in COLUMNS) for one in found] == promoted(lived)
    before = {row["model"]: (row["loss"], row["lower"]) for row in race.standings("shop")}
    race.rebuild("shop")
    assert {row["model"]: (row["loss"], row["lower"]) for row in race.standings("shop")} == before
    assert verify("shop").problems == []


def test_what_would_happen_is_told_and_nothing_is_changed(lived: Shop) -> None:
    lived.change("cooldown=30", "cooldown=3000")
    report = would("shop")
    [prior] = report.shadows
    assert (report.champion, report.outcome, report.promoted, prior.model) == ("logistic", 240, None, "prior")
    assert prior.lacks[-1] == "evidence" and "labels of the cool-down of 3,000" in prior.lacks[0]
    assert str(report).splitlines()[0] == "shop: champion logistic after 240 outcomes; nobody would take over"
    assert orjson.loads(report.as_json())["shadows"][0]["difference"] < 0
    assert len(promoted(lived)) == 1


def test_a_champion_that_is_no_better_than_prior_is_an_alarm_with_since_when(lived: Shop) -> None:
    lived.change("cooldown=30", "cooldown=3000")
    lived.arrive(orders(240, 120, sent_back=False))
    lived.tick()
    lived.arrive(orders(360, 60, sent_back=False))
    lived.tick()
    since = lived.status().models["logistic"].worse_since
    assert since is not None
    [problem] = lived.status().problems
    assert problem.startswith("the champion 'logistic' is no better than the base rate since 2026-01-05T0")
    assert "from that of prior, over the same" in problem


def test_a_champion_that_leaves_the_file_gives_way_to_the_best_of_the_others(lived: Shop) -> None:
    lived.change('models={"logistic": logistic}', 'models={"other": other}')
    lived.arrive(orders(240, 10))
    lived.tick()
    number, _, outcome, model, before, reason, *_ = promoted(lived)[-1]
    assert (number, outcome, model, before) == (2, 241, "prior", "logistic")
    assert reason == "'logistic' is no longer in the dataset's file"
    assert any("model 'logistic' is no longer in" in problem for problem in lived.status().problems)
    lived.change('models={"other": other}', 'models={"other": other, "logistic": logistic}')
    for first in (250, 252):
        lived.arrive(orders(first, 2))
        assert lived.tick().problems == []
    assert lived.status().models["logistic"].labelled == 242  # it goes on where it was, once it has caught up
    assert verify("shop").problems == []


def test_two_models_of_one_definition_are_refused_by_both_names_and_the_others_go_on(lived: Shop) -> None:
    lived.change('models={"logistic": logistic}', 'models={"logistic": logistic, "twin": twin, "other": other}')
    lived.change("dataset = Dataset(", "def twin():\n    return logistic()\n\n\ndataset = Dataset(")
    lived.arrive(orders(240, 4))
    [problem] = lived.tick().problems
    assert "model 'twin' is defined as 'logistic' is (fingerprint " in problem
    found = lived.status().models
    assert (found["logistic"].seq, found["other"].seq, found["twin"].seq) == (244, 244, 0)


def test_a_race_of_an_earlier_release_goes_on_by_the_new_rule_and_its_promotions_stand(lived: Shop) -> None:
    [row] = promoted(lived)
    as_in_layout_3(lived, upto=180)
    lived.arrive(orders(240, 40))
    assert lived.tick().problems == []
    found = lived.status()
    assert (found.champion, found.models["logistic"].labelled, found.models["prior"].labelled) == ("logistic", 280, 280)
    [again] = promoted(lived)
    assert (again[:2], again[2]) == (row[:2], None)
    report = verify("shop")
    assert report.problems == []
    assert (
        "promotions: 0 of 1 compared and the same; 1 by an earlier release's rule, or since a champion left the file, stand"
        in str(report)
    )


def as_in_layout_3(shop: Shop, upto: int) -> None:
    """Let the tables be those of a release that scored the log itself, up to a place of it."""
    root = tables.folder("shop")
    promotions = shop.table("promotions").drop("outcome")
    standings = shop.table("standings").filter(pl.col("seq") == upto)
    columns = tables.schemas(catalog.load("shop"))
    new = ("outcome", "paired", "difference", "lower", "upper", "worse_since", "confusion")
    for name in ("outcomes", "interventions", "standings", "promotions"):
        shutil.rmtree(root / name)
    for name in ("standings", "promotions"):
        kept = {column: dtype for column, dtype in columns[name].items() if column not in new}
        tables._create(root / name, pl.DataFrame(schema=kept))
    sha256 = checkpoints.write_state("shop", b"the pickle of a class that is no more")
    Table("shop", "standings").append(standings.drop(new).with_columns(sha256=pl.lit(sha256)), {"score": upto})
    Table("shop", "promotions").append(promotions, {"promote": promotions.height})
    (root / ".layout").write_text("3")


def test_a_metric_that_cannot_take_a_label_holds_up_nothing(shop: Shop) -> None:
    shop.change(
        "dataset = Dataset(",
        "class Fragile(metrics.Accuracy):\n    def update(self, y_true, y_pred, w=1.0):\n        raise ValueError(y_true)\n\n\n"
        "dataset = Dataset(",
    )
    shop.change("from river import compose", "from river import metrics, compose")
    shop.change('["Accuracy"]', '["Accuracy", Fragile()]')
    shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
    shop.arrive(orders(0, 4))
    assert shop.tick().problems == []
    assert shop.status().models["prior"].labelled == 4
    assert shop.status().models["prior"].metrics["Fragile"] is None


HELD_BACK = ("grass", "sky")


def test_classes_that_were_never_seen_appear_and_are_learned_without_retraining(shop: Shop) -> None:
    text = (CHECKOUT / "datasets" / "image_segments.py").read_text()
    text = text.replace("    labels=Labels(window=timedelta(days=1)),\n", "").replace(
        "from millrace import Dataset, Labels", "from millrace import Dataset"
    )
    text = text.replace(', "hoeffding": hoeffding, "forest": trees', "").replace('"MacroF1"', '"MacroF1", "ConfusionMatrix"')
    (shop.place / "datasets" / "segments.py").write_text(text)
    dataset = catalog.load("segments")
    assert callable(dataset.history)
    rows = dataset.history()
    known = ~pl.col("label").is_in(HELD_BACK)
    # First only classes that are known; then two that are new among them.
    rest = pl.concat([rows.filter(~known)[:160], rows.filter(known)[200:240]]).sort("event_time")
    ordered = pl.concat([rows.filter(known)[:200], rest]).with_columns(event_time=rows["event_time"][:400])
    ordered = ordered.with_columns(label_time=pl.col("event_time") + timedelta(minutes=5))
    landing.folder("segments").mkdir(parents=True)
    for i, part in enumerate(ordered.iter_slices(100)):
        part.drop("label", "label_time").write_ndjson(landing.folder("segments") / f"events-{i}.ndjson")
        part.select("event_id", "label", "label_time").write_ndjson(landing.folder("segments") / f"labels-{i}.ndjson")
        assert run("segments").problems == []

    said = Table("segments", "predictions").read().filter(pl.col("model") == "bayes")
    new = said.join(Table("segments", "outcomes").read("event_id", "label"), on="event_id").sort("arrival")
    new = new.filter(pl.col("label").is_in(HELD_BACK))
    named = [label in classes for label, classes in new.select("label", "classes").iter_rows()]
    predicted = (new["prediction"] == new["label"]).to_list()
    unseen = named.index(True)
    assert 60 < unseen < 100 and all(named[unseen:])  # from the first version on that has met them
    assert sum(predicted[unseen:]) > 0.7 * len(predicted[unseen:]) and not any(predicted[:unseen])
    assert all(abs(sum(row) - 1) < 1e-6 for row in said["probabilities"].to_list() if row)

    found = status("segments")
    assert found.problems == []
    bayes = found.models["bayes"]
    assert bayes.labelled == 400 and bayes.confusion is not None
    assert {label: sum(bayes.confusion[label].values()) for label in HELD_BACK} == dict(new["label"].value_counts().iter_rows())
    assert all(value is not None and 0 < value < 1 for value in bayes.metrics.values())
    worst = dataset.race_loss.worst
    losses = [dataset.race_loss.of(one, label) for one, label in zip(task.from_columns(dataset, new), new["label"], strict=True)]
    assert set(losses[:unseen]) == {worst} and sum(losses[unseen:]) / len(losses[unseen:]) < worst / 2
