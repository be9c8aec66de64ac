"""What do River's supervised estimators make of the same examples in this process?

Each is built by `millrace.exact.build`, and learns them without interruption, or with a pickle every 97 examples. On the
way copies are asked, in one order or the other, also about what was never learned. ``test_estimators.py`` compares.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import numbers
import random
from collections.abc import Callable
from typing import Any

from river import anomaly, api, base, compose, feature_extraction, imblearn, metrics, model_selection, stats
from river import feature_selection as selection
from river import preprocessing as pre
from river.linear_model import LinearRegression, LogisticRegression

from millrace import exact, state
from millrace.canonical import encode
from millrace.errors import MillraceError
from tests.conformance import inexact_models

EXAMPLES = 300
ROUND_TRIP = 97
ASKED_AFTER = (50, 170, 300)
QUESTIONS = 8
WORDS = {"numbers": False, "numbers and words": True}

Build = Callable[[], Any]
Make = Callable[[int | None], Any]
"""Makes an estimator with this seed; with None, without one."""


def only_numbers(x: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in x.items() if isinstance(value, float)}


def select_twice() -> Any:
    return compose.Select("n0", "n1", "n2", "n3") + (compose.Select("n3", "n1", "n0") | compose.Prefixer("x_"))


def target_means() -> Any:
    both = feature_extraction.TargetAgg(by=["word", "answer"], how=stats.BayesianMean(prior=0.3, prior_weight=3))
    return feature_extraction.TargetAgg(by="word", how=stats.EWMean(0.03)) + both


def agg(by: Any) -> Any:
    return feature_extraction.Agg(on="n0", by=by, how=stats.EWMean(0.1))


def bag() -> Any:
    return feature_extraction.BagOfWords(on="text", stop_words={"and", "or"}, ngram_range=(1, 2))


SHARES = {True: 0.4, False: 0.6}
GIVEN: dict[str, Make] = {
    "anomaly.QuantileFilter": lambda seed: anomaly.QuantileFilter(anomaly.LODA(10, seed=seed), q=0.9) | pre.StandardScaler(),
    "anomaly.ThresholdFilter": lambda seed: anomaly.ThresholdFilter(anomaly.LODA(10, seed=seed), 3.0) | pre.StandardScaler(),
    "compose.Discard": lambda seed: compose.Discard("n0", "word"),
    "compose.FuncTransformer": lambda seed: compose.FuncTransformer(only_numbers),
    "compose.Grouper": lambda seed: compose.Grouper(agg("word"), by="answer"),
    "compose.Prefixer": lambda seed: compose.Prefixer("x_"),
    "compose.Renamer": lambda seed: compose.Renamer({"n0": "first"}),
    "compose.Select": lambda seed: select_twice(),
    "compose.SelectType": lambda seed: compose.SelectType(float),
    "compose.Suffixer": lambda seed: compose.Suffixer("_x"),
    "compose.TargetTransformRegressor": lambda seed: compose.TargetTransformRegressor(LinearRegression(), float, float),
    "compose.TransformerProduct": lambda seed: compose.Select("n0", "n1", "n2") * compose.Select("n1", "n2", "n3"),
    "compose.TransformerUnion": lambda seed: compose.Select("n3", "n2", "n1") + compose.SelectType(float),
    "feature_extraction.Agg": lambda seed: agg(["word", "answer"]),
    "feature_extraction.BagOfWords": lambda seed: bag(),
    "feature_extraction.TargetAgg": lambda seed: target_means(),
    "feature_extraction.TFIDF": lambda seed: feature_extraction.TFIDF(on="text"),
    "feature_selection.PoissonInclusion": lambda seed: selection.PoissonInclusion(p=0.1, seed=seed),
    "feature_selection.SelectKBest": lambda seed: selection.SelectKBest(stats.PearsonCorr(), k=3),
    "imblearn.RandomOverSampler": lambda seed: imblearn.RandomOverSampler(LogisticRegression(), SHARES, seed),
    "imblearn.RandomSampler": lambda seed: imblearn.RandomSampler(LogisticRegression(), SHARES, 0.5, seed),
    "imblearn.RandomUnderSampler": lambda seed: imblearn.RandomUnderSampler(LogisticRegression(), SHARES, seed),
    "model_selection.SuccessiveHalvingClassifier": lambda seed: model_selection.SuccessiveHalvingClassifier(
        [LogisticRegression(api.optim.SGD(rate)) for rate in (0.1, 0.01, 0.001)], metrics.Accuracy(), budget=200
    ),
    "preprocessing.GapEncoder": lambda seed: pre.GapEncoder(n_components=3, on="text", seed=seed),
    "preprocessing.LDA": lambda seed: bag() | pre.LDA(n_components=3, seed=seed),
    "preprocessing.PredClipper": lambda seed: pre.PredClipper(LinearRegression(), y_min=-3, y_max=9),
    "preprocessing.StatImputer": lambda seed: pre.StatImputer(("n0", stats.Mean()), ("word", stats.Mode())),
    "preprocessing.TargetMinMaxScaler": lambda seed: pre.TargetMinMaxScaler(LinearRegression()),
    "preprocessing.TargetStandardScaler": lambda seed: pre.TargetStandardScaler(LinearRegression()),
}
"""What River's own tests do not say how to make, or make too small to show anything."""

QUICK = {"grace_period": 20, "delta": 0.2, "min_samples_reevaluate": 20, "n_min": 20}
"""What lets trees and rules grow on few examples."""


def walk() -> dict[str, Any]:
    """All that learns one label in River's public modules, or stands before it in a pipeline, by name."""
    kinds = (base.Classifier, base.Regressor, base.AnomalyFilter, base.Transformer, base.SupervisedTransformer)
    found = {}
    for module in sorted(set(dir(api)) - {"base"}):
        for name, kind in inspect.getmembers(getattr(api, module), inspect.isclass):
            if issubclass(kind, kinds) and not issubclass(kind, base.MultiTargetRegressor) and not inspect.isabstract(kind):
                found[f"{module}.{name}"] = kind
    return found


def makes(name: str, kind: Any) -> list[Make]:
    """How an estimator is made: by each of the sets of parameters of River's own tests."""
    if name in GIVEN:
        return [GIVEN[name]]
    known = inspect.signature(kind.__init__).parameters
    ways = [{"binary_split": True}, {}] if "binary_split" in known else [{}]
    return [functools.partial(_make, kind, place, way) for place, _ in enumerate(kind._unit_test_params()) for way in ways]


def _make(kind: Any, place: int, way: dict[str, Any], seed: int | None) -> Any:
    parameters = list(kind._unit_test_params())[place] | way
    quick = {key: value for key, value in QUICK.items() if key in inspect.signature(kind.__init__).parameters}
    return kind(**quick | {key: _anew(value, seed) for key, value in parameters.items()} | _seed(kind, seed))


def _seed(kind: Any, seed: int | None) -> dict[str, Any]:
    return {"seed": seed} if "seed" in inspect.signature(kind.__init__).parameters else {}


def _anew(value: Any, seed: int | None) -> Any:
    """Make a parameter anew: some are the same object at each call, and what is unseeded is to be drawn each time."""
    if isinstance(value, list):
        return [_anew(part, seed) for part in value]
    return value.clone(_seed(type(value), seed)) if isinstance(value, base.Base) else copy.deepcopy(value)


def encoder() -> Any:
    values = compose.Select("n0", "n1", "n2", "n3") | pre.MinMaxScaler()
    return values + (compose.Select("word", "answer") | pre.OneHotEncoder())


def builds(make: Make, seed: int | None) -> list[Build]:
    """The models by which an estimator is tried: itself, or two that it stands before."""
    if isinstance(make(1), base.Classifier | base.Regressor):
        return [lambda: make(seed)]
    words = compose.SelectType(str) | pre.OneHotEncoder()
    return [
        lambda: make(seed) | (compose.SelectType(numbers.Number) + words.clone()) | LogisticRegression(),
        lambda: make(seed) | (compose.SelectType(numbers.Number) + words.clone()) | LinearRegression(),
    ]


@functools.cache
def rows(task: str, words: bool) -> list[tuple[dict[str, Any], Any]]:
    """The examples, and after them the questions: two of them about what no example has."""
    draw, found = random.Random(7), []
    for place in range(EXAMPLES + QUESTIONS):
        x: dict[str, Any] = {f"n{number}": draw.expovariate(1) for number in range(4)}
        score = x["n0"] + x["n1"] - x["n2"] - x["n3"] + draw.gauss(0, 0.5)
        if words:
            x |= {"word": draw.choice(["red", "green", "blue", "amber"]), "answer": draw.choice(["yes", "no"])}
            x["text"] = f"{x['word']} or {x['answer']} and {draw.choice(['red', 'rose', 'leaf'])}"
            score += len(x["word"]) - 4 + 4 * (x["answer"] == "yes")  # two values: the splits by them tie
        if place == EXAMPLES + 2:
            x["n4"] = 1.0
        if place == EXAMPLES + 5:
            x |= {"word": "violet", "text": "violet or yes"} if words else {"n5": 0.5}
        label = {"binary": score > 0, "multiclass": ["low", "mid", "high"][(score > -1) + (score > 1)], "regression": score}
        found.append((x, label[task]))
    return found


def task_of(model: Any) -> str:
    last = list(model.steps.values())[-1] if isinstance(model, compose.Pipeline) else model
    return "regression" if isinstance(last, base.Regressor) else "multiclass" if last._multiclass is True else "binary"


def ask(data: bytes, task: str, questions: list[dict[str, Any]]) -> list[str]:
    """What a copy answers, to the bit: the first 12 digits of its hash; or what it raises."""
    model, found = state.load(data), []
    for x in questions:
        try:
            answer = model.predict_one(x) if task == "regression" else model.predict_proba_one(x)
        except NotImplementedError:
            answer = model.predict_one(x)
        except Exception as error:  # some do not answer where a feature is new
            answer = repr(error)
            if x == questions[0]:
                raise
        found.append(hashlib.sha256(encode(answer)).hexdigest()[:12])
    return found


def named(build: Build) -> Build:
    """Give a builder what `millrace.exact.build` asks for: a function that could stand in a dataset's file."""

    def model() -> Any:
        return build()

    model.__qualname__ = "model"
    return model


def fold(build: Build, words: bool, parts: bool) -> list[str]:
    """Learn the examples, and ask copies on the way; give the answers, and the digest in the end."""
    model = exact.build(named(build), "model")
    task, found = task_of(model), []
    seen = [(dict(x), y) for x, y in rows(task, words)]
    questions = [x for x, _ in seen[EXAMPLES:]]
    for number, (x, y) in enumerate(seen[:EXAMPLES], 1):
        model.learn_one(x, y)
        if number in ASKED_AFTER:
            data = state.slim(model)
            found += ask(data, task, questions[::-1])[::-1] if parts else ask(data, task, questions)
        if parts and number % ROUND_TRIP == 0:
            model = state.load(state.slim(model))
    return [*found, state.digest(model), f"{seen == rows(task, words)}: x is as it was"]


def tried(build: Build, words: bool, parts: bool) -> dict[str, Any]:
    """Fold a model, as it is or else behind an encoder; say what was found, or that it learns neither."""
    for encoded in (False, True) if words else (False,):
        whole = (lambda: encoder() | build()) if encoded else build
        try:
            found = fold(whole, words, parts)
        except Exception as error:  # noqa: BLE001 – whatever a class says to what it does not take
            failure = repr(error)
        else:
            return {"encoded": encoded, "found": found, "doubts": exact.doubts(exact.build(named(whole), "model"))}
    return {"raises": failure}


def folds(parts: bool) -> dict[str, Any]:
    """All folds of one process, by estimator: its seed, and by input what was found."""
    names, found = walk(), dict[str, Any]()
    for name in reversed(names) if parts else names:
        entry: dict[str, Any] = {"seed": "", **{words: [] for words in WORDS}}
        found[name] = entry
        for make in makes(name, names[name]):
            try:
                models = builds(make, None)
                exact.build(named(models[0]), "model")
            except MillraceError as error:  # it is refused without a seed: where?
                entry["seed"] = str(error)
                models = builds(make, 1)
            except RuntimeError as error:
                entry["seed"] = repr(error)
                continue
            for words in WORDS:
                entry[words] += [tried(model, WORDS[words], parts) for model in models]
    own = inexact_models.MODELS
    return found | {name: {"seed": "", "numbers and words": [tried(own[name], True, parts)]} for name in own}
