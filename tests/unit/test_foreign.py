"""How is a pickle loaded that somebody else may have written? Each attack is of allowed names alone."""

from __future__ import annotations

import ctypes
import datetime
import pickle
import random
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import forest, preprocessing
from sklearn import ensemble, linear_model, tree
from sklearn.neighbors import KNeighborsClassifier

from millrace import Batch, catalog, foreign, models, state
from millrace.errors import MillraceError
from millrace.pickles import Refused
from millrace.settings import settings
from tests.conformance import globals

REPOSITORY = Path(__file__).parents[2]
HARMLESS = [
    {"a": [1, 2.5, None, b"c", {"d"}, frozenset({1})]},
    datetime.datetime(2026, 1, 1, tzinfo=UTC),
    random.Random(1),
    np.random.default_rng(1),
    np.random.RandomState(1),
    np.arange(6.0).reshape(2, 3).T,
    np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]),
    np.array(["a", None, 1.5], dtype=object),
    np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    {np.str_("a"): np.float64(1.5)},
]


def word(text: str) -> bytes:
    return pickle.BINUNICODE + len(text.encode()).to_bytes(4, "little") + text.encode()


def named(pair: str) -> bytes:
    module, name = pair.split(":")
    return word(module) + word(name) + pickle.STACK_GLOBAL


def called(pair: str, *arguments: bytes) -> bytes:
    return named(pair) + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def given(value: bytes, name: str, attribute: bytes) -> bytes:
    """Set an attribute, not past what the class takes by itself."""
    attributes = pickle.EMPTY_DICT + word(name) + attribute + pickle.SETITEM
    return value + pickle.NONE + attributes + pickle.TUPLE2 + pickle.BUILD


def made(pair: str) -> bytes:
    return named(pair) + pickle.EMPTY_TUPLE + pickle.NEWOBJ


def whole(*parts: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + b"".join(parts) + pickle.STOP


def dumped(value: Any) -> bytes:
    """A value, within another pickle."""
    return pickle.dumps(value, 3)[2:-1]


SECRET = ctypes.create_string_buffer(b"secret!!", 8)
MEMORY = {"version": 3, "typestr": "|u1", "shape": (8,), "data": (ctypes.addressof(SECRET), False)}
MEAN, DEEPCOPY, PARTIAL = "river.stats.mean:Mean", "copy:deepcopy", "functools:partial"
FIELDS = (3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 0)
BEYOND = (3, "|", None, ("f",), {"f": (np.dtype("f8"), 4096)}, 8, 1, 0)
EIGHT = called("numpy:dtype", word("V8"), pickle.NEWFALSE, pickle.NEWTRUE)
ATTACKS = {
    "a class is given a method": (given(named(MEAN), "update", named(PARTIAL)), "sets attributes of"),
    "a function is given an attribute": (given(named(DEEPCOPY), "code", named(PARTIAL)), "sets attributes of"),
    "an instance says it is memory": (given(made(MEAN), "__array_interface__", dumped(MEMORY)), "__array_interface__"),
    "an instance is given another class": (given(made(MEAN), "__class__", named(MEAN)), "__class__"),
    "a property is set": (given(made("river.compose.pipeline:Pipeline"), "_memory_usage", word("x")), "no plain attribute"),
    "memory is read": (called("scipy._lib.array_api_compat.numpy._aliases:asarray", dumped([1])), "calls scipy.*asarray"),
    "an estimator is constructed": (called("river.compose.func:FuncTransformer", named(DEEPCOPY)), "calls river.compose.func"),
    "a partial is called": (called(PARTIAL, named(DEEPCOPY)) + dumped((1,)) + pickle.REDUCE, "calls functools:partial"),
    "an itemgetter is called": (called("operator:itemgetter", word("a")) + dumped(({"a": 1},)) + pickle.REDUCE, "calls operator"),
    "what a factory calls": (
        called("numpy.random._pickle:__generator_ctor", word("a"), named(DEEPCOPY)),
        "calls numpy.random._pickle:__generator_ctor",
    ),
    "a class that is called": (called("numpy.random._pickle:__bit_generator_ctor", named(MEAN)), "__bit_generator_ctor"),
    "an array type that hides pointers": (
        EIGHT + dumped(FIELDS) + pickle.BUILD,
        "numpy:dtype.*__setstate__",
    ),
    "an array type beyond its items": (
        EIGHT + dumped(BEYOND) + pickle.BUILD,
        "requires 4104 bytes",
    ),
    "a value of a type that may yet change": (
        called("numpy._core.multiarray:scalar", EIGHT, dumped(b"a" * 8)),
        "multiarray:scalar",
    ),
    "a place beyond a generator's words": (
        called("numpy.random._pickle:__bit_generator_ctor", named("numpy.random._mt19937:MT19937"))
        + dumped(({"bit_generator": "MT19937", "state": {"pos": 10**6}}, None)) + pickle.BUILD,
        "BitGenerator",
    ),
    "a key that hashes by its own code": (
        pickle.EMPTY_SET + pickle.MARK + made("river.neighbors.ann.nn_vertex:Vertex") + pickle.ADDITEMS, "hashes by code",
    ),
    "an item of what is no container": (made(MEAN) + pickle.MARK + dumped(1) + pickle.APPENDS, "fills river.stats.mean:Mean"),
    "an instruction of old": (pickle.MARK + named(MEAN) + pickle.OBJ, "instruction"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_allowed_names_would_do_is_refused(attack: str) -> None:
    part, said = ATTACKS[attack]
    with pytest.raises(MillraceError, match=said):
        foreign.loads(whole(part))


def test_a_chain_of_allowed_names_runs_nothing(tmp_path: Path) -> None:
    """A class is given a method, a scorer asks any attribute, and so the globals of a function lead to `eval`."""
    part, scorer = called(PARTIAL, named(DEEPCOPY)), "sklearn.metrics._scorer:_Scorer"
    asks = called(scorer, named(PARTIAL), part, pickle.EMPTY_DICT, word("__getattribute__"))
    item = called("operator:itemgetter", word("__builtins__"))
    built = asks + pickle.MARK + named(DEEPCOPY) + word("__globals__") + item + pickle.TUPLE + pickle.REDUCE
    run = built + pickle.MARK + word(f"__import__('os').system('touch {tmp_path / 'executed'}')") + pickle.TUPLE + pickle.REDUCE
    with pytest.raises(Refused):
        foreign.loads(whole(given(named(MEAN), "__mul__", named(PARTIAL)), pickle.POP, run))
    with pytest.raises(Refused, match=scorer):
        foreign.loads(whole(run))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("value", HARMLESS, ids=lambda value: type(value).__name__)
def test_plain_values_and_what_numpy_holds_come_back(value: Any) -> None:
    assert state.digest(foreign.loads(state.slim(value))) == state.digest(state.load(state.slim(value)))


def learned(model: Any, answer: Callable[[int], Any], rows: int = 120) -> Any:
    draw = random.Random(1)
    for hour in range(rows):
        x = {"carrier": draw.choice(["AA", "B6", None]), "distance": draw.random() if hour % 7 else None, "night": hour % 3 == 0}
        x |= {"hour": draw.choice("abc"), "visib": float(hour % 5)}
        moment = datetime.datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        model.learn_one(x, answer(hour), t=moment) if isinstance(model, Batch) else model.learn_one(
            {"a": draw.random()}, answer(hour)
        )
    return model


def fitted() -> Iterator[tuple[str, Any]]:
    for kind, estimators, answer in (
        ("classifier", globals.classifiers(), lambda hour: hour % 3 == 0),
        ("regressor", globals.regressors(), float),
    ):
        for number in (0, 2, 3, 5, 10):
            estimator = estimators[number]
            estimator.set_params(**{name: 1 for name in estimator.get_params() if name.endswith("random_state")})
            yield f"{kind} {number}", learned(Batch(estimator, last=timedelta(days=9), every=timedelta(days=2)), answer)
    boosted = ensemble.HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=5, random_state=1)
    yield "weather", learned(Batch(boosted, last=timedelta(days=28), every=timedelta(days=1), at=timedelta(hours=8)), float)


def test_fitted_estimators_come_back_with_strings_and_missing_values() -> None:
    for name, model in fitted():
        assert model.fitted is not None and model.failure is None, (name, model.failure)
        again = foreign.loads(state.slim(model))
        assert state.digest(again) == state.digest(model) == state.digest(state.load(state.slim(model))), name
        x = {"carrier": "AA", "distance": 0.5, "night": True, "hour": "new", "visib": None}
        assert again.predict_many([x]) == model.predict_many([x]), name


def test_the_nightly_model_of_the_flights_comes_back_after_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DATASETS", str(REPOSITORY / "datasets"))
    assert settings().datasets == REPOSITORY / "datasets"
    model = learned(models.build(catalog.load("flights"), "nightly"), lambda hour: hour % 3 == 0, rows=200)
    assert model.fitted is not None
    for load in (foreign.loads, state.load):
        assert state.digest(load(state.slim(model))) == state.digest(model)


@pytest.mark.parametrize("model", [preprocessing.StandardScaler() | forest.ARFClassifier(n_models=3, seed=1)])
def test_a_forest_comes_back_and_learns_on(model: Any) -> None:
    learned(model, lambda hour: hour % 3 == 0, rows=300)
    again = foreign.loads(state.slim(model))
    for one in (model, again):
        learned(one, lambda hour: hour % 2 == 0)
    assert state.digest(again) == state.digest(model)


@pytest.mark.parametrize("estimator", [tree.DecisionTreeClassifier(), KNeighborsClassifier(3, algorithm="kd_tree")])
def test_compiled_parts_take_arrays_alone(estimator: Any) -> None:
    draw = np.random.default_rng(1)
    inputs = draw.random((40, 3))
    fit = estimator.fit(inputs, inputs[:, 0] > 0.5)
    assert (foreign.loads(state.slim(fit)).predict(inputs) == fit.predict(inputs)).all()


def test_what_is_trusted_by_name_may_be_called() -> None:
    data = whole(called("sklearn.linear_model._base:LinearRegression"))
    with pytest.raises(Refused, match=r"MILLRACE_TRUST=sklearn.linear_model._base:LinearRegression"):
        foreign.loads(data)
    trusted = foreign.loads(data, trust=["sklearn.linear_model._base:LinearRegression"])
    assert isinstance(trusted, linear_model.LinearRegression)
