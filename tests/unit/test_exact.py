"""A fold is one fold: without interruption, over pickles, and in processes with other hash seeds."""

from __future__ import annotations

import collections
import copy
import functools
import hashlib
import inspect
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import (
    api,
    compose,
    facto,
    feature_extraction,
    linear_model,
    model_selection,
    neighbors,
    optim,
    preprocessing,
    stats,
    tree,
)
from sklearn.linear_model import SGDRegressor
from sklearn.neural_network import MLPRegressor

from millrace import catalog, exact, models, state, substitutes
from millrace.canonical import encode
from millrace.errors import MillraceError

CHECKOUT = Path(__file__).parent.parent.parent
EXAMPLES = 300
ROUND_TRIP = 37

# River's own parameters for its tests; what an estimator is asked, and what it sees: numbers, numbers and words
# (mixed), or both of them through two Selects into a scaler and a one-hot encoder (encoded).
ESTIMATORS = {
    "dummy.NoChangeClassifier": ("multiclass", "mixed"),
    "ensemble.AdaBoostClassifier": ("binary", "encoded"),
    "ensemble.BaggingClassifier": ("binary", "encoded"),
    "ensemble.SRPClassifier": ("multiclass", "mixed"),
    "facto.FMClassifier": ("binary", "mixed"),
    "forest.AMFClassifier": ("multiclass", "numbers"),
    "forest.ARFClassifier": ("multiclass", "mixed"),
    "forest.ARFRegressor": ("regression", "numbers"),
    "forest.OXTRegressor": ("regression", "numbers"),
    "imblearn.HardSamplingClassifier": ("binary", "encoded"),
    "linear_model.ALMAClassifier": ("binary", "encoded"),
    "linear_model.BayesianLinearRegression": ("regression", "numbers"),
    "linear_model.LinearRegression": ("regression", "encoded"),
    "linear_model.LogisticRegression": ("binary", "encoded"),
    "linear_model.PAClassifier": ("binary", "encoded"),
    "linear_model.SoftmaxRegression": ("multiclass", "encoded"),
    "multiclass.OneVsOneClassifier": ("multiclass", "encoded"),
    "multiclass.OneVsRestClassifier": ("multiclass", "encoded"),
    "naive_bayes.GaussianNB": ("multiclass", "numbers"),
    "neighbors.KNNClassifier": ("multiclass", "encoded"),
    "neighbors.KNNRegressor": ("regression", "encoded"),
    "rules.AMRules": ("regression", "numbers"),
    "tree.ExtremelyFastDecisionTreeClassifier": ("multiclass", "mixed"),
    "tree.HoeffdingAdaptiveTreeClassifier": ("multiclass", "mixed"),
    "tree.HoeffdingAdaptiveTreeRegressor": ("regression", "numbers"),
    "tree.HoeffdingTreeClassifier": ("multiclass", "mixed"),
    "tree.HoeffdingTreeRegressor": ("regression", "numbers"),
    "tree.LASTClassifier": ("multiclass", "mixed"),
    "tree.SGTRegressor": ("regression", "numbers"),
}


def select_twice() -> Any:
    return (
        compose.Select("n0", "n1", "n2", "n3") + (compose.Select("n3", "n1", "n0") | feature_extraction.PolynomialExtender())
        | preprocessing.StandardScaler()
        | linear_model.LogisticRegression(optimizer=optim.Adam())
    )


def target_means() -> Any:
    return (
        feature_extraction.TargetAgg(by="word", how=stats.EWMean(0.03))
        + feature_extraction.TargetAgg(by=["word", "answer"], how=stats.BayesianMean(prior=0.3, prior_weight=3))
        | preprocessing.StandardScaler()
        | linear_model.LogisticRegression()
    )


def text() -> Any:
    return feature_extraction.TFIDF(on="text") | linear_model.LogisticRegression()


def random_trees() -> Any:
    return preprocessing.MinMaxScaler() | feature_extraction.RandomTreesEmbedding(seed=1) | linear_model.LogisticRegression()


def given_categories() -> Any:
    known = {"word": {"red", "green", "blue", "amber"}, "answer": {"yes", "no"}}
    return compose.Select(*known) | preprocessing.OneHotEncoder(categories=known) | linear_model.LogisticRegression()


def binary_tree() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=30, delta=0.1, binary_split=True)


def small_tree() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=20, delta=0.5, max_size=0.05, memory_estimate_period=50)


def graph_neighbours() -> Any:
    return neighbors.KNNClassifier(engine=neighbors.SWINN(graph_k=4, warm_up=60, maxlen=120, seed=1))


PIPELINES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "select_twice": (select_twice, "binary", "numbers"),
    "target_means": (target_means, "binary", "mixed"),
    "text": (text, "binary", "mixed"),
    "random_trees": (random_trees, "binary", "numbers"),
    "given_categories": (given_categories, "binary", "mixed"),
    "binary_tree": (binary_tree, "multiclass", "mixed"),
    "small_tree": (small_tree, "multiclass", "mixed"),
    "graph_neighbours": (graph_neighbours, "multiclass", "numbers"),
}
MODELS = [*ESTIMATORS, *PIPELINES]


def fresh(name: str) -> Any:
    """Build a model of the tables, exact."""
    if name in PIPELINES:
        return exact.build(PIPELINES[name][0], name)
    package, kind = name.split(".")
    estimator = getattr(getattr(api, package), kind)
    parameters = copy.deepcopy(next(iter(estimator._unit_test_params())))  # the same nested instances each time
    if "seed" in inspect.signature(estimator.__init__).parameters:
        parameters.setdefault("seed", 1)
    model = estimator(**parameters)
    if ESTIMATORS[name][1] == "encoded":
        numbers = compose.Select("n0", "n1", "n2", "n3") | preprocessing.StandardScaler()
        model = (numbers + (compose.Select("word", "answer") | preprocessing.OneHotEncoder())) | model
    return exact.exact(model)


@functools.cache
def examples(task: str, seen: str) -> list[tuple[dict[str, Any], Any]]:
    draw, rows = random.Random(7), []
    for _ in range(EXAMPLES):
        x: dict[str, Any] = {f"n{place}": draw.gauss(0, 1) for place in range(4)}
        score = sum(x.values()) + draw.gauss(0, 0.5)
        if seen != "numbers":
            x |= {"word": draw.choice(["red", "green", "blue", "amber"]), "answer": draw.choice(["yes", "no"])}
            x |= {"text": f"{x['word']} or {x['answer']} and {draw.choice(['red', 'rose', 'leaf'])}"} if seen == "mixed" else {}
            score += len(str(x["word"])) - 4 + (x["answer"] == "yes")
        label = {"binary": score > 0, "multiclass": ["low", "mid", "high"][(score > -1) + (score > 1)], "regression": score}
        rows.append((x, label[task]))
    return rows


def fold(name: str, round_trip: int = 0) -> tuple[str, str]:
    """Ask and learn all examples; give the digests of the model and of the answers."""
    model = fresh(name)
    task, seen = PIPELINES[name][1:] if name in PIPELINES else ESTIMATORS[name]
    ask = "predict_one" if task == "regression" or name == "multiclass.OneVsOneClassifier" else "predict_proba_one"
    answers = hashlib.sha256()
    for number, (x, y) in enumerate(examples(task, seen), 1):
        answers.update(encode(getattr(model, ask)(x)))
        model.learn_one(x, y)
        if round_trip and number % round_trip == 0:
            model = state.load(state.slim(model))
    return state.digest(model), answers.hexdigest()


def folds() -> dict[str, list[str]]:
    """All folds, over pickles: what another process is asked for."""
    return {name: list(fold(name, ROUND_TRIP)) for name in MODELS}


@pytest.fixture(scope="module")
def elsewhere() -> list[dict[str, list[str]]]:
    """The folds of three processes with other hash seeds, one beside the other."""
    command = "import json; from tests.unit import test_exact; print(json.dumps(test_exact.folds()))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", command],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (0, 1, 2)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    return [json.loads(output) for output in outputs]


@pytest.mark.parametrize("name", MODELS)
def test_a_fold_is_the_same_over_pickles_and_processes(name: str, elsewhere: list[dict[str, list[str]]]) -> None:
    uninterrupted = fold(name)
    assert fold(name, ROUND_TRIP) == uninterrupted
    assert [tuple(process[name]) for process in elsewhere] == [uninterrupted] * 3


class Derived(compose.Select):  # type: ignore[misc]
    pass


class DerivedExact(substitutes.Select):
    pass


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


class Stopped(feature_extraction.BagOfWords):  # type: ignore[misc]
    """The set of stop words is River's, and is looked into only."""


class Hashing:
    def bucket(self, word: str) -> int:
        return hash(word) % 8


class Equal:
    def __hash__(self) -> int:
        return hash("equal")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


def address(x: dict[str, Any]) -> dict[str, Any]:
    return {"at": id(x)}


DOUBTS: dict[str, tuple[Any, list[str]]] = {
    "a class derived from one that is not exact": (
        compose.Pipeline(Derived("a")),
        [
            "pipeline['Derived'] (Derived): River's Select is not exact, and a class derived from it is not replaced; "
            "derive it from millrace.substitutes.Select"
        ],
    ),
    "a class derived from the one that takes its place": (compose.Pipeline(DerivedExact("a")), []),
    "a set": (
        Holder({"a"}),
        ["model.value (Holder): a set has another order in each process; keep a dict in its place (dict.fromkeys)"],
    ),
    "an empty set": (
        Holder(set()),
        ["model.value (Holder): a set has another order in each process; keep a dict in its place (dict.fromkeys)"],
    ),
    "sets in a container": (
        Holder([{"a": frozenset("ab")}]),
        ["model.value[0]['a'] (Holder): a set has another order in each process; keep a dict in its place (dict.fromkeys)"],
    ),
    "sets to come": (
        Holder(collections.defaultdict(set)),
        ["model.value (Holder): a set has another order in each process; keep a dict in its place (dict.fromkeys)"],
    ),
    "a dictionary in its place": (Holder(dict.fromkeys("ab")), []),
    "a set that is sorted": (Holder(substitutes.SortedSet("ab")), []),
    "a set that River put there": (Stopped(on="text", stop_words={"and"}), []),
    "hash in a method": (
        Hashing(),
        ["model (Hashing): hash() of a text is another in each process; take zlib.crc32 of its bytes"],
    ),
    "hash where it belongs": (Equal(), []),
    "id in a function": (
        compose.FuncTransformer(address),
        ["model.func (address): id() is another in each process; number the objects"],
    ),
    "a sketch": (
        Holder(api.sketch.Counter(seed=1)),
        ["model.value (Counter): it places words by Python's hash, which is another in each process; count in a dict"],
    ),
    "scikit-learn without a seed": (
        api.compat.SKL2RiverRegressor(MLPRegressor()),
        ["model.estimator (MLPRegressor): it has no seed; give it random_state=1"],
    ),
    "scikit-learn with a seed": (api.compat.SKL2RiverRegressor(MLPRegressor(random_state=1)), []),
    "scikit-learn that draws nothing, row by row": (api.compat.SKL2RiverRegressor(SGDRegressor()), []),
    "active learning": (
        api.active.EntropySampler(linear_model.LogisticRegression(), seed=1),
        ["model (EntropySampler): it draws when it is asked; learn with the classifier that it wraps"],
    ),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_what_is_not_exact_is_named_with_what_to_do(case: str) -> None:
    model, sentences = DOUBTS[case]
    assert exact.doubts(exact.exact(model)) == sentences


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_exact_is_not_doubted(name: str) -> None:
    assert exact.doubts(fresh(name)) == []


def test_no_model_that_comes_with_millrace_is_doubted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DATASETS", str(CHECKOUT / "datasets"))
    for path in sorted((CHECKOUT / "datasets").glob("*.py")):
        dataset = catalog.load(path.stem)
        for name in dataset.racing:
            assert exact.doubts(models.build(dataset, name)) == [], (dataset.name, name)


def test_the_way_to_a_doubted_part_is_one_that_python_takes() -> None:
    model = exact.exact(compose.Select("a") | compose.TransformerUnion(Derived("b"), ("deep", Stopped(on="text"))))
    [sentence] = exact.doubts(model)
    way = sentence.partition(" (")[0]
    assert type(eval(way, {"pipeline": model})) is Derived


def asked_of_new_categories() -> dict[str, Any]:
    projected = {
        "gaussian": preprocessing.GaussianRandomProjector(n_components=2, seed=1),
        "sparse": preprocessing.SparseRandomProjector(n_components=2, density=0.9, seed=1),
        "trees": feature_extraction.RandomTreesEmbedding(n_trees=2, height=2, seed=1),
    }
    encoder = preprocessing.OneHotEncoder
    steps = {name: encoder() | step | linear_model.LinearRegression() for name, step in projected.items()}
    return {**steps, "machine": facto.FMRegressor(seed=1), "by field": facto.FFMRegressor(seed=1)}


@pytest.mark.parametrize("name", asked_of_new_categories())
def test_asking_about_a_new_category_draws_what_river_draws_and_keeps_nothing(name: str) -> None:
    stock, model = asked_of_new_categories()[name], exact.exact(asked_of_new_categories()[name])
    for number in range(20):
        for each in (stock, model):
            each.learn_one({"word": "abc"[number % 3], "answer": "yn"[number % 2]}, float(number % 4))
    known, new = {"word": "a", "answer": "y"}, {"word": "new", "answer": "y"}
    before = state.digest(model)
    answers = [model.predict_one(x) for x in (known, new, {"word": "other", "answer": "n"}, new, known)]
    assert answers[:2] == answers[:2:-1] == [stock.predict_one(known), stock.predict_one(new)]
    assert state.digest(model) == before != state.digest(stock)


def test_a_renamer_leaves_the_example_to_others() -> None:
    x = {"a": 1, "b": 2}
    assert exact.exact(compose.Renamer({"a": "c"})).transform_one(x) == {"b": 2, "c": 1}
    assert x == {"a": 1, "b": 2}


def test_select_gives_the_order_of_x_and_leaves_out_what_was_null() -> None:
    select = exact.exact(compose.Select("c", "a", "b"))
    assert list(select.transform_one({"b": 1, "z": 2, "c": 3}).items()) == [("b", 1), ("c", 3)]


def test_asking_for_an_unseen_group_gives_what_river_gives_and_adds_nothing() -> None:
    stock = feature_extraction.TargetAgg(by="shop", how=stats.BayesianMean(prior=3, prior_weight=1))
    model = exact.exact(copy.deepcopy(stock))
    for shop, y in [("Ikea", 42), ("Ikea", 16), ("Lidl", 5)]:
        for each in (stock, model):
            each.learn_one({"shop": shop}, y)
    for shop in ["Ikea", "Lidl", "Aldi", "Spar"]:
        assert model.transform_one({"shop": shop}) == stock.transform_one({"shop": shop})
    assert (len(stock._groups), len(model._groups)) == (4, 2)


def test_agg_over_everything_works_before_it_has_seen_anything() -> None:
    model = exact.exact(feature_extraction.Agg(on="price", by=None, how=stats.Mean()))
    assert model.transform_one({"price": 1.0}) == {"price_mean": 0.0}
    model.learn_one({"price": 3.0})
    assert model.transform_one({"price": 1.0}) == {"price_mean": 3.0}


def test_parts_are_made_exact_wherever_they_are() -> None:
    inner = compose.Select("a") | compose.Grouper(feature_extraction.Agg(on="a", by=None, how=stats.Mean()), by="a")
    model = exact.exact(compose.TransformerUnion(inner, ("deep", compose.Pipeline(compose.Select("b")))))
    made = [model["Pipeline"]["Select"], model["deep"]["Select"], model["Pipeline"]["Grouper"].transformer]
    assert {type(part).__module__ for part in made} == {"millrace.substitutes"}
    assert exact.exact(model) is model


def test_a_model_that_is_cloned_stays_exact() -> None:
    assert type(exact.exact(tree.HoeffdingTreeClassifier()).clone()).__module__ == "millrace.substitute_trees"


def unseeded_bandit() -> Any:
    models = [linear_model.LogisticRegression(l2=l2) for l2 in (0.0, 0.1)]
    return model_selection.BanditClassifier(models, metric=api.metrics.Accuracy(), policy=api.bandit.EpsilonGreedy(0.1))


def unseeded_machine() -> Any:
    return preprocessing.StandardScaler() | facto.FMRegressor()


def seeded_bandit() -> Any:
    models = [linear_model.LogisticRegression(l2=l2) for l2 in (0.0, 0.1)]
    policy = api.bandit.ThompsonSampling(reward_obj=api.proba.Beta(), seed=1)
    return model_selection.BanditClassifier(models, metric=api.metrics.Accuracy(), policy=policy)


def test_a_nested_unseeded_generator_is_refused_with_the_path_to_it() -> None:
    with pytest.raises(
        MillraceError, match=r"'bandit' is built differently.*model\.policy\._rng; give it a seed: EpsilonGreedy\(…, seed=1\)$"
    ):
        exact.build(unseeded_bandit, "bandit")
    with pytest.raises(MillraceError, match=r"latent_initializer.*; give it a seed: FMRegressor\(…, seed=1\)$"):
        exact.build(unseeded_machine, "machine")
    assert exact.build(seeded_bandit, "bandit").policy.seed == 1


SHARED = linear_model.LogisticRegression()


def the_same() -> Any:
    return SHARED


def with_a_lambda() -> Any:
    return compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()


def broken() -> Any:
    return linear_model.LogisticRegression(rate=1)


def nothing() -> Any:
    return None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (the_same, r"the same object each time: the_same\(\) must build a fresh one"),
        (with_a_lambda, r"cannot be stored: .*lambda.*top level of the dataset's file"),
        (broken, r"cannot be built: broken\(\) raised TypeError"),
        (nothing, r"no model: nothing\(\) gave None, which has no `learn_one`"),
    ],
)
def test_what_cannot_be_a_model_is_refused(function: Callable[[], Any], message: str) -> None:
    with pytest.raises(MillraceError, match=message):
        exact.build(function, "logistic")


def with_arguments(l2: float = 0.0) -> Any:
    return linear_model.LogisticRegression(l2=l2)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: None, "cannot be found by its name"),
        (with_arguments, r"takes arguments \(l2\)"),
        (linear_model.LogisticRegression, "is none: write `def name"),
        (functools.partial(with_arguments, 0.1), "is none: write `def name"),
    ],
)
def test_a_builder_is_a_function_at_the_top_level_without_arguments(function: object, message: str) -> None:
    with pytest.raises(MillraceError, match=message):
        exact.check_function(function)
    exact.check_function(nothing)


def test_a_fingerprint_tells_definitions_apart_by_state_and_by_text() -> None:
    first = exact.fingerprint(fresh("text"), "def text(): ...")
    assert first == exact.fingerprint(fresh("text"), "def text(): ...")
    others = {
        exact.fingerprint(fresh("text"), None),
        exact.fingerprint(fresh("text"), "def text(): pass"),
        exact.fingerprint(fresh("select_twice"), "def text(): ..."),
        exact.fingerprint(exact.exact(linear_model.LogisticRegression()), None),
        exact.fingerprint(exact.exact(linear_model.LogisticRegression(l2=0.1)), None),
    }
    assert len(others | {first}) == 6
