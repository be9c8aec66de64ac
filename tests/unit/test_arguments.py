"""Is each part of a model given the time and the weight that it takes, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from river import (
    anomaly,
    bandit,
    base,
    compose,
    drift,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    model_selection,
    multiclass,
    naive_bayes,
    preprocessing,
    stats,
    tree,
    utils,
)  # fmt: skip

from millrace import Batch, exact, state
from millrace.arguments import takes
from millrace.clock import from_microseconds
from millrace.examples import Example
from millrace.learner import Learner, learn_until_error
from millrace.substitutes import inside

HOUR = 3_600_000_000


def examples(count: int = 60, weigh: Callable[[int], float] = lambda i: (i % 4) / 2) -> list[Example]:
    return [
        (i, f"e{i}", i * HOUR, i % 3 == 0, weigh(i), {"a": float(i % 7), "b": float(i % 5), "shop": "xyz"[i % 3]})
        for i in range(1, count + 1)
    ]


def lately() -> Any:
    """A mean of the target over the last hours: it raises without a time."""
    how = utils.TimeRolling(stats.Mean, period=timedelta(hours=9))
    return feature_extraction.TargetAgg(by="shop", how=how)


def numbers() -> Any:
    return compose.Select("a", "b") | preprocessing.StandardScaler()


def rest(*, weighted: bool) -> Any:
    return linear_model.LogisticRegression() if weighted else linear_model.PAClassifier()


def within() -> Any:
    return "inner", compose.TransformerProduct(lately(), compose.Select("a"))


def by_class(*, weighted: bool) -> Any:
    return multiclass.OneVsRestClassifier(rest(weighted=weighted))


def outliers() -> Any:
    return anomaly.QuantileFilter(anomaly.LODA(5, seed=1), 0.9)


def pipeline() -> Any:
    return numbers() | linear_model.LogisticRegression()


def two() -> list[Any]:
    return [lately() | linear_model.LogisticRegression(), numbers() | linear_model.PAClassifier()]


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "a regression": (pipeline, "w"),
    "one that takes none": (lambda: numbers() | linear_model.PAClassifier(), ""),
    "a tree": (tree.HoeffdingTreeClassifier, "w"),
    "one against the rest": (lambda: numbers() | multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), "w"),
    "the same of one that takes none": (lambda: numbers() | multiclass.OneVsRestClassifier(naive_bayes.GaussianNB()), ""),
    "a time beside one that takes none": (lambda: (numbers() + lately()) | by_class(weighted=False), "t"),
    "a time beside a weight": (lambda: (numbers() + lately()) | by_class(weighted=True), "tw"),
    "a union in a union": (lambda: compose.TransformerUnion(numbers(), within()) | rest(weighted=True), "tw"),
    "a pipeline that is bagged": (lambda: ensemble.BaggingClassifier(two()[0], 3, seed=1), "tw"),
    "a boosted one": (lambda: numbers() | ensemble.AdaBoostClassifier(rest(weighted=True), 3, seed=1), "w"),
    "several that vote": (lambda: ensemble.VotingClassifier(two()), "tw"),
    "several in a stack": (lambda: ensemble.StackingClassifier(two(), rest(weighted=True), include_features=False), "tw"),
    "a filter before it": (lambda: compose.Select("a", "b") | outliers() | rest(weighted=True), "w"),
    "one that is trained again": (lambda: drift.DriftRetrainingClassifier(pipeline()), "w"),
    "a forest": (lambda: forest.ARFClassifier(3, seed=1), "w"),
    "random patches": (lambda: ensemble.SRPClassifier(pipeline(), 3, seed=1), "w"),
}  # fmt: skip


def built(model: Callable[[], Any], weighted: bool = True) -> Any:
    def build() -> Any:
        return model()

    build.__qualname__ = "build"
    return exact.build(build, "build", weighted)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_takes_is_found_and_it_learns_with_it_however_the_log_is_cut(name: str) -> None:
    make, taken = MODELS[name]
    whole = built(make)
    assert takes(whole) == frozenset(taken)
    assert learn_until_error(whole, examples()) == (60, None)
    data = state.slim(built(make))
    for start in range(0, 60, 17):
        learner = Learner(data, "binary")
        learner.learn(examples()[start : start + 17])
        assert not learner.skipped, learner.skipped
        data = learner.data
    assert state.difference(whole, state.load(data)) is None
    even = built(make)
    learn_until_error(even, examples(weigh=lambda _: 1.0))
    assert (state.digest(even) == state.digest(whole)) is ("w" not in taken)


@pytest.mark.parametrize("name", MODELS)
def test_without_weights_a_model_is_what_it_was(name: str) -> None:
    make, taken = MODELS[name]
    ours, rivers = built(make, weighted=False), exact.exact(make())
    if "t" not in taken:
        assert state.difference(ours, state.load(state.slim(rivers))) is None
    learn_until_error(ours, examples(weigh=lambda _: 1.0))
    for _, _, moment, label, _, x in examples():
        given: dict[str, Any] = {"t": from_microseconds(moment)} if "t" in taken else {}
        try:
            rivers.learn_one(x, label, **given)
        except TypeError:  # River gives a part what it does not take, or not what it needs: what the substitutes are for
            assert "t" in taken
            return
    if type(ours) is type(rivers):
        assert state.difference(ours, rivers) is None


def test_a_model_learns_what_rivers_own_learns_with_a_weight() -> None:
    ours, by_hand = built(pipeline), pipeline()
    learn_until_error(ours, examples())
    for _, _, _, label, weight, x in examples():
        by_hand["StandardScaler"].learn_one(by_hand["Select"].transform_one(x))
        by_hand["LogisticRegression"].learn_one(by_hand.transform_one(x), label, w=weight)
    x = examples()[0][-1]
    assert ours.predict_proba_one(x) == by_hand.predict_proba_one(x)


class Witness(base.Classifier):  # type: ignore[misc]
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def learn_one(self, x: Any, y: Any, t: Any = None, w: float = 1.0) -> None:
        self.given.append((t, w))

    def predict_proba_one(self, x: Any, **kwargs: Any) -> dict[bool, float]:
        return {False: 0.5, True: 0.5}


@pytest.mark.parametrize(
    "around",
    [
        multiclass.OneVsRestClassifier,
        lambda model: ensemble.VotingClassifier([model, naive_bayes.GaussianNB()]),
        lambda model: ensemble.StackingClassifier([naive_bayes.GaussianNB(), naive_bayes.GaussianNB()], model),
        lambda model: model_selection.BanditClassifier(
            [model, model.clone()], metrics.Accuracy(), bandit.EpsilonGreedy(0.1, decay=0.001, burn_in=2, seed=1)
        ),
    ],
)
def test_what_it_is_given_reaches_the_innermost_part(around: Any) -> None:
    model = built(lambda: compose.Select("a", "b") | around(Witness()))
    assert takes(model) == {"t", "w"}
    assert learn_until_error(model, examples(8)) == (8, None)
    given = [one for witness in found(model) for one in witness.given]
    wanted = {(from_microseconds(moment), weight) for _, _, moment, _, weight, _ in examples(8)}
    assert given
    assert set(given) <= wanted


def found(part: Any) -> list[Witness]:
    waiting, seen = [part], dict[int, Any]()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            waiting += inside(one)
    return [one for one in seen.values() if isinstance(one, Witness)]


def test_a_regressor_of_a_scaled_target_and_a_group_are_given_theirs() -> None:
    how = utils.TimeRolling(stats.Mean, period=timedelta(hours=9))
    grouped = compose.Grouper(feature_extraction.Agg(on="a", by="b", how=how), by="shop")
    model = built(lambda: grouped.clone() | preprocessing.TargetStandardScaler(linear_model.LinearRegression()))
    assert takes(model) == {"t", "w"}
    assert learn_until_error(model, [(*one[:3], float(one[0]), *one[4:]) for one in examples()]) == (60, None)


def test_a_groups_statistic_takes_a_time_or_not_whatever_was_asked_before() -> None:
    plain = feature_extraction.TargetAgg(by="shop", how=stats.Mean())
    assert [sorted(takes(part)) for part in (lately(), plain, lately())] == [["t"], [], ["t"]]


def test_a_batch_model_in_an_ensemble_has_its_time() -> None:
    from sklearn.linear_model import LogisticRegression

    def nightly() -> Any:
        return Batch(LogisticRegression(), last=50, every=timedelta(hours=12))

    model = built(lambda: ensemble.VotingClassifier([compose.Select("a") | nightly(), pipeline()]), weighted=False)
    assert learn_until_error(model, examples()) == (60, None)
    assert takes(model) >= {"t"}


def test_a_forest_learns_an_example_of_a_weight_so_many_times_as_often() -> None:
    def weight_seen(weight: float) -> float:
        model = built(lambda: forest.ARFClassifier(10, seed=1))
        learn_until_error(model, examples(100, weigh=lambda _: weight))
        return float(sum(one._train_weight_seen_by_model for one in model) / len(model))

    assert weight_seen(0.5) == pytest.approx(weight_seen(1.0) / 2, rel=0.1)
    assert weight_seen(3.0) == pytest.approx(weight_seen(1.0) * 3, rel=0.1)
