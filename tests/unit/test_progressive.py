"""Delayed progressive validation is River's own, to the last bit; with a cadence it is what a served copy would have said."""

from __future__ import annotations

import copy
import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import (
    base,
    compose,
    datasets,
    evaluate,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    multiclass,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    stream,
    tree,
)

from millrace import features, progressive, state
from millrace.arguments import takes
from millrace.errors import MillraceError
from millrace.progressive import NEVER

DATA = Path(__file__).parent.parent.parent / "datasets" / "data"
ELEC2 = Path(os.environ.get("ELEC2_CSV", DATA / "elec2.csv"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Questions:
    """Examples with the times of their questions and answers, in microseconds; a delay that they all have in common."""

    xs: list[Any]
    labels: list[Any]
    asked: list[int]
    answered: list[int]
    delay: int | None = None

    @property
    def event_times(self) -> list[datetime]:
        return [EPOCH + timedelta(microseconds=time) for time in self.asked]

    def steps(self, cadence: timedelta | None = None) -> list[int]:
        return progressive.order(np.array(self.asked, np.int64), np.array(self.answered, np.int64), cadence)

    def by_river(self, timed: bool = False) -> dict[str, Any]:
        """Return what River's functions are called with. Time and delay come from the side: a key of `x` would be a feature.

        A label that never comes is None: River asks the question again when the answer is due, and neither scores nor
        learns it.
        """
        moments, waits = iter(self.asked), enumerate(zip(self.asked, self.answered, strict=True))

        def delay(_x: Any, _y: Any) -> int:
            i, (asked, answered) = next(waits)
            return 10 + i % 3 if answered == NEVER else answered - asked

        labels = [None if answered == NEVER else y for y, answered in zip(self.labels, self.answered, strict=True)]
        rows = [(x, y, {"t": t}) if timed else (x, y) for x, y, t in zip(self.xs, labels, self.event_times, strict=True)]
        return {
            "dataset": rows,
            "moment": lambda _x: next(moments),
            "delay": delay if self.delay is None else self.delay,
        }


def score(model: Any, metric: Any, questions: Questions, cadence: timedelta | None = None) -> Any:
    steps = questions.steps(cadence)
    return progressive.score(model, metric.clone(), questions.xs, questions.labels, questions.event_times, steps)


def assert_same_as_river(build: Callable[[], Any], metric: Any, questions: Questions) -> None:
    ours, theirs = build(), build()
    found = score(ours, metric, questions)
    given = questions.by_river(timed="t" in takes(theirs))
    assert found.get() == evaluate.progressive_val_score(model=theirs, metric=metric.clone(), **given).get()
    assert state.digest(ours) == state.digest(theirs)


# The order


@st.composite
def times(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Times of questions, many of them equal, and of answers: at once, before the question, together, late or never."""
    asked = sorted(draw(st.lists(st.integers(-6, 25), max_size=14)))
    delays = st.one_of(st.integers(-3, 12), st.just(0), st.just(NEVER))
    return asked, [NEVER if delay == NEVER else time + delay for time in asked for delay in [draw(delays)]]


@given(times())
@example(([], []))
@example(([3, 3, 3], [3, 3, 3]))
@example(([0, 1, 2], [NEVER, NEVER, NEVER]))
@example(([0, 5, 6, 6], [6, 5, 6, 6]))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_the_order_of_questions_and_answers_is_rivers(drawn: tuple[list[int], list[int]]) -> None:
    asked, answered = drawn
    questions = Questions([{}] * len(asked), [1] * len(asked), asked, answered)
    seen: set[int] = set()
    expected = []
    for i, _x, y in stream.simulate_qa(**questions.by_river()):
        if y is not None:
            expected.append(~i)
        elif i not in seen:
            seen.add(i)
            expected.append(i)
    assert questions.steps() == expected


@pytest.mark.parametrize("delay", [0, 1, 7, 1000])
def test_one_delay_for_all(delay: int) -> None:
    asked = [0, 0, 1, 4, 4, 4, 9, 30]
    questions = Questions([{}] * 8, [1] * 8, asked, [time + delay for time in asked], delay)
    expected = [i if y is None else ~i for i, _x, y in stream.simulate_qa(**questions.by_river())]
    assert questions.steps() == expected


def test_moments_are_microseconds_and_null_is_never() -> None:
    moments = [datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), None, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)]
    column = pl.Series(moments, dtype=pl.Datetime("us", "UTC"))
    assert progressive.times(column).tolist() == [1_000_005, NEVER, -1_000_000]
    assert progressive.times(column.cast(pl.Datetime("ms", "UTC"))).tolist() == [1_000_000, NEVER, -1_000_000]


def test_questions_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(
        MillraceError, match=r"question 2 is asked at 4, before question 1 at 5 .*sort by \(event_time, arrival\)"
    ):
        progressive.order(np.array([1, 5, 4]), np.array([6, 6, 6]))


@pytest.mark.parametrize("cadence", [timedelta(0), timedelta(hours=-1)])
def test_a_cadence_is_longer_than_nothing(cadence: timedelta) -> None:
    with pytest.raises(MillraceError, match="must be longer than nothing"):
        progressive.order(np.array([1, 5]), np.array([6, 6]), cadence)


# The number


def spread(name: str, rows: list[tuple[Any, Any]]) -> Questions:
    """Give examples times of a kind: coarse, so that many are equal."""
    source = random.Random(name)
    asked = list(itertools.accumulate(source.choice([0, 0, 1, 2, 5]) for _ in rows))
    delay = {"at once": 0, "constant": 40}.get(name)
    match name:
        case "at once" | "constant":
            delays = [delay or 0] * len(rows)
        case "coarse":
            delays = [source.choice([0, 1, 2, 5, 30, 31]) for _ in rows]
        case "far apart":
            delays = [source.randrange(3 * len(rows)) for _ in rows]
        case _:
            delays = [source.choice([NEVER, 0, 3, 50]) for _ in rows]
    answered = [NEVER if wait == NEVER else time + wait for time, wait in zip(asked, delays, strict=True)]
    xs, labels = (list(column) for column in zip(*rows, strict=True))
    return Questions(xs, labels, asked, answered, delay)


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def small_forest() -> Any:
    return forest.ARFClassifier(n_models=3, grace_period=40, seed=7)


def linear() -> Any:
    return preprocessing.StandardScaler() | linear_model.LinearRegression()


def small_tree() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=50)


def adaptive_tree() -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=3)


def regression_tree() -> Any:
    return tree.HoeffdingAdaptiveTreeRegressor(grace_period=50, seed=3)


def one_against_the_rest() -> Any:
    return preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(linear_model.LogisticRegression())


def nearest() -> Any:
    return preprocessing.StandardScaler() | neighbors.KNNClassifier(3, neighbors.LazySearch(40))


def nearest_values() -> Any:
    return preprocessing.StandardScaler() | neighbors.KNNRegressor(3, neighbors.LazySearch(40))


SCORES = metrics.LogLoss() + metrics.Accuracy() + metrics.ROCAUC()
CASES: dict[str, tuple[Any, Any, int, list[Any]]] = {
    "logistic": (datasets.Phishing, logistic, 1250, [metrics.LogLoss(), metrics.ROCAUC(), metrics.Accuracy(), SCORES]),
    "tree": (datasets.Phishing, small_tree, 1250, [metrics.LogLoss(), metrics.F1()]),
    "naive Bayes": (datasets.Phishing, naive_bayes.GaussianNB, 600, [metrics.LogLoss(), metrics.MCC()]),
    "forest": (datasets.Phishing, small_forest, 500, [metrics.LogLoss()]),
    "nearest": (datasets.ImageSegments, nearest, 300, [metrics.CrossEntropy(), metrics.MacroF1()]),
    "one against the rest": (datasets.ImageSegments, one_against_the_rest, 400, [metrics.CrossEntropy(), metrics.CohenKappa()]),
    "tree of many classes": (datasets.ImageSegments, adaptive_tree, 400, [metrics.CrossEntropy() + metrics.Accuracy()]),
    "linear": (datasets.TrumpApproval, linear, 1001, [metrics.MAE(), metrics.R2() + metrics.RMSE()]),
    "regression tree": (datasets.TrumpApproval, regression_tree, 600, [metrics.MAE()]),
    "nearest values": (datasets.TrumpApproval, nearest_values, 400, [metrics.RMSE()]),
    "tree of chicks": (datasets.ChickWeights, regression_tree, 578, [metrics.SMAPE()]),
}


@pytest.mark.parametrize("kind", ["at once", "constant", "coarse", "far apart", "some never"])
@pytest.mark.parametrize("case", CASES)
def test_the_number_is_rivers(case: str, kind: str) -> None:
    dataset, build, rows, wanted = CASES[case]
    questions = spread(kind, list(dataset())[:rows])
    for metric in wanted:
        assert_same_as_river(build, metric, questions)


def flights(rows: int) -> Questions:
    """January's flights: 606 of 27,004 are never answered."""
    frame = pl.read_parquet(DATA / "flights.parquet").head(rows)
    xs = features.rows(frame.select("carrier", "origin", "dest", "distance", "precip", "visib"))
    asked, answered = (progressive.times(frame[column]).tolist() for column in ("event_time", "label_time"))
    return Questions(xs, frame["label"].to_list(), asked, answered)


def scaled_and_one_hot() -> Any:
    words = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (compose.SelectType(float) | preprocessing.StandardScaler()) + words


def late_lately() -> Any:
    lately = feature_extraction.TargetAgg(by="dest", how=stats.EWMean(0.05))
    return lately | preprocessing.StandardScaler() | linear_model.LogisticRegression()


class Fading(base.Classifier):  # type: ignore[misc]
    """Says how often it was true lately: what it learned counts half after six hours."""

    def __init__(self) -> None:
        self.share = 0.5
        self.latest: datetime | None = None

    def learn_one(self, x: Any, y: Any, t: datetime) -> None:
        before = self.latest or EPOCH
        self.share += (y - self.share) * (1 - 0.5 ** (abs(t - before) / timedelta(hours=6)))
        self.latest = max(t, before)

    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        return {True: self.share, False: 1 - self.share}


FLIGHTS: dict[str, tuple[Callable[[], Any], int]] = {
    "logistic": (lambda: scaled_and_one_hot() | linear_model.LogisticRegression(), 27_004),
    "asking grows it": (late_lately, 10_000),
    "takes the time": (lambda: compose.SelectType(float) | Fading(), 27_004),
    "tree": (tree.HoeffdingTreeClassifier, 5_000),
    "forest": (small_forest, 500),
}


@pytest.mark.parametrize("case", FLIGHTS)
def test_the_number_of_flights_is_rivers(case: str) -> None:
    build, rows = FLIGHTS[case]
    assert_same_as_river(build, metrics.LogLoss(), flights(rows))


@pytest.mark.skipif(not ELEC2.exists(), reason="no Elec2 here: name its CSV in ELEC2_CSV")
@pytest.mark.parametrize(("build", "rows"), [(logistic, 45_312), (tree.HoeffdingTreeClassifier, 10_000)])
def test_the_number_of_elec2_is_rivers(build: Callable[[], Any], rows: int) -> None:
    """A row is half an hour after the one before it, and its answer comes within 30 days."""
    frame, source = pl.read_csv(ELEC2).head(rows), random.Random(30)
    xs, labels = features.rows(frame.drop("class")), [bool(label) for label in frame["class"]]
    asked = [i * 1_800_000_000 for i in range(frame.height)]
    answered = [time + source.randrange(30 * 48) * 1_800_000_000 for time in asked]
    assert_same_as_river(build, metrics.LogLoss(), Questions(xs, labels, asked, answered))


class Tired(base.Classifier):  # type: ignore[misc]
    """Says something else each time that it is asked."""

    def __init__(self) -> None:
        self.often = 0

    def learn_one(self, x: Any, y: Any) -> None:
        self.often -= y

    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        self.often += 1
        return {} if self.often % 5 == 0 else {True: 1 / (1 + abs(self.often))}


def test_it_is_the_learner_itself_that_is_asked() -> None:
    questions = spread("coarse", [({}, i % 3 == 0) for i in range(60)])
    assert_same_as_river(Tired, metrics.LogLoss(), questions)


def test_what_is_said_is_given_with_its_example_before_it_is_learned() -> None:
    model = Remembers()
    said = progressive.predictions(model, model.predict_one, ["a", "b"], [True, False], [], [0, 1, ~0, ~1])
    assert next(said) == (0, ())
    assert model.learned == []
    assert list(said) == [(1, ())]
    assert model.learned == [("a", True), ("b", False)]


def test_false_and_nought_are_scored_and_nothing_is_not() -> None:
    questions = spread("at once", [({}, label) for label in (True, False, True)])
    assert score(Says(None), metrics.Accuracy(), questions).cm.n_samples == 0
    assert score(Says(False), metrics.Accuracy(), questions).cm.n_samples == 3


def test_a_metric_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MillraceError, match="metric MAE does not fit a Pipeline"):
        progressive.score(logistic(), metrics.MAE(), [], [], [], [])


class Says(base.Classifier):  # type: ignore[misc]
    """Says one thing."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def learn_one(self, x: Any, y: Any) -> None:
        pass

    def predict_one(self, x: Any) -> Any:
        return self.thing


# The cadence


class Remembers:
    """Says all that it has learned."""

    def __init__(self) -> None:
        self.learned: list[Any] = []

    def learn_one(self, x: Any, y: Any) -> None:
        self.learned.append((x, y))

    def predict_one(self, x: Any) -> Any:
        return tuple(self.learned)


def served(build: Callable[[], Any], ask: str, questions: Questions, every: int) -> tuple[Any, dict[int, Any]]:
    """Live through time with a learner and the copy of it that was published last; return the learner, and what was said."""
    learner = build()
    copied, published = copy.deepcopy(learner), None
    waiting: list[tuple[int, int]] = []
    said = {}

    def learn(upto: int) -> None:
        for _, i in sorted(entry for entry in waiting if entry[0] <= upto):
            learner.learn_one(questions.xs[i], questions.labels[i])
        waiting[:] = [entry for entry in waiting if entry[0] > upto]

    for i, (asked, answered) in enumerate(zip(questions.asked, questions.answered, strict=True)):
        publication = asked // every * every  # the last one, which is seen by whoever asks at its moment
        if publication != published:
            learn(publication)
            copied, published = copy.deepcopy(learner), publication
        learn(asked)
        said[i] = getattr(copied, ask)(questions.xs[i])
        if answered != NEVER:
            waiting.append((answered, i))
    learn(NEVER)
    return learner, said


@given(times(), st.integers(1, 12))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_with_a_cadence_a_question_sees_what_was_published_before_it(drawn: tuple[list[int], list[int]], every: int) -> None:
    asked, answered = drawn
    questions = Questions(list(range(len(asked))), ["y"] * len(asked), asked, answered)
    steps, model = questions.steps(timedelta(microseconds=every)), Remembers()
    found = dict(progressive.predictions(model, model.predict_one, questions.xs, questions.labels, [], steps))
    learner, said = served(Remembers, "predict_one", questions, every)
    assert found == {i: said[i] for i in found}
    assert model.learned == learner.learned
    assert sorted(found) == [i for i, time in enumerate(answered) if time != NEVER]
    assert [step for step in steps if step >= 0] == list(range(len(asked)))
    assert [step for step in steps if step < 0] == [step for step in questions.steps() if step < 0]


@pytest.mark.parametrize("build", [logistic, small_tree])
@pytest.mark.parametrize("kind", ["coarse", "far apart", "some never"])
@pytest.mark.parametrize("every", [10, 333])
def test_periodic_learning_needs_no_copy(build: Callable[[], Any], kind: str, every: int) -> None:
    questions = spread(kind, list(datasets.Phishing())[:400])
    model = build()
    steps = questions.steps(timedelta(microseconds=every))
    found = progressive.predictions(model, model.predict_proba_one, questions.xs, questions.labels, [], steps)
    learner, said = served(build, "predict_proba_one", questions, every)
    assert all(prediction == said[i] for i, prediction in found)
    assert state.digest(model) == state.digest(learner)


def test_the_cadence_matters_to_the_number() -> None:
    """It is not there for nothing: the longer a flight's label goes unlearned, the less is known."""
    questions = flights(5_000)
    cadences = (None, timedelta(hours=6), timedelta(days=4))
    at_once, six_hours, four_days = (score(late_lately(), metrics.LogLoss(), questions, cadence).get() for cadence in cadences)
    assert at_once < six_hours < four_days
