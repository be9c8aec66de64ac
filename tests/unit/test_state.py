"""What a digest tells apart, and what it does not; what a slim pickle leaves out."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import enum
import functools
import gc
import importlib.util
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import api, compose, drift, feature_extraction, linear_model, naive_bayes, preprocessing, proba, stats, tree, utils

from millrace import state
from millrace.errors import MillraceError

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True, scope="module")
def trusted() -> Iterator[None]:
    """The classes of this file are nobody's estimators: states may name them here alone."""
    ours = [f"{__name__}:{name}" for name, value in globals().items() if getattr(value, "__module__", None) == __name__]
    with pytest.MonkeyPatch.context() as here:
        here.setenv("MILLRACE_TRUST", ",".join([*ours, "decimal:Decimal"]))
        yield


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Slots:
    __slots__ = ("left", "value")
    left: object

    def __init__(self, value: object) -> None:
        self.value = value


class Plain:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Words(set[str]):
    pass


def slots(value: object) -> Slots:
    return Slots(value)


def update(kind: Any, *values: float) -> Any:
    statistic = kind()
    for value in values:
        statistic.update(value)
    return statistic


DIFFERENT: dict[str, tuple[object, object]] = {
    "the type of a number": (1, 1.0),
    "a truth and a number": (True, 1),
    "text and bytes": ("1", b"1"),
    "the sign of zero": (0.0, -0.0),
    "the last bit": (0.3, 0.1 + 0.2),
    "great numbers": (2**70, 2**70 + 1),
    "complex numbers": (1j, 1 + 0j),
    "a list and a tuple": ([1], (1,)),
    "where a list ends": ([[1], 2], [[1, 2]]),
    "the order of a list": ([1, 2], [2, 1]),
    "the order of a dictionary": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "the order of a counter": (collections.Counter("ab"), collections.Counter("ba")),
    "an ordered dictionary": ({"a": 1}, collections.OrderedDict(a=1)),
    "how far a deque reaches": (collections.deque([1], 3), collections.deque([1], 4)),
    "a set and a frozen one": ({1}, frozenset({1})),
    "what is in a set": ({"a"}, {"b"}),
    "a class of sets": (Words("a"), {"a"}),
    "entries of a defaultdict": (collections.defaultdict(int, a=1), collections.defaultdict(int)),
    "what a defaultdict makes": (collections.defaultdict(int), collections.defaultdict(float)),
    "decimals": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "times": (dt.datetime(2013, 1, 1, tzinfo=dt.UTC), dt.datetime(2013, 1, 1, microsecond=1, tzinfo=dt.UTC)),
    "days": (dt.date(2013, 1, 1), dt.date(2013, 1, 2)),
    "durations": (dt.timedelta(1), dt.timedelta(1, microseconds=1)),
    "members of an enumeration": (Colour.RED, Colour.BLUE),
    "a class and another": (stats.Mean, stats.Var),
    "builtin functions": (len, sum),
    "what a builtin method is bound to": ("a".join, "b".join),
    "what a method is bound to": (Plain(a=1).__repr__, Plain(a=2).__repr__),
    "partial arguments": (functools.partial(int, base=2), functools.partial(int, base=3)),
    "what a lambda says": (lambda x: x, lambda x: x + 1),
    "generators": (random.Random(1), random.Random(2)),
    "NumPy's generators": (np.random.default_rng(1), np.random.default_rng(2)),
    "NumPy's old generators": (np.random.RandomState(1), np.random.RandomState(2)),
    "NumPy's numbers": (np.float64(1), np.float32(1)),
    "NumPy's number and a number": (np.float64(1), 1.0),
    "the type of an array": (np.zeros(2), np.zeros(2, dtype=np.int64)),
    "the shape of an array": (np.zeros((2, 3)), np.zeros((3, 2))),
    "the order of an array in memory": (np.ones((2, 3)), np.asfortranarray(np.ones((2, 3)))),
    "an array of objects": (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
    "slots": (slots(1), slots(2)),
    "attributes": (Plain(a=1), Plain(b=1)),
    "the class of an object": (Plain(), stats.Count()),
    "compiled statistics": (update(stats.EWMean, 1.0), update(stats.EWMean, 2.0)),
    "compiled detectors": (update(drift.ADWIN, 1.0), update(drift.ADWIN, 2.0)),
    "compiled dictionaries": (utils.VectorDict({"a": 1.0}), utils.VectorDict({"a": 2.0})),
    "seeded distributions": (proba.Beta(seed=1), proba.Beta(seed=2)),
    "distributions": (update(proba.Gaussian, 1.0), update(proba.Gaussian, 2.0)),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_has_another_digest(case: str) -> None:
    a, b = DIFFERENT[case]
    assert state.digest(a) != state.digest(b)
    assert state.digest([a, a]) == state.digest([a, a])
    assert state.difference({"part": a}, {"part": b}) is not None


def shared() -> list[list[float]]:
    part = [0.5]
    return [part, part]


def asked(factory: Any, *keys: str) -> Any:
    made = collections.defaultdict(factory, known=3)
    for key in keys:
        assert made[key] is not None
    return made


def steps(*names: str) -> Any:
    made = Plain()
    for name in names:
        setattr(made, name, 1)
    return made


SAME: dict[str, tuple[object, object]] = {
    "a value that is not a number": (float("nan"), float("nan")),
    "how a set was filled": ({0, 8, 16}, {16, 8, 0}),
    "text that is one object or two": (["late", "late"], ["late", "".join(["la", "te"])]),
    "what is shared": (shared(), [[0.5], [0.5]]),
    "blank zeros": (asked(int, "a", "b"), asked(int)),
    "blank dictionaries": (asked(dict, "a"), asked(dict)),
    "blank copies": (
        asked(functools.partial(copy.deepcopy, stats.Mean()), "a"),
        asked(functools.partial(copy.deepcopy, stats.Mean())),
    ),
    "blank statistics": (asked(stats.Var, "a"), asked(stats.Var)),
    "the order of attributes": (steps("a", "b"), steps("b", "a")),
    "the clock's seed of a distribution": (proba.Gaussian(), proba.Gaussian()),
    "one that it was sampled from": (proba.Beta(), proba.Beta()),
}


@pytest.mark.parametrize("case", SAME)
def test_what_answers_equally_has_one_digest(case: str) -> None:
    a, b = SAME[case]
    assert state.digest(a) == state.digest(b)
    assert state.difference(a, b) is None


def test_a_blank_entry_is_one_that_the_factory_makes_to_the_bit() -> None:
    assert state.digest(collections.defaultdict(float, a=-0.0)) != state.digest(collections.defaultdict(float))
    assert state.digest(collections.defaultdict(int, a=0.0)) != state.digest(collections.defaultdict(int))


def test_digesting_draws_from_no_generator() -> None:
    policy = api.bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=1)
    policy.update("a", True)
    before = policy._rng.getstate()
    assert state.digest(policy) == state.digest(policy)
    assert (policy._rng.getstate(), list(policy._rewards)) == (before, ["a"])


atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals()
keys = st.integers() | st.text() | st.tuples(st.text(), st.floats(allow_nan=False))
values: st.SearchStrategy[Any] = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.builds(slots, inner)
        | st.builds(collections.deque, st.lists(inner))
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(values)
def test_a_digest_survives_pickles_and_copies(value: object) -> None:
    digest = state.digest(value)
    assert state.digest(state.load(state.slim(value))) == digest
    assert state.digest(copy.deepcopy(value)) == digest


@settings(deadline=None)
@given(values, values)
def test_equal_digests_mean_equal_values(a: object, b: object) -> None:
    if state.digest(a) == state.digest(b):
        assert state.difference(a, b) is None
        if "nan" not in repr((a, b)).lower() and "Slots" not in repr(a):
            assert repr(a) == repr(b) or a == b
    else:
        assert state.difference(a, b) is not None


def test_a_way_back_ends() -> None:
    def ring(value: float) -> Plain:
        first, second = Plain(value=value), Plain()
        first.__dict__["next"], second.__dict__["back"] = second, [first]
        return first

    assert state.digest(ring(1.0)) == state.digest(ring(1.0)) == state.digest(state.load(state.slim(ring(1.0))))
    assert state.digest(ring(1.0)) != state.digest(ring(2.0))


def test_what_is_shared_again_and_again_is_walked_once() -> None:
    value: object = 0.5
    for _ in range(200):
        value = [value, value]
    assert state.digest(value) == state.digest(copy.deepcopy(value))


def test_deep_models_are_walked_and_stored() -> None:
    def chain(end: float) -> Slots:
        node = slots(end)
        for _ in range(5_000):
            upper = slots(1.0)
            upper.left = node
            node = upper
        return node

    limit = sys.getrecursionlimit()
    assert state.digest(chain(0.5)) == state.digest(state.load(state.slim(chain(0.5))))
    assert state.digest(chain(0.5)) != state.digest(chain(0.25))
    assert sys.getrecursionlimit() == limit


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def test_the_path_names_what_cannot_be_walked() -> None:
    model = logistic()
    model["LogisticRegression"].optimizer.helpers = {"lock": [threading.Lock()]}
    path = r"pipeline\['LogisticRegression'\]\.optimizer\.helpers\['lock'\]\[0\], an instance of _thread:lock"
    with pytest.raises(MillraceError, match=path):
        state.digest(model)
    with pytest.raises(MillraceError, match=r"state of model, an instance of random:SystemRandom"):
        state.digest(random.SystemRandom())


def test_difference_names_the_first_part_that_differs() -> None:
    model = logistic()
    other = model.clone()
    assert state.difference(model, other) is None
    other["LogisticRegression"].optimizer.lr.learning_rate = 0.5
    assert state.difference(model, other) == "pipeline['LogisticRegression'].optimizer.lr.learning_rate"
    assert state.difference([1, {2}], [1, {3}]) == "model[1]"
    assert state.difference({"a": 1, "b": 2}, {"a": 1}) == "model"
    assert state.difference(stats.Mean(), stats.Var()) == "model"


def mixed(number: int, seed: int = 1) -> Iterator[tuple[dict[str, Any], bool]]:
    draw = random.Random(seed)
    for _ in range(number):
        x: dict[str, Any] = {"a": draw.gauss(0, 1), "b": draw.random(), "word": draw.choice(["red", "green", "blue"])}
        yield x, x["a"] + (x["word"] == "red") + draw.gauss(0, 0.3) > 0.4


LEARNERS = {
    "linear": lambda: compose.SelectType(float) | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=40),
    "bayes": lambda: compose.SelectType(float) | naive_bayes.GaussianNB(),
    "target means": lambda: feature_extraction.TargetAgg(by="word", how=stats.EWMean(0.1)) | linear_model.LogisticRegression(),
    "forest": lambda: api.forest.ARFClassifier(3, seed=1),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_whatever_is_learned_shows_in_the_digest(name: str) -> None:
    model, seen = LEARNERS[name](), set()
    for x, y in mixed(50):
        seen.add(state.digest(model))
        model.learn_one(x, y)
    assert len(seen) == 50


@pytest.mark.parametrize("name", LEARNERS)
def test_asking_leaves_the_digest_as_it_is(name: str) -> None:
    model = LEARNERS[name]()
    for x, y in mixed(400):
        model.learn_one(x, y)
    digest = state.digest(model)
    for x, _ in mixed(100, seed=2):
        model.predict_proba_one(x)
        model.predict_proba_one({"a": 0.0, "b": 0.0, "word": "unseen"})
    assert state.digest(model) == digest


def test_a_slim_pickle_is_small_and_goes_on_as_the_model_would() -> None:
    model = tree.HoeffdingTreeClassifier(grace_period=40)
    examples = [({f"{word}{place}": value for place in range(10) for word, value in x.items()}, y) for x, y in mixed(600)]
    for x, y in examples[:300]:
        model.learn_one(x, y)
    slim = state.slim(model)
    assert len(slim) <= len(pickle.dumps(model)) / 10
    loaded = state.load(slim)
    assert len(state.slim(loaded)) == len(slim)
    for x, y in examples[300:]:
        assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
        loaded.learn_one(x, y)
        model.learn_one(x, y)
    assert state.digest(loaded) == state.digest(model)


class Managed:
    """Takes one attribute itself, and keeps it under the same name."""

    @property
    def level(self) -> float:
        return float(self.__dict__["level"])

    @level.setter
    def level(self, value: float) -> None:
        self.__dict__["level"] = value + 1.0


class Guarded:
    """Refuses what is set, and fills itself."""

    def __init__(self) -> None:
        self.__dict__["level"] = 0.5

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Restored:
    """Fills itself by its own method."""

    def __init__(self) -> None:
        self.level = 0.5

    def __setstate__(self, attributes: dict[str, float]) -> None:
        self.level = attributes["level"]


def test_attributes_that_a_class_takes_itself_are_loaded_as_they_were() -> None:
    managed = Managed()
    managed.level = 0.5
    for value in (managed, Guarded(), Restored(), Plain(level=0.5)):
        loaded = state.load(state.slim(value))
        assert type(loaded) is type(value)
        assert vars(loaded) == vars(value)


def test_a_loaded_model_is_not_yet_taken_apart() -> None:
    """An object whose attributes were read as a dict holds that dict: it is among what the collector sees of it."""
    value = Plain(level=0.5)
    data = state.slim(value)
    assert any(isinstance(part, dict) for part in gc.get_referents(value))
    assert not any(isinstance(part, dict) for part in gc.get_referents(state.load(data)))


def test_a_slim_pickle_keeps_seeded_generators_and_lends_one_to_the_others() -> None:
    seeded, unseeded, other = state.load(state.slim([proba.Beta(seed=3), proba.Gaussian(), proba.Gaussian()]))
    assert seeded.sample() == proba.Beta(seed=3).sample()
    assert type(unseeded._rng) is random.Random
    assert unseeded._rng is other._rng
    assert unseeded._rng.getstate() == random.Random(0).getstate()


DATASET = """
LIMIT = 3
def helper(x):
    return x
def unrelated():
    return 1
def double(x, by=2):
    return {key: helper(value) * by for key, value in x.items() if value < LIMIT}
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Any]:
    """Write a dataset's file and load it under its stable name."""
    name = "millrace_datasets.shop_for_state"

    def load(number: int, text: str) -> Any:
        path = tmp_path / f"shop{number}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("return 1", "return 2", True),
        ("by=2", "by=3", False),
        ("value) * by", "value) + by", False),
        ("    return x\n", "    return -x\n", False),
        ("LIMIT = 3", "LIMIT = 4", False),
    ],
)
def test_a_function_of_a_dataset_is_known_by_its_text_and_what_it_names(dataset: Any, old: str, new: str, same: bool) -> None:
    before = state.digest(compose.FuncTransformer(dataset(1, DATASET).double))
    after = state.digest(compose.FuncTransformer(dataset(2, DATASET.replace(old, new)).double))
    assert (before == after) is same


def test_a_digest_is_the_same_under_other_hash_seeds() -> None:
    command = (
        "from millrace import state; from river import compose; import collections; "
        "print(state.digest([{'red', 'green', 'blue'}, compose.Discard('a', 'b', 'c'), frozenset('xyz'), collections.deque]))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", command],
            cwd=CHECKOUT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1
