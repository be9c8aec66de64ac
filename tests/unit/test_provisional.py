"""Do models that learn defaults at once come to say what is true?"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from river import compose, ensemble, forest, linear_model, naive_bayes, preprocessing, tree

from millrace import Batch, catalog, exact, models, state, task
from millrace.contributions import contributions
from millrace.examples import Example, as_examples
from millrace.learner import Learner, learn_until_error
from millrace.prior import PriorClassifier
from millrace.provisional import FakeNegativeCalibration, FakeNegativeWeighting, ProvisionalPrior, corrected
from tests.shop import Shop

HOUR = 3_600_000_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stream(count: int, default: bool = False, weight: float = 1.0) -> list[Example]:
    """Events that are learned at once, and those that are positive again twenty events later."""
    source, found = random.Random(7), list[Example]()
    waiting: list[tuple[int, dict[str, Any]]] = []
    for i in range(count):
        x = {"a": source.gauss(0, 1), "b": source.random()}
        found.append((0, f"e{i}", i * HOUR, default, weight, x))
        if source.random() < (0.35 if x["a"] > 0 else 0.1):
            waiting.append((i + 20, x))
        while waiting and waiting[0][0] <= i:
            found.append((0, f"e{i}", i * HOUR, not default, weight, waiting.pop(0)[1]))
    return [(seq, *rest) for seq, (_, *rest) in enumerate(found, 1)]


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def nightly() -> Any:
    from sklearn.linear_model import LogisticRegression

    return Batch(LogisticRegression(random_state=1), last=400, every=timedelta(days=3))


def in_force(make: Callable[[], Any], default: bool = False) -> Any:
    def build() -> Any:
        return make()

    build.__qualname__ = "build"
    return corrected(exact.build(build, "build", weighted=True), default)


MAKES: dict[str, tuple[Callable[[], Any], type]] = {
    "logistic": (logistic, FakeNegativeWeighting),
    "tree": (tree.HoeffdingTreeClassifier, FakeNegativeWeighting),
    "forest": (lambda: forest.ARFClassifier(3, seed=1), FakeNegativeWeighting),
    "bag": (lambda: ensemble.BaggingClassifier(logistic(), 3, seed=1), FakeNegativeWeighting),
    "bayes": (naive_bayes.GaussianNB, FakeNegativeCalibration),
    "labels only": (lambda: preprocessing.StandardScaler() | linear_model.ALMAClassifier(), FakeNegativeCalibration),
    "nightly": (nightly, FakeNegativeCalibration),
}


@pytest.mark.parametrize("default", [False, True])
def test_weighting_is_the_papers(default: bool) -> None:
    model, by_hand = in_force(logistic, default), logistic()
    rows = stream(300, default)
    assert learn_until_error(model, rows) == (len(rows), None)
    for *_, y, _, x in rows:
        p = min(by_hand.predict_proba_one(x)[not default], 0.999)
        by_hand.learn_one(x, y, w=(1 - p) * (1 + p) if y is default else 1 + p)
    for *_, x in rows[-20:]:
        assert model.predict_proba_one(x) == by_hand.predict_proba_one(x)


@pytest.mark.parametrize("default", [False, True])
def test_calibration_is_the_papers(default: bool) -> None:
    model, by_hand = in_force(naive_bayes.GaussianNB, default), naive_bayes.GaussianNB()
    rows = stream(300, default)
    assert learn_until_error(model, rows) == (len(rows), None)
    for *_, y, _, x in rows:
        by_hand.learn_one(x, y)
    for *_, x in rows[-20:]:
        b = by_hand.predict_proba_one(x)[not default]
        p = 1.0 if b >= 0.5 else b / (1 - b)
        assert model.predict_proba_one(x) == {default: 1 - p, not default: p}


@pytest.mark.parametrize("name", ["logistic", "tree", "bayes"])
def test_in_the_mean_a_model_says_what_is_true_and_would_not_without(name: str) -> None:
    make, _ = MAKES[name]
    rows = stream(2_000)
    xs = [x for *_, y, _, x in rows if not y][-500:]
    truth = sum(0.35 if x["a"] > 0 else 0.1 for x in xs) / len(xs)
    model, plain = in_force(make), make()
    learn_until_error(model, rows)
    learn_until_error(plain, rows)
    said, without = (sum(one.predict_proba_one(x)[True] for x in xs) / len(xs) for one in (model, plain))
    assert said == pytest.approx(truth, rel=0.15)
    assert without == pytest.approx(truth / (1 + truth), rel=0.15)
    assert abs(said - truth) < abs(without - truth)


@pytest.mark.parametrize("name", MAKES)
def test_each_is_one_fold_wherever_it_is_cut_and_stored(name: str) -> None:
    make, kind = MAKES[name]
    rows = stream(150, weight=0.5)
    whole = in_force(make)
    assert type(whole) is kind
    assert state.digest(whole) == state.digest(state.load(state.slim(in_force(make))))
    assert exact.doubts(whole) == []
    assert learn_until_error(whole, rows) == (len(rows), None)
    data = state.slim(in_force(make))
    for start in range(0, len(rows), 37):
        learner = Learner(data, "binary")
        learner.learn(rows[start : start + 37])
        assert not learner.skipped
        data = learner.data
    parts = state.load(data)
    assert state.difference(whole, parts) is None
    xs = [x for *_, x in rows[:30]]
    said, errors = task.predict(whole, "binary", xs)
    assert not any(errors)
    assert said == task.predict(parts, "binary", xs)[0] == [task.finite(task.predict(parts, "binary", [x])[0][0]) for x in xs]
    assert all(one is None or not one or 0 <= one[True] <= 1 for one in said)  # type: ignore[index]


def test_the_examples_own_weight_is_multiplied() -> None:
    model, by_hand = in_force(linear_model.LogisticRegression), linear_model.LogisticRegression()
    learn_until_error(model, [(1, "a", 0, False, 3.0, {"x": 1.0})])
    by_hand.learn_one({"x": 1.0}, False, w=3.0 * 0.75)
    assert model.predict_proba_one({"x": 1.0}) == by_hand.predict_proba_one({"x": 1.0})


def test_prior_counts_each_event_once() -> None:
    prior = corrected(PriorClassifier([False, True]), default=True)
    assert type(prior) is ProvisionalPrior
    assert prior.predict_proba_one({}) == {True: 0.5, False: 0.5}
    for y in [True, True, True, False]:
        prior.learn_one({}, y)
    assert prior.predict_proba_one({}) == {True: 1 - 1.5 / 4, False: 1.5 / 4}


def test_what_moved_an_answer_is_told_through_the_correction() -> None:
    rows = stream(100)
    for make, note in ((logistic, None), (lambda: preprocessing.StandardScaler() | linear_model.ALMAClassifier(), "Fake")):
        model = in_force(make)
        learn_until_error(model, rows)
        told = contributions(model, rows[0][-1])
        assert {term.feature for term in told.terms} >= {"a", "b"}
        assert note is None or note in str(told.note)


def test_models_of_a_dataset_that_says_so_are_corrected_and_have_another_definition(shop: Shop) -> None:
    import mlflow
    import pandas

    before = {name: exact.fingerprint(models.build(catalog.load("shop"), name), None) for name in ("prior", "logistic")}
    shop.change("Labels(window=timedelta(days=1))", 'Labels(window=timedelta(days=1), default=False, learn="provisional")')
    dataset = catalog.load("shop")
    found = {name: models.build(dataset, name) for name in dataset.racing}
    assert {name: type(model) for name, model in found.items()} == {
        "prior": ProvisionalPrior, "logistic": FakeNegativeWeighting,
    }  # fmt: skip
    assert isinstance(found["logistic"].model, compose.Pipeline)
    assert all(exact.fingerprint(found[name], None) != before[name] for name in before)
    shop.arrive("\n".join(f"event  {i}  10:{i:02d}  amount={i}" for i in range(20)))
    shop.arrive("\n".join(f"label  {i}  11:{i:02d}  {'false' if i % 3 else 'true'}" for i in range(20)))
    assert shop.tick().problems == []
    served = mlflow.pyfunc.load_model("models:/shop@logistic")
    raw = pandas.DataFrame({"event_time": [NOON], "amount": [3.0], "country": ["DE"]})
    here, x = models.build(dataset, "logistic"), {"amount": 3.0, "country": "DE"}
    assert shop.table("examples")["label_source"].to_list().count("default") == 20
    assert learn_until_error(here, as_examples(shop.table("examples").sort("seq"))) == (27, None)
    assert here.predict_proba_one(x)[True] in served.predict(raw).iloc[0].tolist()
