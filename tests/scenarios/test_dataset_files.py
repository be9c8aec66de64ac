"""What does a broken dataset file get? One message with file, line and what would be right; the others go on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace import catalog
from millrace.cli import main, millrace
from millrace.errors import DatasetError, InexactModelWarning, MillraceError, UsageError
from tests.shop import TEXT, Shop


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("dataset = Dataset(", "dataset = Dataset((", 21, "was never closed"),
        ('task="binary"', 'task="binry"', 22, "unknown task 'binry'; did you mean 'binary'?"),
        ('loss="log"', 'loss="absolute"', 27, "loss 'absolute'"),
        ("label=pl.Boolean", "label=pl.String", 24, "a binary label is pl.Boolean"),
        ('pl.col("country")]', 'pl.col("county")]', 25, "county"),
        ('[pl.col("amount"),', '[pl.col("amount").mean().alias("m"),', 25, "row by row"),
        ('[pl.col("amount"),', '["amount",', 25, "write Polars expressions"),
        ('"logistic": logistic', '"champion": logistic', 26, "the name is taken"),
        ('"logistic": logistic', '"logistic": lambda: logistic()', 26, "is not a function of this file"),
        ("Column(pl.Float64, between=(0, 1000))", "Column(pl.Categorical)", 23, "a column cannot be"),
        ("timedelta(days=1)", "timedelta(days=0)", 30, "longer than nothing"),
        ("from datetime import timedelta", "from datetime import timedleta", 3, "timedleta"),
    ],
)
def test_the_message_names_the_line_and_what_would_be_right(shop: Shop, old: str, new: str, line: int, said: str) -> None:
    shop.define(TEXT.replace(old, new, 1))
    with pytest.raises(DatasetError) as caught:
        catalog.load("shop")
    assert said in str(caught.value)
    place = str(caught.value).split(": ")[0]
    assert place.startswith(str(shop.path))
    assert int(place.rpartition(":")[2]) == line


def test_a_broken_dataset_does_not_stop_the_others(shop: Shop) -> None:
    (shop.place / "datasets" / "broken.py").write_text("dataset = 1\n")
    datasets, broken = catalog.load_all()
    assert [dataset.name for dataset in datasets] == ["shop"]
    assert "write dataset = Dataset(…)" in str(broken[0])


def test_an_unknown_dataset_is_answered_with_those_that_there_are(shop: Shop) -> None:
    with pytest.raises(UsageError, match=r"unknown dataset 'shpo'; did you mean 'shop'\? available: shop"):
        catalog.load("shpo")


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ('["MAE"]', "metrics: 'MAE' does not fit a binary task; available: Accuracy, "),
        ('["ROCAUCC"]', "metrics: unknown metric 'ROCAUCC'; did you mean 'ROCAUC'? available: Accuracy, "),
        ('["base"]', "metrics: unknown metric 'base'; "),
        ("[logistic]", "is neither a name nor a metric of River, such as 'Accuracy'"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_by_the_first_tick(shop: Shop, metrics: str, said: str) -> None:
    shop.change('["Accuracy"]', metrics)
    assert catalog.load("shop").name == "shop", "it is listed, and River is not loaded for it"
    shop.arrive("event  a  10:00")
    with pytest.raises(DatasetError) as caught:
        shop.tick()
    assert str(caught.value).startswith(f"{shop.path}: ") and said in str(caught.value)
    assert ", MSE" not in str(caught.value), "only what fits"
    assert shop.table("predictions").height == 0 and shop.table("features").height == 0
    shop.change(metrics, '["ROCAUC"]')
    assert shop.tick().problems == []


def test_what_stops_the_race_holds_up_no_publication(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MillraceError("the race of 'shop' cannot be taken up")

    shop.arrive("event  a  10:00")
    assert shop.tick().problems == []
    shop.arrive("label  a  11:00  true")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["millrace.learn"], "score", broken)
        report = shop.tick()
    assert report.problems == ["the race of 'shop' cannot be taken up"] and report.problems[0] in str(report)
    assert report.learn and report.learn.publish and "logistic" in report.learn.publish.versions
    assert shop.tick().problems == []


def test_a_changed_file_is_loaded_again(shop: Shop) -> None:
    before = catalog.load("shop")
    shop.change('metrics=["Accuracy"]', 'metrics=["F1"]')
    assert (before.metrics, catalog.load("shop").metrics) == (["Accuracy"], ["F1"])


def test_a_model_without_a_seed_is_refused_and_holds_up_no_other(shop: Shop) -> None:
    shop.change("import compose, linear", "import compose, ensemble, linear")
    shop.change("dataset = Dataset(", "def bagged():\n    return ensemble.BaggingClassifier(logistic())\n\n\ndataset = Dataset(")
    shop.change('{"logistic": logistic}', '{"bagged": bagged, "logistic": logistic}')
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    report = shop.tick()
    assert any("give it a seed" in problem for problem in report.problems)
    assert shop.status().models["logistic"].seq == 1


def test_another_definition_under_an_old_name_is_refused(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    shop.tick()
    shop.change("linear_model.LogisticRegression()", "linear_model.LogisticRegression(l2=0.1)")
    shop.arrive("event  b  12:00")
    report = shop.tick()
    assert any("give the new definition a name of its own" in problem for problem in report.problems)


def test_a_model_that_is_added_learns_the_whole_log_and_then_predicts(shop: Shop) -> None:
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    shop.tick()
    shop.change("dataset = Dataset(", "def gaussian():\n    return naive_bayes.GaussianNB()\n\n\ndataset = Dataset(")
    shop.change("linear_model, pre", "linear_model, naive_bayes, pre")
    shop.change('{"logistic": logistic}', '{"logistic": logistic, "bayes": gaussian}')
    shop.tick()
    assert shop.status().models["bayes"].seq == 1
    shop.arrive("event  b  12:00")
    shop.tick()
    assert shop.status().models["bayes"].predictions == 1


def test_a_model_that_is_removed_predicts_no_more_and_stays_on_record(shop: Shop) -> None:
    shop.change("dataset = Dataset(", "def plain():\n    return linear_model.LogisticRegression()\n\n\ndataset = Dataset(")
    shop.change('{"logistic": logistic}', '{"logistic": logistic, "plain": plain}')
    shop.change('[pl.col("amount"), pl.col("country")]', '[pl.col("amount")]')
    shop.change('compose.Select("country") | preprocessing.OneHotEncoder()', 'compose.Select("amount")')
    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    shop.tick()
    shop.change(', "plain": plain}', "}")
    shop.arrive("event  b  12:00")
    shop.tick()
    found = shop.status()
    assert found.models["plain"].predictions == 1
    assert any("no longer in" in problem for problem in found.problems)


def test_a_feature_that_is_added_appears_from_then_on(shop: Shop) -> None:
    shop.arrive("event  a  10:00")
    shop.tick()
    shop.change('features=[pl.col("amount"),', 'features=[pl.col("amount").sqrt().alias("root"), pl.col("amount"),')
    shop.arrive("""
        event  b  11:00
        label  a  12:00  true
        label  b  12:00  true
    """)
    shop.tick()
    x = shop.table("features")["x"].struct.unnest()
    assert x.columns == ["amount", "country", "root"]
    assert x["root"].is_null().to_list() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status", "shpo"], 2, "unknown dataset 'shpo'; did you mean 'shop'? available: shop"),
        (["statsu"], 2, "unknown command 'statsu'; did you mean 'status'?"),
        (["status", "--jsn"], 2, "unknown option '--jsn'; did you mean '--json'?"),
        (["run"], 2, "Missing argument 'DATASET'"),
        (["feed", "shop"], 2, "has no stored data"),
        (["feed", "shop", "--every", "1x"], 2, "'1x' is no length of time"),
        (["predictions", "shop", "--since", "2013-01-01T10:00"], 0, ""),
        (["datasets"], 0, ""),
        (["status"], 0, ""),
    ],
)
def test_the_command_line_says_what_there_is_instead(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["millrace", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    assert said in capsys.readouterr().err


def test_every_command_has_an_example_and_answers_as_json(shop: Shop) -> None:
    for name, command in millrace.commands.items():
        help = CliRunner().invoke(millrace, [name, "--help"]).output
        assert f"Example: millrace {name}" in help
        assert name in ("demo", "predictions") or "--json" in help, command


def test_an_unknown_setting_is_named_with_the_nearest(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LANDNG", "x")
    with pytest.raises(UsageError, match="unknown setting MILLRACE_LANDNG; did you mean MILLRACE_LANDING"):
        catalog.names()


def test_no_folder_of_datasets(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DATASETS", str(Path("nowhere")))
    with pytest.raises(MillraceError, match="set MILLRACE_DATASETS"):
        catalog.names()


def test_a_model_that_is_not_exact_is_named_at_load_in_status_and_on_its_versions(shop: Shop) -> None:
    from mlflow.tracking import MlflowClient

    shop.change(
        "def logistic():",
        '''class Seen(linear_model.LogisticRegression):
    """Remembers words in a set."""

    def __init__(self):
        super().__init__()
        self.words = set()


def seen():
    return compose.Select("amount") | Seen()


def logistic():''',
    )
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "seen": seen}')
    shop.arrive("event  a  10:00\nlabel  a  11:00  true")
    with pytest.warns(InexactModelWarning, match=r"shop.py: model 'seen' is not exact: .*Seen.*set") as warned:
        shop.tick()
    assert len(warned) == 1
    found = shop.status()
    assert [problem for problem in found.problems if "model 'seen' is not exact" in problem]
    assert (found.models["logistic"].doubts, len(found.models["seen"].doubts)) == ([], 1)
    versions = {v.tags["model"]: v.tags for v in MlflowClient().search_model_versions("name='shop'")}
    assert "set" in versions["seen"]["inexact"]
    assert "inexact" not in versions["logistic"]
