"""How good would a model have been? River says the same, whatever is supposed of the answers' delay."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from river import evaluate, metrics

from benchmarks.place import environment
from millrace import asof, catalog, models, replay, state
from millrace.clock import parse_moment
from millrace.errors import MillraceError, UsageError
from millrace.feed import feed
from millrace.run import run
from millrace.tables import Table
from millrace.validate import ValidateReport, validate
from millrace.validation.questions import Position
from tests.conftest import CHECKOUT
from tests.shop import Shop

DAY = """
    event  a  10:00  amount=30
    event  b  10:10  amount=900 country=FR
    event  c  10:20  amount=20 country=IT
    label  b  10:15  true
    label  a  10:30  false
    event  d  10:40  amount=800
    event  e  11:10  amount=50
    label  d  10:50  true
    label  e  13:10  false
"""


@pytest.fixture
def day(shop: Shop) -> Shop:
    """The shop after one day; nobody ever says what became of c."""
    shop.arrive(DAY)
    shop.tick()
    return shop


def losses(report: ValidateReport) -> dict[tuple[str, str], float | None]:
    """The loss by model and cadence."""
    return {(one.model, one.cadence): one.loss for one in report.scores}


def mean_log_loss(*shares: float) -> float:
    """The mean log loss, where so much had been given to what came."""
    return sum(-math.log(share) for share in shares) / len(shares)


@pytest.mark.parametrize(
    ("delay", "shares"),
    [
        # What prior (half a label for each class) gives to b, a, d, e, as far as it knows the others.
        ("none", (0.75, 0.5, 1.5 / 3, 1.5 / 4)),
        ("labels", (0.5, 0.5, 1.5 / 3, 1.5 / 4)),
        ("25m", (0.5, 0.5, 1 / 4 * 2, 1.5 / 4)),
        ("arrival", (0.5, 0.5, 1.5 / 3, 1.5 / 4)),
    ],
)
def test_an_answer_counts_from_when_it_came(day: Shop, delay: str, shares: tuple[float, ...]) -> None:
    if delay == "none":  # a is known before b is asked about: no label, then one against
        shares = (0.5 / 2, 0.5, 1.5 / 3, 1.5 / 4)
    report = validate("shop", "prior", delay=delay, cadences=["label"], keep=False)
    [score] = report.scores
    assert (score.events, score.labelled) == (5, 4)
    assert score.loss == pytest.approx(mean_log_loss(*shares))


def test_with_a_cadence_the_model_that_answers_is_the_one_last_published(day: Shop) -> None:
    report = validate("shop", "prior", delay="labels", cadences=["label", "1h", "1d"], keep=False)
    assert losses(report) == {
        ("prior", "label"): pytest.approx(mean_log_loss(0.5, 0.5, 1.5 / 3, 1.5 / 4)),
        ("prior", "1h"): pytest.approx(mean_log_loss(0.5, 0.5, 0.5, 1.5 / 4)),  # at 11:00 it knows b, a and d
        ("prior", "1d"): pytest.approx(mean_log_loss(0.5, 0.5, 0.5, 0.5)),
    }
    assert [one.refreshes for one in report.scores] == [3, 1, 0]


@pytest.mark.parametrize("delay", ["labels", "none", "3h"])
@pytest.mark.parametrize("model", ["logistic", "recent", "forest"])
def test_river_says_the_same_of_flights(flights: str, delay: str, model: str) -> None:
    dataset = catalog.load(flights)
    columns = ("event_id", "event_time", "label", "label_time")
    rows = Table(flights, "features").read("event_id", "arrival", "event_time", "x").sort("event_time", "arrival")
    rows = rows.join(
        Table(flights, "examples").read(*columns).drop("event_time"), on="event_id", how="left", maintain_order="left"
    )
    stream = [({k: v for k, v in x.items() if v is not None}, label) for x, label in zip(rows["x"], rows["label"], strict=True)]
    moments = iter(rows["event_time"])
    if delay == "labels":
        delays: Iterator[timedelta] = iter((rows["label_time"] - rows["event_time"]).fill_null(timedelta(days=99)))
    else:
        delays = iter([timedelta(hours=3) if delay == "3h" else timedelta(0)] * rows.height)
    metric = metrics.ROCAUC() + metrics.Accuracy()
    answered = [one for one in stream if one[1] is not None] if delay != "labels" else stream
    if delay != "labels":  # River has no answers that never come but by their delay
        moments = iter(rows.filter(pl.col("label").is_not_null())["event_time"])
    evaluate.progressive_val_score(
        answered, dataset.models[model](), metric, moment=lambda _: next(moments), delay=lambda _, __: next(delays)
    )
    report = validate(flights, model, delay=delay, cadences=["label"], keep=False)
    ours = next(score for score in report.scores if score.model == model)
    assert [ours.metrics["ROCAUC"], ours.metrics["Accuracy"]] == metric.get()


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Any:
    """Two days of flights that were lived through."""
    place = tmp_path_factory.mktemp("flights")
    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
    with environment(place):
        shutil.copytree(CHECKOUT / "datasets", place / "datasets", dirs_exist_ok=True)
        feed("flights", datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 4, tzinfo=UTC), timedelta(hours=12))
        run("flights")
        yield "flights"


def test_processes_beside_each_other_come_to_the_same_numbers(flights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone: Any = {}
    both: Any = {"cadences": ["1h", "6h"], "delay": "labels", "by": "origin", "keep": False}
    for score in validate(flights, "logistic", "nightly", **both).scores:
        alone[score.model, score.cadence] = score
    monkeypatch.setattr("millrace.parallel.WORTH_PROCESSES", 0)
    beside = validate(flights, "logistic", "nightly", **both).scores
    assert len(beside) == len(alone) == 6
    for score in beside:
        same = alone[score.model, score.cadence]
        assert replace(score, seconds=0) == replace(same, seconds=0)
        assert {part.of for part in score.segments} == {"EWR", "JFK", "LGA"}
        assert sum(part.labelled for part in score.segments) == score.labelled


def test_a_warm_start_knows_what_was_known_and_learns_what_was_still_open(flights: str) -> None:
    begin = datetime(2013, 1, 3, 12, tzinfo=UTC)
    dataset = catalog.load(flights)
    told: Any = {"delay": "labels", "cadences": ["label"], "keep": False}
    whole = validate(flights, "logistic", **told)
    warm = validate(flights, "logistic", first=begin, start="warm", **told)
    cold = validate(flights, "logistic", first=begin, **told)
    known = asof.seq_at(dataset, begin)
    assert 0 < known < Table(flights, "examples").cursor("seq")
    late = {part.of: part.loss for part in whole.scores[1].windows if isinstance(part.of, datetime) and part.of >= begin}
    again = {part.of: part.loss for part in warm.scores[1].windows}
    assert again.keys() == late.keys()
    assert again == {hour: pytest.approx(loss, rel=1e-9) for hour, loss in late.items()}
    assert warm.scores[1].labelled == cold.scores[1].labelled
    assert warm.scores[1].loss < cold.scores[1].loss  # type: ignore[operator]


def test_a_version_that_knew_the_stretch_is_refused(flights: str) -> None:
    with pytest.raises(UsageError, match=r"knew .* examples, and at 2013-01-02T12:00:00Z only"):
        validate(flights, first=datetime(2013, 1, 2, 12, tzinfo=UTC), start="v7", keep=False)
    with pytest.raises(UsageError, match="has no version v99; the newest is v10"):
        validate(flights, start="v99", keep=False)


def test_a_version_is_what_it_was_and_learns_nothing_between(shop: Shop) -> None:
    for hour in (10, 12, 14):
        shop.arrive(f"""
            event  a{hour}  {hour}:00  amount=30
            event  b{hour}  {hour}:10  amount=700
            event  open{hour}  {hour}:20  amount=10
            label  a{hour}  {hour}:30  true
            label  b{hour}  {hour}:40  true
            event  more{hour}  {hour}:50
            label  open{hour}  {hour + 2}:05  true
        """)
        shop.tick()
    first = parse_moment("2026-01-05T14:00Z")
    versions = Table("shop", "checkpoints").read("version", "model", "seq").drop_nulls("version")
    [early] = versions.filter(pl.col("model") == "prior", pl.col("seq") == 3)["version"]
    told: Any = {"first": first, "cadences": ["label"], "delay": "labels", "keep": False}
    warm = validate("shop", "prior", start="warm", **told).scores[0]
    then = validate("shop", "prior", start=f"v{early}", **told).scores[0]
    assert (warm.labelled, then.labelled) == (3, 3)
    # a14 is asked after five labels, all true, or by the version after three; open12 comes at 14:05, before b14 and open14.
    assert warm.loss == pytest.approx(mean_log_loss(5.5 / 6, 6.5 / 7, 6.5 / 7))
    assert then.loss == pytest.approx(mean_log_loss(3.5 / 4, 4.5 / 5, 4.5 / 5))


def test_what_was_asked_before_is_not_answered_from_memory(day: Shop) -> None:
    assert validate("shop", "prior", delay="labels", keep=False).scores[0].labelled == 4
    day.change("window=timedelta(days=1)", "window=timedelta(minutes=20)")
    assert validate("shop", "prior", delay="labels", keep=False).scores[0].labelled == 2


def test_rolling_origins_are_judged_apart_and_together(flights: str) -> None:
    report = validate(flights, "logistic", stretches=3, cadences=["1h"], keep=False)
    together, *apart = [one for one in report.scores if one.model == "logistic"]
    assert [one.end for one in apart[:-1]] == [one.start for one in apart[1:]]
    assert together.labelled == sum(one.labelled for one in apart)
    assert together.loss == pytest.approx(sum((one.loss or 0) * one.labelled for one in apart) / together.labelled)
    assert together.gain is not None
    assert together.gain.low < together.gain.gain < together.gain.high


def test_what_is_not_scored_is_learned(flights: str) -> None:
    half = timedelta(days=1)
    whole = validate(flights, "prior", cadences=["1h"], keep=False).scores[0]
    later = validate(flights, "prior", cadences=["1h"], unscored=half, keep=False).scores[0]
    assert [part for part in later.windows if part in whole.windows] == [
        part for part in whole.windows if isinstance(part.of, datetime) and part.of >= later.start
    ]


IDEAS = """
from river import compose, linear_model
from millrace_datasets.shop import logistic

RATE = 3


def tall():
    return compose.Select("amount") | linear_model.LogisticRegression(l2=small())


def small():
    return 1e-9


def careless():
    return compose.FuncTransformer(lambda x: {"twice": x["amount"] * RATE}) | linear_model.LogisticRegression()


class Choosy(linear_model.LogisticRegression):
    def learn_one(self, x, y):
        if x["amount"] > 700:
            raise ValueError("too much")
        super().learn_one(x, y)


def choosy():
    return compose.Select("amount") | Choosy()


def unseeded():
    from river import forest
    return forest.ARFClassifier()
"""


def test_an_idea_is_judged_and_handed_on(day: Shop, place: Path) -> None:
    (place / "ideas.py").write_text(IDEAS)
    report = validate("shop", "ideas.py:tall", cadences=["label"], delay="labels", keep=False)
    assert [one.model for one in report.scores] == ["prior", "tall"]
    best = validate("shop", "ideas.py:tall", against="tall", cadences=["label"], delay="labels", keep=False)
    assert best.lines is not None
    assert best.lines.splitlines()[0] == "from river import compose, linear_model"
    assert "def small():" in best.lines
    assert best.lines.index("def small()") < best.lines.index("def tall()")
    assert best.lines.endswith('models={…, "tall": tall}')
    assert "Choosy" not in best.lines


def test_a_function_can_be_handed_over_as_it_is(day: Shop) -> None:
    given = validate("shop", catalog.load("shop").models["logistic"], cadences=["label"], keep=False)
    named = validate("shop", "logistic", cadences=["label"], keep=False)
    assert losses(given) == losses(named)


def test_an_example_that_cannot_be_learned_is_skipped_and_said(day: Shop, place: Path) -> None:
    (place / "ideas.py").write_text(IDEAS)
    report = validate("shop", "ideas.py:choosy", delay="labels", cadences=["label"], keep=False)
    score = report.scores[-1]
    assert (score.skipped, score.labelled) == (2, 4)
    assert "choosy at label could not learn 2 examples (the first, asked at 2026-01-05T10:10:00Z: ValueError: too much)" in str(
        report
    )


def test_a_model_that_can_learn_nothing_is_suspended_and_still_asked(
    day: Shop, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.validation.judge.SUSPEND_AFTER", 2)
    (place / "ideas.py").write_text(IDEAS.replace("> 700", "> 0"))
    report = validate("shop", "ideas.py:choosy", delay="labels", cadences=["label"], keep=False)
    assert [(one.labelled, one.skipped) for one in report.scores] == [(4, 0), (4, 2)]
    assert "choosy at label failed on" in str(report)


def test_an_idea_can_be_what_others_are_compared_with(day: Shop, place: Path) -> None:
    (place / "ideas.py").write_text(IDEAS)
    report = validate("shop", "logistic", against="ideas.py:tall", cadences=["1h"], keep=False)
    assert [(one.model, one.gain and one.gain.over) for one in report.scores] == [("tall", None), ("logistic", "tall")]


def test_of_several_stretches_the_run_has_the_loss_over_all(day: Shop) -> None:
    from mlflow import MlflowClient

    report = validate("shop", "logistic", cadences=["1h"], delay="labels", stretches=2)
    together = next(one for one in report.scores if one.model == "logistic")
    assert together.labelled == 4
    assert report.run is not None
    assert MlflowClient().get_run(report.run).data.metrics["loss logistic 1h"] == together.loss


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"chosen": ["logistik"]}, "unknown model 'logistik'; did you mean 'logistic'"),
        ({"chosen": ["ideas.py:large"]}, "unknown function 'large'"),
        ({"chosen": ["nowhere.py:tall"]}, "there is no file nowhere.py"),
        ({"chosen": ["ideas.py:unseeded"]}, "give it a seed"),
        ({"chosen": ["ideas.py:careless"]}, "cannot be stored.*not as lambdas"),
        ({"chosen": ["ideas.txt:tall"]}, "an idea is a function of a .py file"),
        ({"chosen": [max]}, "a model is given by a function that builds it"),
        ({"what_if": True}, "no what-if features yet.*run: millrace replay shop --what-if"),
        ({"delay": "label"}, "unknown delay 'label'; did you mean 'labels'"),
        ({"delay": "2x"}, "'2x' is no length of time"),
        ({"cadences": ["hourly"]}, "cadence: 'hourly' is no length of time.*or 'label'"),
        ({"start": "hot"}, "unknown 'hot'|start: unknown start 'hot'"),
        ({"by": "color"}, "unknown column 'color'; did you mean|unknown column 'color'; available: amount, country"),
        ({"stretches": 0}, "there must be one at least"),
        ({"first": "2026-02-01"}, "has no length"),
        ({"first": "2026-01-06", "last": "2026-01-07"}, "no labelled event of shop counts.*its log has 4 examples"),
        ({"unscored": timedelta(days=2)}, "no labelled event of shop counts"),
    ],
)
def test_what_is_asked_wrongly_is_told(day: Shop, place: Path, asked: dict[str, Any], says: str) -> None:
    (place / "ideas.py").write_text(IDEAS)
    for moment in ("first", "last"):
        if moment in asked:
            asked[moment] = parse_moment(asked[moment])
    with pytest.raises(MillraceError, match=says):
        validate("shop", *asked.pop("chosen", []), keep=False, **asked)


def test_nothing_learned_yet_is_told(shop: Shop) -> None:
    with pytest.raises(MillraceError, match="the log of shop has no example yet; try: millrace run shop"):
        validate("shop")


def test_it_works_on_the_position_of_the_log_at_which_it_began(day: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = validate("shop", "logistic", cadences=["1h"], keep=False)
    at = Position(before.arrival, before.seq)
    day.arrive("""
        event  f  14:00  amount=30
        label  f  14:30  true
    """)
    day.tick()
    assert validate("shop", "logistic", cadences=["1h"], keep=False).seq == 5
    monkeypatch.setattr("millrace.validation.questions.position", lambda *_: at)
    assert validate("shop", "logistic", cadences=["1h"], keep=False).scores[0].loss == before.scores[0].loss


def test_what_it_found_is_drawn_and_logged(day: Shop) -> None:
    from mlflow import MlflowClient

    report = validate("shop", cadences=["label", "1h"], by="country")
    assert report.problems == []
    assert report.picture is not None
    assert report.page is not None
    assert report.picture.read_bytes().startswith(b"\x89PNG")
    assert "://" not in report.page.read_text().replace("http://www.w3.org/", "")
    assert report.run is not None
    logged = MlflowClient().get_run(report.run)
    assert logged.data.params["cadences"] == "['label', '1h']"
    assert logged.data.params["seq"] == "4"
    loss = next(one.loss for one in report.scores if (one.model, one.cadence) == ("logistic", "1h"))
    assert logged.data.metrics["loss logistic 1h"] == loss
    assert {Path(file.path).suffix for file in MlflowClient().list_artifacts(report.run)} == {".png", ".html", ".json"}
    again = validate("shop", cadences=["label", "1h"], by="country")
    assert again.page == report.page


def test_a_model_as_it_was_at_a_moment_and_at_a_place_of_the_log(shop: Shop) -> None:
    for hour in (10, 12, 14):
        shop.arrive(f"""
            event  a{hour}  {hour}:00  amount=30
            event  b{hour}  {hour}:10  amount=700
            label  a{hour}  {hour}:30  true
            label  b{hour}  {hour}:40  false
        """)
        shop.tick()
    table = Table("shop", "checkpoints")
    rows = table.read("seq", "digest", where=(pl.col("model") == "logistic") & pl.col("version").is_null())
    recorded = dict(rows.iter_rows())
    assert sorted(recorded) == [0, 2, 4, 6]
    for seq, digest in recorded.items():
        assert state.digest(replay("shop", "logistic", to=seq)) == digest
    assert state.digest(replay("shop", "logistic", to="2026-01-05T13:00Z")) == recorded[4]
    middle = replay("shop", "logistic", to=parse_moment("2026-01-05T12:35Z"))
    by_hand = models.build(catalog.load("shop"), "logistic")
    for x, label in Table("shop", "examples").read("x", "label").head(3).iter_rows():
        by_hand.learn_one(x, label)
    assert state.digest(middle) == state.digest(by_hand)
    with pytest.raises(MillraceError, match="has no seq 7; it goes from 1 to 6"):
        replay("shop", "logistic", to=7)
    with pytest.raises(MillraceError, match="nothing of shop was learned before 2026-01-05T09:00:00Z: its first answer came at"):
        replay("shop", "logistic", to="2026-01-05T09:00Z")
    with pytest.raises(UsageError, match="returns one model: name it"):
        replay("shop", to=3)  # type: ignore[call-overload]
