"""What would a batch model do? Its fits, its answers and its state depend on the examples alone."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from millrace.batch import Batch
from millrace.errors import MillraceError, UsageError
from millrace.window import Window

CHECKOUT = Path(__file__).parent.parent.parent
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2013, 1, 1, tzinfo=UTC)


def linear() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (words, make_column_selector(dtype_include="category")),
    )
    return make_pipeline(columns, LogisticRegression())


def boosted() -> Any:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5, min_samples_leaf=5, random_state=1)


def forest() -> Any:
    imputer = SimpleImputer(strategy="most_frequent")
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(imputer, encoder, RandomForestClassifier(5, max_depth=4, random_state=1, n_jobs=2))


MODELS: dict[str, Callable[[], Any]] = {"linear": linear, "boosted": boosted, "forest": forest}


def stream(count: int, classes: tuple[Any, ...] = (False, True)) -> list[tuple[dict[str, Any], Any, datetime]]:
    """An example every half an hour, with words, numbers, missing values, late columns and late examples."""
    random, examples = np.random.default_rng(1), []
    for i in range(count):
        x: dict[str, Any] = {"size": float(random.normal()), "shop": f"s{random.integers(4 + i // 50)}"}
        if i % 3:
            x["weight"] = float(random.exponential())
        if i > count // 2:
            x["colour"] = "red" if random.random() < 0.5 else None
        y = classes[int(x["size"] + random.normal() > 0) + (len(classes) > 2 and i > count // 2)]
        late = timedelta(hours=5) if i % 10 == 0 else timedelta(0)
        examples.append((x, y, START + i * timedelta(minutes=30) - late))
    return examples


def learn(model: Any, examples: list[tuple[dict[str, Any], Any, datetime]]) -> Any:
    for x, y, t in examples:
        model.learn_one(x, y, t=t)
    return model


class Seen(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Remembers what it was given to fit."""

    def fit(self, frame: pd.DataFrame, answers: Any) -> Seen:
        self.frame_, self.answers_, self.classes_ = frame, answers, np.unique(answers)
        return self

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return np.full((len(frame), len(self.classes_)), 1 / len(self.classes_))


class Broken(Seen):
    """Cannot fit what has a heavy example, and says so with a set."""

    def fit(self, frame: pd.DataFrame, answers: Any) -> Seen:
        if frame["size"].max() > 100:
            raise ValueError(f"too heavy: { {'b', 'a', 'c'} }")
        return super().fit(frame, answers)


# When it fits, and on what


def test_a_fit_sees_the_window_before_the_boundary_and_not_the_example_that_crosses_it() -> None:
    model = Batch(Seen(), last=timedelta(hours=36), every=DAY)
    learn(
        model,
        [
            ({"n": 1}, False, START + 1 * HOUR),  # more than 36 h before the second boundary
            ({"n": 2}, True, START + 20 * HOUR),
            ({"n": 3}, False, START + 25 * HOUR),  # the first boundary: fits on 1, 2
        ],
    )
    assert model.fitted.frame_["n"].tolist() == [1, 2]
    assert model.fitted.answers_.tolist() == [False, True]
    learn(model, [({"n": 4}, True, START + 47 * HOUR)])  # not at a boundary
    assert model.fitted.frame_["n"].tolist() == [1, 2]
    learn(model, [({"n": 5}, True, START + 48 * HOUR)])  # at the second boundary, not after it
    assert model.fitted.frame_["n"].tolist() == [2, 3, 4]


def test_the_last_examples_by_number() -> None:
    model = learn(Batch(Seen(), last=3, every=HOUR), [({"n": i}, i % 2, START + i * HOUR) for i in range(6)])
    assert model.fitted.frame_["n"].tolist() == [2, 3, 4]


def test_at_moves_the_boundary() -> None:
    model: Any = Batch(Seen(), last=10, every=DAY, at=timedelta(hours=8))
    learn(model, [({"n": 1}, 0, START + 7 * HOUR), ({"n": 2}, 1, START + 7 * HOUR)])
    assert not model.fitted
    learn(model, [({"n": 3}, 1, START + 8 * HOUR)])
    assert model.fitted.frame_["n"].tolist() == [1, 2]


def test_the_cadence_follows_the_largest_time_so_far() -> None:
    model = learn(Batch(Seen(), last=10, every=DAY), [({"n": i}, i, START + 23 * HOUR) for i in range(2)])
    learn(model, [({"n": 2}, 0, START + 25 * HOUR)])
    fit = model.fitted
    learn(model, [({"n": 3}, 0, START + 2 * HOUR), ({"n": 4}, 0, START + 26 * HOUR)])  # back, and again over midnight
    assert model.fitted is fit


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_the_window_forgets_from_its_oldest_end(hours: list[int], last: int) -> None:
    window, kept, newest = Window("i"), list[tuple[int, int]](), 0
    for i, hour in enumerate(hours):
        newest = max(newest, hour * 3_600_000_000)
        window.append({"n": float(i)}, i, hour * 3_600_000_000)
        window.forget(last * HOUR, newest)
        if i % 7 == 0:
            window.drop()
        kept.append((i, hour * 3_600_000_000))
        while kept[0][1] < newest - last * 3_600_000_000:
            del kept[0]
        assert window.answers.tolist() == [i for i, _ in kept]
    assert window.frame()[1].get("n", pd.Series(dtype=float)).tolist() == [i for i, _ in kept]


# What the estimator sees


def test_columns_are_in_the_order_first_seen_and_strings_are_categoricals() -> None:
    model = Batch(Seen(), last=10, every=DAY)
    learn(
        model,
        [
            ({"b": "y", "a": 1, "empty": None}, 0, START),
            ({"a": 2.5, "c": True}, 1, START),
            ({"c": False, "b": "x", "a": float("nan")}, 1, START),
            ({}, 0, START + DAY),
        ],
    )
    frame = model.fitted.frame_
    assert list(frame) == ["b", "a", "c"]  # a column without any value is none
    assert frame["b"].cat.categories.tolist() == ["x", "y"]
    assert frame["b"].astype(object).where(frame["b"].notna(), None).tolist() == ["y", None, "x"]
    assert frame["a"].fillna(-1).tolist() == [1, 2.5, -1]
    assert frame["c"].fillna(-1).tolist() == [-1, 1, 0]


def test_a_column_that_meets_a_string_turns_into_strings() -> None:
    model = learn(Batch(Seen(), last=10, every=DAY), [({"a": 1}, 0, START), ({}, 1, START), ({"a": "x"}, 1, START)])
    learn(model, [({"a": 2}, 0, START + DAY)])
    assert model.fitted.frame_["a"].cat.categories.tolist() == ["1.0", "x"]
    assert model.fitted.frame_["a"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("name", MODELS)
def test_what_a_fit_did_not_know_can_be_asked(name: str) -> None:
    model = learn(Batch(MODELS[name](), last=DAY, every=DAY), stream(100))
    for x in ({}, {"shop": "never seen"}, {"shop": 3.5, "size": "large"}, {"size": 1.0, "brand": "new"}):
        assert sum(model.predict_proba_one(x).values()) == pytest.approx(1)


# Before the first fit, and when it fails


def test_before_the_first_fit_the_answer_is_the_share_or_the_mean_of_the_window() -> None:
    classifier = Batch(boosted(), last=3, every=DAY)
    assert (classifier.predict_proba_one({}), classifier.predict_one({})) == ({}, None)
    learn(classifier, [({}, y, START) for y in ("a", "b", "c", "c")])
    assert classifier.predict_proba_one({"x": 1}) == {"b": 1 / 3, "c": 2 / 3}
    assert classifier.predict_one({"x": 1}) == "c"
    regressor = Batch(LinearRegression(), last=2, every=DAY)
    assert regressor.predict_one({}) is None
    learn(regressor, [({}, y, START) for y in (100, 1, 2)])
    assert regressor.predict_one({}) == 1.5


def test_one_class_alone_is_not_fitted() -> None:
    model = learn(Batch(boosted(), last=DAY, every=HOUR), [({"n": i}, True, START + i * HOUR) for i in range(3)])
    assert model.fitted is None
    assert model.predict_proba_one({"n": 1}) == {True: 1.0}
    assert "one class alone, True" in model.failure
    learn(model, [({"n": i}, i % 2 == 0, START + i * HOUR) for i in range(3, 6)])
    assert set(model.predict_proba_one({"n": 1})) == {True, False}
    assert model.failure is None


def test_a_fit_that_fails_leaves_the_one_before_and_says_why() -> None:
    model = learn(Batch(Broken(), last=2, every=HOUR), [({"size": i}, i % 2, START + i * HOUR) for i in range(3)])
    learn(model, [({"size": 101}, 1, START + 3 * HOUR)])
    fit = model.fitted
    learn(model, [({"size": 1}, 0, START + 4 * HOUR)])
    assert model.fitted is fit
    assert model.failure == "2013-01-01 04:00 UTC, 2 examples: ValueError: too heavy: {'a', 'b', 'c'}"
    learn(model, [({"size": 1}, 1, START + i * HOUR) for i in range(5, 7)])
    assert model.failure is None
    assert model.fitted is not fit


def test_a_new_class_is_answered_from_the_next_fit_on() -> None:
    model = learn(Batch(boosted(), last=DAY, every=DAY), [({"n": i % 2}, "ab"[i % 2], START) for i in range(30)])
    learn(model, [({"n": 2}, "c", START + 25 * HOUR)])
    assert set(model.predict_proba_one({"n": 2})) == {"a", "b"}
    learn(model, [({"n": 2}, "c", START + 49 * HOUR)])
    assert model.failure == "2013-01-03 00:00 UTC, 1 examples: MillraceError: the window has one class alone, 'c'"


# The same to the bit


@pytest.mark.parametrize("name", MODELS)
def test_one_row_and_many_rows_are_answered_alike(name: str) -> None:
    examples = stream(300, classes=("a", "b", "c") if name != "linear" else (False, True))
    model = learn(Batch(MODELS[name](), last=150, every=DAY), examples)
    xs = [x for x, _, _ in examples][:150]
    alone = [model.predict_proba_one(x) for x in xs]
    assert model.predict_proba_many(xs) == alone
    assert model.predict_proba_many(xs[5:] + xs) == alone[5:] + alone  # in two blocks
    assert model.predict_many(xs) == [model.predict_one(x) for x in xs]
    assert model.predict_proba_many([]) == []


def test_one_row_and_many_rows_are_answered_alike_by_a_regressor() -> None:
    estimator = HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=5, random_state=1)
    for fitted in (estimator, make_pipeline(linear()[0], LinearRegression())):
        model = learn(Batch(fitted, last=DAY, every=DAY), [(x, 3.5 * y, t) for x, y, t in stream(100)])
        xs = [x for x, _, _ in stream(100)]
        assert model.predict_many(xs) == [model.predict_one(x) for x in xs]
        assert len(set(model.predict_many(xs))) > 3


def folded(trips: int) -> str:
    """Fold every model over the stream, with a pickle round trip every `trips` examples, and hash what it says."""
    digest, examples = hashlib.sha256(), stream(300, classes=("a", "b", "c"))
    for make in MODELS.values():
        model = Batch(make(), last=2 * DAY, every=12 * HOUR)
        for i, (x, y, t) in enumerate(examples):
            if i % 20 == 0:
                digest.update(repr(model.predict_proba_many([x for x, _, _ in examples[i : i + 3]])).encode())
            model.learn_one(x, y, t=t)
            if i % trips == 0:
                model = pickle.loads(pickle.dumps(model))
        assert model.failure is None
    return digest.hexdigest()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_it_is_the_same_over_pickles_threads_and_hash_seeds(threads: str) -> None:
    script = "from tests.unit.test_batch import folded; print(folded(37))"
    environment = os.environ | {"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    assert elsewhere.stdout.strip() == folded(1000)


def test_filters_of_warnings_do_not_decide_the_state() -> None:
    model = Batch(make_pipeline(linear()[0], MLPClassifier(max_iter=1, random_state=1)), last=DAY, every=DAY)
    assert learn(model, stream(100)).failure is None  # it did not converge; a warning is an error in these tests


# As River's


def test_it_is_what_its_estimator_is() -> None:
    classifier, regressor = Batch(boosted(), last=9, every=DAY), Batch(LinearRegression(), last=9, every=DAY)
    assert isinstance(classifier, Batch) and isinstance(classifier, base.Classifier)
    assert isinstance(regressor, Batch) and isinstance(regressor, base.Regressor)
    assert classifier._multiclass
    assert metrics.LogLoss().works_with(classifier) and metrics.MAE().works_with(regressor)


def test_a_clone_is_fresh_and_a_copy_is_not() -> None:
    model = learn(Batch(boosted(), last=DAY, every=DAY, at=HOUR), stream(100))
    assert model.clone().predict_proba_one({}) == {}
    assert model.clone().at == HOUR
    twin = copy.deepcopy(model)
    learn(twin, [({"size": 0.0}, True, START + 90 * HOUR)])
    assert len(twin.window) != len(model.window)
    assert "HistGradientBoosting" in repr(model)


def test_a_window_is_written_small() -> None:
    model = learn(Batch(DummyClassifier(), last=10_000, every=timedelta(days=999)), stream(4_000))
    assert len(pickle.dumps(model)) < 40 * 4_000


# What is refused


def test_without_a_time_it_says_what_to_do() -> None:
    model = Batch(boosted(), last=9, every=DAY)
    wrongs: list[Any] = [None, START.replace(tzinfo=None), 3]
    for wrong in wrongs:
        with pytest.raises(UsageError, match=r"call learn_one\(x, y, t=…\)"):
            model.learn_one({"n": 1}, True, t=wrong)
    with pytest.raises(UsageError, match=r"feature 'n' is \[1\]"):
        model.learn_one({"n": [1]}, True, t=START)
    with pytest.raises(UsageError, match="a class is"):
        model.learn_one({"n": 1}, None, t=START)
    with pytest.raises(UsageError, match="finite"):
        Batch(LinearRegression(), last=9, every=DAY).learn_one({}, float("nan"), t=START)
    assert len(model.window) == 0


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (HistGradientBoostingClassifier(), "give it a seed: random_state=1"),
        (make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs")), "mlpclassifier__random_state=1"),
        (LogisticRegression(solver="saga"), "give it a seed"),
        (GridSearchCV(LogisticRegression(), {"C": [1]}, cv=KFold(shuffle=True)), "(?s)KFold .* cv__random_state=1"),
        (SGDClassifier(random_state=1), "has no predict_proba"),
        (StandardScaler(), "takes a scikit-learn classifier or regressor"),
        (LogisticRegression, "takes a scikit-learn classifier or regressor"),
    ],
)
def test_an_estimator_that_cannot_be_folded_is_refused(estimator: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Batch(estimator, last=9, every=DAY)


def test_a_seed_is_not_asked_of_what_draws_nothing() -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=KFold())
    for estimator in (LogisticRegression(), search, DummyClassifier(), DummyRegressor()):
        assert Batch(estimator, last=9, every=DAY).fitted is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"last": 0}, "last is"),
        ({"last": True}, "last is"),
        ({"last": -DAY}, "last is"),
        ({"last": 2.5}, "last is"),
        ({"every": timedelta(0)}, "every is"),
        ({"every": 3}, "every is"),
        ({"at": 8}, "at is"),
    ],
)
def test_parameters_that_cannot_work_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parameters: dict[str, Any] = {"last": 9, "every": DAY} | wrong
        Batch(LinearRegression(), **parameters)


def test_an_estimator_that_cannot_take_what_is_missing_says_what_to_do() -> None:
    model = learn(Batch(LinearRegression(), last=9, every=DAY), [({"n": i}, i, START) for i in range(3)])
    learn(model, [({"n": 1}, 1, START + DAY)])
    with pytest.raises(MillraceError, match="SimpleImputer"):
        model.predict_one({})


def test_importing_it_imports_nothing_heavy() -> None:
    script = "import sys, millrace.batch; print([m for m in ('sklearn', 'pandas', 'numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
