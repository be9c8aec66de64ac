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
from click.testing import CliRunner

from millrace import catalog, checkpoints, cli, landing, layout, models, pickles, race, tables, task
from millrace.explain import explain
from millrace.policy import policy
from millrace.proof import verify
from millrace.race import would
from millrace.run import run
from millrace.status import status
from millrace.tables import Table
from tests.conftest import CHECKOUT, settled
from tests.scenarios.test_upgrade import upgrade
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
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """A life with a promotion by evidence: logistic learns in its first hour who sends back."""
    with settled(tmp_path_factory.mktemp("life"), mlflow_store) as shop:
        shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
        shop.change(RULE, "race=Race(minimum=20, cooldown=30, level=0.05),")
        shop.change('["Accuracy"]', '["Accuracy", "ConfusionMatrix"]')
        for first, count in ((0, 60), (60, 120), (180, 60)):
            shop.arrive(orders(first, count))
            shop.tick()
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


def test_the_same_predictions_give_the_same_promotions_however_outcomes_are_cut(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at_once in (60, 239):
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
    [(_, since, *_)] = promoted(lived)
    lived.change("cooldown=30", "cooldown=3000")
    lived.arrive(orders(240, 120, sent_back=False))
    lived.tick()
    found = lived.status()
    champion = found.models["logistic"]
    assert champion.worse_since is not None and champion.worse_over == "reign" and champion.worse_labels == found.outcomes - since
    [problem] = found.problems
    assert problem.startswith("the champion 'logistic' is no better than the base rate since 2026-01-05T0")
    assert f"{champion.worse_by:+.4f} from that of prior, over the same {champion.worse_labels:,} labels" in problem


def test_a_champion_that_leaves_the_file_gives_way_to_the_best_of_the_others(lived: Shop) -> None:
    lived.change('models={"logistic": logistic}', 'models={"other": other}')
    told = would("shop")
    assert (told.champion, told.promoted) == ("logistic", "prior") and len(promoted(lived)) == 1
    assert "prior would take over with the next outcome: 'logistic' is no longer in the dataset's file" in str(told)
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
    assert lived.status().models["logistic"].labelled == 244  # it goes on where it was, by its newest version
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
    columns = layout.schemas(catalog.load("shop"))
    of_3 = ("seq", "model", "labelled", "empty", "loss", "recent_loss", "metrics", "clock", "sha256", "at")
    new = [column for column in columns["standings"] if column not in of_3]
    for name in ("outcomes", "interventions", "standings", "promotions"):
        shutil.rmtree(root / name)
    for name in ("standings", "promotions"):
        kept = {column: dtype for column, dtype in columns[name].items() if column not in new}
        tables._create(root / name, pl.DataFrame(schema=kept))
    sha256 = checkpoints.write_state("shop", b"the pickle of a class that is no more")
    Table("shop", "standings").append(standings.drop(new).with_columns(sha256=pl.lit(sha256)), {"score": upto})
    Table("shop", "promotions").append(promotions, {"promote": promotions.height})
    (root / ".layout").write_text("3")


def test_metrics_that_are_added_are_counted_from_the_first_label_and_one_that_cannot_take_it_holds_up_nothing(
    lived: Shop,
) -> None:
    lived.change(
        "dataset = Dataset(",
        "class Fragile(metrics.Accuracy):\n    def update(self, y_true, y_pred, w=1.0):\n        raise ValueError(y_true)\n\n\n"
        "dataset = Dataset(",
    )
    lived.change("from river import compose", "from river import metrics, compose")
    lived.change('"ConfusionMatrix"', '"MCC", Fragile()')
    before = lived.status().models["logistic"]
    report = race.score("shop")
    assert report.again == "the dataset's file has changed its metrics" and "run again from its first outcome" in str(report)
    found = lived.status().models["logistic"]
    assert (found.labelled, found.loss, found.confusion) == (240, before.loss, None)
    assert found.metrics.keys() == {"Accuracy", "MCC", "Fragile"} and found.metrics["Fragile"] is None
    assert found.metrics["Accuracy"] == before.metrics["Accuracy"]
    assert (race.score("shop").again, len(promoted(lived))) == (None, 1)
    lines = {line.name: line for line in policy("shop", draw=False).lines}
    assert lines["logistic alone"].metrics == found.metrics


def test_after_an_upgrade_the_state_of_the_race_is_not_loaded_but_made_again(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, row = race.standings("shop"), promoted(lived)
    upgrade(monkeypatch)
    monkeypatch.setattr(pickles, "loads", lambda *_: pytest.fail("it was loaded in hope"))
    assert would("shop").champion == "logistic"
    report = race.score("shop")
    assert report.again and "made in another environment (river 0." in report.again
    after = race.standings("shop")
    assert [one["environment"] for one in after] == [models.environment()] * 2
    kept = [name for name in before[0] if name not in ("sha256", "at", "environment")]
    assert [[one[name] for name in kept] for one in after] == [[one[name] for name in kept] for one in before]
    assert promoted(lived) == row


def test_a_promotion_is_proven_by_the_rule_and_the_loss_under_which_it_was_made(lived: Shop) -> None:
    lived.change("minimum=20, cooldown=30, level=0.05", "minimum=10, cooldown=60, level=1, window=40")
    lived.change('loss="log"', 'loss="brier"')
    assert verify("shop").problems == []
    lived.arrive(orders(240, 60, sent_back=False))
    report = lived.tick()
    assert report.learn and report.learn.race and report.learn.race.again == "the dataset's file has changed its loss, window"
    found = lived.status()
    assert (found.loss, found.champion) == ("brier", "prior")
    said = lived.table("predictions").filter(pl.col("model") == "logistic").sort("arrival")
    loss, labels = catalog.load("shop").race_loss, lived.table("outcomes").sort("event_arrival")["label"]
    each = [loss.of(one, label) for one, label in zip(task.from_columns(catalog.load("shop"), said), labels, strict=True)]
    assert found.models["logistic"].loss == pytest.approx(sum(each) / 300)
    assert [(row[3], orjson.loads(row[6])["loss"]) for row in promoted(lived)] == [("logistic", "log"), ("prior", "brier")]
    lived.change("minimum=10", "minimum=40")
    proven = verify("shop")
    assert proven.problems == [] and "promotions: 2 of 2 compared and the same" in str(proven)
    race.rebuild("shop")
    assert lived.status().models["logistic"].loss == found.models["logistic"].loss


def test_from_which_event_on_a_feature_is_there_that_was_added_later(lived: Shop) -> None:
    assert lived.status().features_since == {}
    lived.change('pl.col("country")]', 'pl.col("country"), pl.col("amount").sqrt().alias("root")]')
    lived.change('models={"logistic": logistic}', 'models={"logistic": logistic, "whole": whole}')
    lived.change(
        "dataset = Dataset(",
        "def whole():\n    return preprocessing.OneHotEncoder() | linear_model.Perceptron()\n\n\ndataset = Dataset(",
    )
    lived.tick()  # the features of no event have no new one
    lived.arrive("event p 05:00\nevent q 05:01\nlabel p 05:02 true")
    lived.tick()
    since = {"feature": "root", "arrival": 481, "event_id": "p", "models": ["whole"]}
    assert orjson.loads(lived.status().as_json())["features_since"] == {"root": {**since, "event_time": "2026-01-05T05:00:00Z"}}
    [note] = [note for note in explain("shop", "o3").notes if "root" in note]
    said = "feature 'root' was added later: it is there since event 'p' (arrival 481, 2026-01-05T05:00:00Z)"
    assert note == f"{said}, and whole knows it from there on"
    assert said in " ".join(CliRunner().invoke(cli.millrace, ["status", "shop"]).output.split())


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
    for i, part in enumerate((ordered[:200], ordered[200:300], ordered[300:])):
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
