"""A Hoeffding tree learns as River's own code lets it learn, to the last bit."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
from river import tree
from river.tree.utils import do_naive_bayes_prediction
from river.utils.norm import normalize_values_in_dict

from millrace import state, substitute_leaves
from millrace.canonical import encode
from millrace.exact import exact
from tests.unit.test_exact import examples

TREES: dict[str, dict[str, Any]] = {
    "quick to split": {},
    "slow to split": {"delta": 0.3, "tau": 0.1},
    "split in two": {"binary_split": True},
    "majority leaves": {"leaf_prediction": "mc"},
    "naive Bayes leaves": {"leaf_prediction": "nb", "nb_threshold": 20},
    "shallow": {"max_depth": 1},
    "small": {"max_size": 0.05, "memory_estimate_period": 50},
    "small, then no more": {"max_size": 0.05, "memory_estimate_period": 50, "stop_mem_management": True},
    "a number as a name": {"nominal_attributes": ["size"]},
    "histograms": {"splitter": tree.splitter.HistogramSplitter()},
    "without poor features": {"remove_poor_attrs": True},
}
river = tree.HoeffdingTreeClassifier


def hoeffding(case: str) -> Any:
    return exact(river(**{"grace_period": 15, "delta": 0.9, "tau": 0.3} | TREES[case]))


def seen(x: dict[str, Any], number: int, troubled: bool) -> dict[str, Any]:
    """Let words be missing, null or new, and the order another now and then, and in trouble, numbers null or words."""
    x = x | {"size": number % 4, "flag": number % 3 == 0}
    if number % 13 == 0:
        x |= {"word": "amber" if number < 200 else "grey", "late": number}
    if number % 11 == 0:
        del x["word"]
    if number % 7 == 0:
        x["answer"] = None
    if troubled and number % 17 == 0:
        x["n1"] = None if number % 2 else "many"
    return x if number % 5 else dict(reversed(x.items()))


def by_river(model: Any) -> Callable[..., Any]:
    """Let a model learn by River's code, its own and its leaves'."""
    return functools.partial(river.learn_one, model)


def outcome(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    try:
        return function(*arguments, **keywords)
    except Exception as error:  # noqa: BLE001 – whatever is raised must be what River raises
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("case", TREES)
@pytest.mark.parametrize("troubled", [False, True], ids=["well", "troubled"])
def test_a_tree_learns_what_river_lets_it_learn(case: str, troubled: bool) -> None:
    ours, oracle, both = (hoeffding(case) for _ in range(3))
    failed = 0
    for number, (x, y) in enumerate(examples("multiclass", "mixed"), 1):
        x, w = seen(x, number, troubled), number % 5 / 4 if troubled else 1.0
        learns = [ours.learn_one, by_river(oracle), both.learn_one if number % 2 else by_river(both)]
        found = [outcome(learn, x, y, w=w) for learn in learns]
        assert found == [found[0]] * 3
        failed += found[0] is not None
        answers = [encode(outcome(model.predict_proba_one, x)) for model in (ours, oracle, both)]
        assert answers == [answers[0]] * 3
        if number % 20 == 0:
            assert state.digest(ours) == state.digest(oracle) == state.digest(both)
            ours, both = state.load(state.slim(ours)), state.load(state.slim(both))
    assert (failed > 0, ours.n_branches > 0) == (troubled, True)


def test_a_leaf_weighs_an_example_to_the_last_bit_as_river_does() -> None:
    model = hoeffding("split in two")
    for number, (x, y) in enumerate(examples("multiclass", "mixed"), 1):
        x = seen(x, number, troubled=False)
        for leaf in model._root.iter_leaves() if number > 1 else ():
            expected = do_naive_bayes_prediction(x, leaf.stats, leaf.splitters)
            assert encode(substitute_leaves._votes(leaf, x)) == encode(expected)
            expected = normalize_values_in_dict(leaf.stats, inplace=False)
            assert encode(substitute_leaves._shares(leaf.stats)) == encode(expected)
        model.learn_one(x, y)


@pytest.mark.parametrize("x", [{}, {"word": "red"}], ids=["nothing", "a word"])
def test_labels_that_rounding_makes_equal_are_told_apart_as_river_does(x: dict[str, Any]) -> None:
    model = hoeffding("quick to split")
    for total in range(1, 100):
        for weights in ({}, {"a": total * 1.0, "b": math.nextafter(total, 100)}, {"a": total / 10, "b": total / 10, "c": 0.0}):
            ours, oracle = (model._new_leaf(dict(weights)) for _ in range(2))
            for label in "bab":
                substitute_leaves.learn(ours, x, label, 1e-16, model)
                oracle.learn_one(x, label, w=1e-16, tree=model)
            assert state.digest(ours) == state.digest(oracle)
