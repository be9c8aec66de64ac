"""Which functions and classes stand in the states of what River, scikit-learn and Millrace can learn?

``python -m tests.conformance.globals --write`` makes ``millrace/globals.txt`` of them, beside those that it lists already of
Millrace's own: the list of what a pickle may name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import itertools
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import river
from river import api, linear_model, metrics, misc, proba, stats, utils

from millrace import batch, exact, pickles, prior, state
from millrace.errors import MillraceError
from tests.conformance import estimators

COMMAND = "python -m tests.conformance.globals --write"
HEAD = f"""# What the pickle of a state may name: a module, and the functions and classes that it defines.
# Made by {COMMAND}; each is reviewed when it is added: it must neither hand out attributes,
# nor import, nor evaluate, nor open anything. What a pickle from elsewhere may call is a shorter list: millrace/calls.py.
"""
NO_MODELS = {"base", "checks", "conftest", "datasets", "envs", "evaluate", "stream", "synth", "test_"}
"""River's modules whose classes read files and networks, or stand in no model."""
REFUSED = {"builtins": {"getattr"}, "sklearn.metrics._scorer": {"_CurveScorer", "_PassthroughScorer", "_Scorer"}}
"""What stands in states and is not listed: a scorer calls any method of what it is given."""
LEARNED = 200
TEXTS = ["a b", "b c d", "a d"] * 20
STATES_OF_OUR_OWN = ("batch", "confidence", "prior", "provisional", "reign", "standings", "window")
SUBSTITUTES = ("substitutes", "substitute_arguments", "substitute_draws", "substitute_leaves", "substitute_trees")


def supervised(name: str, kind: Any) -> Iterator[Any]:
    """What learns one label, or stands before it: fresh, and after it has learned some and all of the examples."""
    for make in estimators.makes(name, kind):
        try:
            builds = estimators.builds(make, 1)
        except RuntimeError:  # it needs a later Python
            continue
        for build, words in itertools.product(builds, (False, True)):
            for encoded in (False, True) if words else (False,):
                whole = functools.partial(_encoded, build) if encoded else build
                yield from learned(functools.partial(_exact, whole), words)
                yield from learned(whole, words)  # as another user of River keeps it in MLflow


def _encoded(build: estimators.Build) -> Any:
    return estimators.encoder() | build()


def _exact(build: estimators.Build) -> Any:
    return exact.build(estimators.named(build), "model")


def learned(build: Any, words: bool) -> Iterator[Any]:
    """A model when it is fresh, and when it has learned some and all of the examples, if it can."""
    with contextlib.suppress(Exception):  # whatever a class says to what it does not take
        model = build()
        yield model
        for place, (x, y) in enumerate(estimators.rows(estimators.task_of(model), words)[:LEARNED]):
            model.learn_one(x, y)
            if place in (LEARNED // 3, LEARNED - 1):
                yield model


def other(kind: Any) -> Iterator[Any]:
    """What else a model may hold, or a race: detectors, clusters, metrics, statistics, optimizers."""
    given: list[Any] = [{}]
    with contextlib.suppress(Exception):
        given = list(kind._unit_test_params())
    for parameters in [*given, {"window_size": 5}, {"window_size": 5, "q": 0.5}, {"beta": 0.5}, {"lag": 2}, {"lr": 0.1}]:
        with contextlib.suppress(Exception):
            made = kind(**parameters)
            yield made
            for x, y in estimators.rows("regression", False)[:200]:
                _teach(made, x, y)
            yield made


def _teach(made: Any, x: dict[str, Any], y: float) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: made.learn_one(x, y), lambda: made.learn_one(x, y > 0), lambda: made.learn_one(x),
        lambda: made.update(y > 0, {True: 0.6, False: 0.4}), lambda: made.update(y, 1.1 * y),
        lambda: made.update(y > 0, y > 0.5), lambda: made.update(y), lambda: made.update(x),
        lambda: made.learn_one(y), lambda: made.learn_one("user", "item", y), lambda: made.step({"a": 1.0}, {"a": y}),
    ]  # fmt: skip
    for call in calls:
        try:
            call()
        except Exception:  # noqa: BLE001 – then it takes something else
            continue
        return


def sklearn_fitted() -> Iterator[Any]:
    """All estimators of scikit-learn, as its own tests make them, fitted on what they take."""
    import numpy as np
    from sklearn.utils import all_estimators
    from sklearn.utils._test_common.instance_generator import _construct_instances

    draw = np.random.default_rng(1)
    numbers = draw.random((60, 4))
    score = numbers.sum(axis=1)
    words = np.array(["low", "mid", "high"])[(score * 3 / 4.001).astype(int)]
    inputs = [(numbers, score > 2), (numbers, words), (numbers, score), (TEXTS, score > 2), (words,), (numbers @ numbers.T,)]
    inputs += [([{"a": 1.0, "b": "c"}] * 60,), (numbers, np.stack([score, score], axis=1)), ([["a"], ["b"]] * 30,)]
    for _, kind in all_estimators():
        made: list[Any] = []
        with contextlib.suppress(Exception):
            made += itertools.islice(_construct_instances(kind), 4)
        with contextlib.suppress(Exception):
            made.append(kind())
        for estimator in made:
            yield estimator
            fits = 0
            for given in inputs:
                with contextlib.suppress(Exception):
                    fits += bool(estimator.fit(*given))
                    yield estimator
                if fits == 2:
                    break


def regressors() -> list[Any]:
    """What people fit as a batch: alone where it takes strings and missing values, else after what encodes and fills them."""
    from sklearn import ensemble, linear_model, neighbors, tree

    boosting = ensemble.HistGradientBoostingRegressor
    alone: list[Any] = [boosting(categorical_features=which, max_iter=3) for which in ("from_dtype", [False, True, False])]
    return [*alone, *map(_encoding, [
        boosting(max_iter=3), boosting(max_iter=3, loss="poisson"), ensemble.RandomForestRegressor(3),
        ensemble.ExtraTreesRegressor(3), ensemble.GradientBoostingRegressor(n_estimators=3), ensemble.AdaBoostRegressor(),
        ensemble.BaggingRegressor(), tree.DecisionTreeRegressor(), linear_model.LinearRegression(), linear_model.Ridge(),
        linear_model.Lasso(), linear_model.ElasticNet(), linear_model.PoissonRegressor(), linear_model.HuberRegressor(),
        neighbors.KNeighborsRegressor(), ensemble.VotingRegressor([("a", linear_model.Ridge())]),
        linear_model.SGDRegressor(), ensemble.StackingRegressor([("a", linear_model.Ridge()), ("b", linear_model.Lasso())]),
    ]), *[_encoding(linear_model.Ridge(), encoder) for encoder in _encoders()], scaled(linear_model.Ridge())]  # fmt: skip


def classifiers() -> list[Any]:
    """As `regressors`."""
    from sklearn import calibration, ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree

    boosting = ensemble.HistGradientBoostingClassifier
    alone: list[Any] = [boosting(categorical_features=which, max_iter=3) for which in ("from_dtype", [False, True, False])]
    return [*alone, *map(_encoding, [
        boosting(max_iter=3), ensemble.RandomForestClassifier(3), ensemble.ExtraTreesClassifier(3),
        ensemble.GradientBoostingClassifier(n_estimators=3), ensemble.AdaBoostClassifier(), ensemble.BaggingClassifier(),
        tree.DecisionTreeClassifier(), linear_model.LogisticRegression(), linear_model.SGDClassifier(loss="log_loss"),
        naive_bayes.GaussianNB(), neighbors.KNeighborsClassifier(), calibration.CalibratedClassifierCV(svm.SVC()),
        neural_network.MLPClassifier((3,), max_iter=5),
        calibration.CalibratedClassifierCV(linear_model.LogisticRegression()),
        calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), method="isotonic"),
        ensemble.VotingClassifier([("a", linear_model.LogisticRegression())], voting="soft"),
    ]), *[_encoding(linear_model.LogisticRegression(), encoder) for encoder in _encoders()]]  # fmt: skip


def scaled(estimator: Any) -> Any:
    """A regressor whose answers are scaled for the fit."""
    from sklearn import compose, preprocessing

    return compose.TransformedTargetRegressor(_encoding(estimator), transformer=preprocessing.StandardScaler())


def _encoders() -> list[Any]:
    from sklearn import preprocessing

    unknown = {"handle_unknown": "use_encoded_value", "unknown_value": -1, "encoded_missing_value": -2}
    return [preprocessing.OrdinalEncoder(**unknown), preprocessing.TargetEncoder(), preprocessing.OneHotEncoder(min_frequency=2)]


def _encoding(estimator: Any, encoder: Any = None) -> Any:
    from sklearn import compose, impute, pipeline, preprocessing

    one_hot = encoder or preprocessing.OneHotEncoder(handle_unknown="ignore")
    filled = pipeline.make_pipeline(impute.SimpleImputer(add_indicator=True), preprocessing.StandardScaler())
    sparse = {"sparse_threshold": 0.0}
    words, numbers = (compose.make_column_selector(**{way: "category"}) for way in ("dtype_include", "dtype_exclude"))
    return pipeline.make_pipeline(compose.make_column_transformer((one_hot, words), (filled, numbers), **sparse), estimator)


def fits() -> Iterator[Any]:
    """A batch of each of them, fitted on numbers, strings and missing values."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for number, estimator in enumerate([*classifiers(), *regressors()]):
        answer: Callable[[int], Any] = (lambda hour: hour % 3 == 0) if number < len(classifiers()) else float
        seeds = [name for name in estimator.get_params() if name.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(seeds, 1))
        model = batch.Batch(estimator, last=timedelta(days=9), every=timedelta(days=2))
        for hour in range(60):
            x = {"hour": float(hour) if hour % 7 else None, "word": "abc"[hour % 3] if hour % 5 else None, "flag": hour % 2 == 0}
            model.learn_one(x, answer(hour), t=now + timedelta(hours=hour))
        yield model


def own() -> Iterator[Any]:
    """Millrace's own models, and what is filled with times."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    yield from fits()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for estimator, answer in ((LogisticRegression(), lambda hour: hour % 2 == 0), (LinearRegression(), float)):
        for last in (10, timedelta(days=2)):
            model = batch.Batch(estimator, last=last, every=timedelta(hours=6))
            for hour in range(30):
                model.learn_one({"hour": float(hour), "word": "a", "no": None}, answer(hour), t=now + timedelta(hours=hour))
            yield model
    for kind in (prior.PriorClassifier, prior.PriorRegressor):
        model = kind()
        yield model
        model.learn_one({}, 1)
        yield model
    rolling = utils.TimeRolling(stats.Mean(), period=timedelta(hours=1))
    rolling.update(1.0, t=now.replace(tzinfo=None))
    yield rolling, utils.Rolling(stats.Mean(), window_size=3), proba.Gaussian(), timedelta(1), now.date(), now.timetz()
    yield metrics.Accuracy() + metrics.LogLoss(), stats.BayesianMean(0.5, 1), metrics.MultiFBeta({0: 0.5}, {0: 1.0})
    yield utils.SortedWindow(3), misc.SDFT(3), stats.Link(stats.Shift(1), stats.Mean()), linear_model.LogisticRegression()


def parts() -> set[pickles.Pair]:
    """All classes of River's and Millrace's models and of their parts, since each parameter makes others: a tree's leaves."""
    pairs = set[pickles.Pair]()
    for name in (*STATES_OF_OUR_OWN, *SUBSTITUTES):
        pairs |= _classes(f"millrace.{name}")
    for module in pkgutil.walk_packages(river.__path__, "river."):
        if any(part.startswith(tuple(NO_MODELS - {"base"})) for part in module.name.split(".")):
            continue
        with contextlib.suppress(ImportError):
            pairs |= _classes(module.name)
    return pairs


def _classes(module: str) -> set[pickles.Pair]:
    """The classes that a module defines."""
    there = inspect.getmembers(importlib.import_module(module), inspect.isclass)
    own = [kind for _, kind in there if kind.__module__ == module and not issubclass(kind, (BaseException, type))]
    return {(module, kind.__qualname__) for kind in own if "<" not in kind.__qualname__}


def found() -> set[pickles.Pair]:
    """All pairs that stand in any of these."""
    walk = estimators.walk()
    models = [own(), itertools.chain.from_iterable(supervised(*item) for item in walk.items()), sklearn_fitted()]
    for module in sorted(set(dir(api)) - NO_MODELS):
        for name, kind in inspect.getmembers(getattr(api, module), inspect.isclass):
            if f"{module}.{name}" not in walk and kind.__module__.startswith("river.") and not inspect.isabstract(kind):
                models.append(other(kind))
    pairs = parts()
    for model in itertools.chain.from_iterable(models):
        with contextlib.suppress(MillraceError, TypeError, AttributeError, ValueError, NotImplementedError):
            pairs |= pickles.named(state.slim(model))
    return {(module, name) for module, name in pairs if not module.startswith("tests.") and name not in REFUSED.get(module, ())}


def text(pairs: set[pickles.Pair]) -> str:
    """Write the list: a module a line."""
    by_module = itertools.groupby(sorted(pairs), key=lambda pair: pair[0])
    return HEAD + "".join(f"{module}: {' '.join(name for _, name in some)}\n" for module, some in by_module)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {COMMAND}")
    warnings.simplefilter("ignore")
    pickles.LIST.write_text(text(found()))
