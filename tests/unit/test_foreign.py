"""How is a pickle loaded that somebody else may have written? Each attack is of allowed names alone."""

from __future__ import annotations

import collections
import copy
import ctypes
import datetime
import functools
import operator
import pickle
import pickletools
import random
import re
import statistics
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from river import forest, optim, preprocessing, sketch, stats, time_series, utils
from river import linear_model as linear
from sklearn import ensemble, isotonic, linear_model, tree
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.neighbors import KNeighborsClassifier

from millrace import Batch, calls, catalog, foreign, models, state, substitutes
from millrace.errors import MillraceError
from millrace.pickles import Refused
from millrace.settings import settings
from millrace.window import Window
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
        pickle.EMPTY_SET + pickle.MARK + made("river.neighbors.ann.nn_vertex:Vertex") + pickle.ADDITEMS, "Vertex for a key",
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


def asks() -> bytes:
    """A mean that calls a function of the writer's choice when it is asked for its text: `Statistic.__repr__` calls `get`."""
    held = (pickle.TUPLE1 + pickle.REDUCE).join([named(PARTIAL) + named("numpy:ones"), b""])
    call = pickle.MARK + named("numpy:ones") + dumped(((2,),)) + pickle.EMPTY_DICT + pickle.NONE + pickle.TUPLE + pickle.BUILD
    return given(made(MEAN), "get", held + call)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a value of the pickle was made to run: `numpy.ones` stands for any function that a pickle may name."""
    called: list[str] = []

    def ones(shape: Any) -> Any:
        called.append(f"ones({shape})")
        return np.zeros(shape)

    monkeypatch.setattr(np, "ones", ones)
    return called


VERSION = pickle.EMPTY_DICT + word("_sklearn_version") + b"%s" + pickle.SETITEM
TEXTS = {
    "the warning of scikit-learn about another version": (
        made("sklearn.linear_model._base:LinearRegression") + VERSION + pickle.BUILD, "LinearRegression a version that is",
    ),
    "that of an isotonic fit": (made("sklearn.isotonic:IsotonicRegression") + VERSION + pickle.BUILD, "IsotonicRegression a"),
    "that of a class of River's": (made("river.compat.river_to_sklearn:River2SKLBase") + VERSION + pickle.BUILD, "SKLBase a v"),
    "our own refusal of a name": (
        made("river.stats.var:Var") + pickle.EMPTY_DICT + b"%s" + dumped(1) + pickle.SETITEM + pickle.BUILD, "of a name that is",
    ),
    "what Python says of it": (dumped({}) + b"%s" + pickle.MARK + pickle.APPENDS, "fills river.stats.mean:Mean"),
}  # fmt: skip


@pytest.mark.parametrize("shown", ["ignore", "always", "error"])
@pytest.mark.parametrize("text", TEXTS)
def test_no_value_of_the_pickle_is_asked_for_its_text(text: str, shown: Any, ran: list[str]) -> None:
    part, said = TEXTS[text]
    with warnings.catch_warnings():
        warnings.simplefilter(shown)
        with pytest.raises(Refused, match=said) as refusal:
            foreign.loads(whole(part.replace(b"%s", asks())))
    assert "".join(traceback.format_exception(refusal.value)) and ran == []


def test_a_version_of_scikit_learn_in_plain_text_is_told_as_ever() -> None:
    old = whole(made("sklearn.linear_model._base:LinearRegression") + VERSION.replace(b"%s", word("1.0")) + pickle.BUILD)
    with pytest.warns(UserWarning, match="from version 1.0 when"):
        assert isinstance(foreign.loads(old), linear_model.LinearRegression)


class Trap:
    """Hears each method that Python or a library calls on an instance."""

    heard: ClassVar[list[str]] = []


class Key(Trap):
    """A trap that Python alone hashes and compares."""


def _hear(name: str) -> Any:
    def heard(self: Any, *arguments: Any) -> Any:
        Trap.heard.append(name)
        return object.__getattribute__(self, *arguments) if name == "__getattribute__" else NotImplemented

    return heard


_ASKED = (
    "getattribute repr str format len iter bool contains getitem int float index complex call dir lt array reduce_ex eq ne hash"
)
for _name in (f"__{one}__" for one in _ASKED.split()):
    setattr(Trap, _name, _hear(_name))
for _name in ("__eq__", "__ne__", "__hash__"):
    setattr(Key, _name, getattr(object, _name))


def held() -> Iterator[tuple[str, Any]]:
    """Values and models by which the allowed calls and states are reached."""
    yield from ((type(value).__name__, value) for value in HARMLESS)
    containers = collections.Counter("ab"), collections.OrderedDict(a=1), collections.defaultdict(list, a=[1])
    yield "containers", (*containers, collections.deque([1], 3), {np.float64(1.5), ("a", 1)}, substitutes.SortedSet({"a"}))
    bound = functools.partial(copy.deepcopy, [1], memo=None), operator.itemgetter("a"), slice(1, None), range(3), iter([1])
    yield "what is bound", (*bound, datetime.date(2026, 1, 1), timedelta(1), statistics.NormalDist(1.0, 2.0))
    vectors = linear.LogisticRegression()
    vectors.learn_one({"a": 1.0}, True)
    yield "vectors", (vectors, preprocessing.MinMaxScaler(), optim.SGD(), sketch.Histogram(), utils.Rolling(stats.Mean, 3))
    series = time_series.HoltWinters(0.1, 0.2, 0.3, 2)
    for answer in range(6):
        series.learn_one(1.0 + answer)
    yield "series", (series, substitutes.RandomTreesEmbedding(n_trees=1))
    window = Window("i")
    window.append({"a": 1.0, "b": "c"}, 1, 0)
    yield "a window", window
    inputs = np.random.default_rng(1).random((12, 2))
    for estimator in (
        *(linear_model.Ridge(), linear_model.SGDClassifier(), tree.DecisionTreeClassifier(max_depth=1)),
        *(KNeighborsClassifier(2, algorithm="kd_tree"), ensemble.HistGradientBoostingClassifier(max_iter=1, max_depth=1)),
        isotonic.IsotonicRegression(out_of_bounds="clip"),
    ):
        columns = inputs[:, 0] if isinstance(estimator, isotonic.IsotonicRegression) else inputs
        yield type(estimator).__name__, estimator.fit(columns, inputs[:, 0] > 0.5)


def mutants(data: bytes, *instead: bytes) -> Iterator[bytes]:
    """The same pickle, with another value in the place of each of its own."""
    operations = [(operation.code.encode("latin-1"), place) for operation, _, place in pickletools.genops(data)]
    ends = [place for _, place in operations[1:]] + [len(data)]
    cut = [(code, data[place:end]) for (code, place), end in zip(operations, ends, strict=True) if code != pickle.FRAME]
    for number, (code, _) in enumerate(cut):
        if code not in (pickle.PROTO, pickle.STOP, pickle.MARK, pickle.MEMOIZE):
            before, after = (b"".join(part for _, part in some) for some in (cut[: number + 1], cut[number + 1 :]))
            yield from (before + pickle.POP + value + after for value in instead)


@pytest.mark.filterwarnings("ignore")
def test_no_method_of_a_value_of_the_pickle_is_called_wherever_it_stands() -> None:
    """Of each value that is on the stack in turn: as an argument, in a state, as a key or a version, as what is called."""
    traps = [f"{Trap.__module__}:{kind.__name__}" for kind in (Trap, Key)]
    told, Trap.heard = set(), []
    for name, value in held():
        for place, mutant in enumerate(mutants(state.slim(value), *map(made, traps))):
            kept = None  # what is loaded is not asked either when it goes
            try:
                kept = foreign.loads(mutant, trust=traps)
            except MillraceError as error:
                assert traceback.format_exception(error)
            del kept
            told |= {(name, place // 2, heard) for heard in Trap.heard}
            Trap.heard.clear()
    assert not told


def test_a_key_that_numpy_would_ask_for_its_items_is_refused() -> None:
    """A number of NumPy's is compared with what has its hash: that is made an array, so it is asked for its items."""
    pipeline = made("river.compose.pipeline:Pipeline")
    keys = dumped(np.float64(1.0)) + dumped(1) + pickle.SETITEM + pipeline + dumped(1) + pickle.SETITEM
    with pytest.raises(Refused, match="Pipeline for a key, which hashes or is compared by code of its own"):
        foreign.loads(whole(pickle.EMPTY_DICT, keys))


def test_the_type_of_an_array_may_not_grow_when_it_is_part_of_another() -> None:
    """What NumPy says of the whole is right as long as its parts stay as they are."""
    fields = pickle.EMPTY_DICT + word("f") + EIGHT + dumped(0) + pickle.TUPLE2 + pickle.SETITEM
    outer = b"".join(map(dumped, (3, "|", None, ("f",)))) + fields + b"".join(map(dumped, (8, 1, 0)))
    with pytest.raises(Refused, match=r"numpy:dtype.__setstate__"):
        foreign.loads(whole(EIGHT, pickle.MARK, outer, pickle.TUPLE, pickle.BUILD))


def test_an_error_is_told_in_words_that_are_no_values() -> None:
    kept = Trap()
    for error, told in (
        (ValueError("at 8: no", 3), "ValueError: ('at 8: no', 3)"),
        (KeyError("a"), "KeyError: 'a'"),
        (KeyError(kept), "KeyError"),
        (AttributeError(name="a", obj=kept), "AttributeError: "),
        (ExceptionGroup("several", [ValueError(kept)]), "ExceptionGroup"),
        (
            InconsistentVersionWarning(estimator_name=kept, current_sklearn_version="", original_sklearn_version=""),
            "Inco.*Warning",
        ),
    ):
        assert re.fullmatch(told.replace("(", r"\(").replace(")", r"\)"), calls.reason(error))
    assert not Trap.heard
