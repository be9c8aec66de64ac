"""What takes the place of River's trees and forests, so that they are exact?

Classification trees try the values of a nominal feature in the order of a set, and so break ties between
splits by the hash seed. All trees measure, after a million examples, the memory that they take, which depends
on where they were loaded from a pickle.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

import types
from typing import Any

from river import forest, tree
from river.forest import adaptive_random_forest, online_extra_trees
from river.tree import hoeffding_tree
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

from millrace.substitutes import Sorted, SortedSet, exact, inside, substitute


@substitute
class NominalSplitter(NominalSplitterClassif):
    """Tries a nominal feature's values in sorted order, in which ties between splits are broken."""

    def __init__(self) -> None:
        super().__init__()
        self._att_values: set[Any] = SortedSet()


def _size(value: Any) -> int:
    """Estimate the bytes that a value takes: a hundred a part, each number and text on its own, since a pickle parts them."""
    waiting, seen, size = [value], dict[int, Any](), 0
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            size += 100
            if not isinstance(part, (type(None), bool, int, float, str)):
                seen[id(part)] = part
                waiting += inside(part)
    return size


# River's own limit on a tree's size, but for how it measures: the allocator tells what came from a pickle.
_estimate_model_size: Any = types.FunctionType(
    hoeffding_tree.HoeffdingTree._estimate_model_size.__code__,
    {**vars(hoeffding_tree), "calculate_object_size": _size},
)


def _new_leaf(base: Any) -> Any:
    """Make the method that makes a tree's leaves: they split nominal features by the exact splitter."""

    def make(self: Any, *arguments: Any, **keywords: Any) -> Any:
        leaf = base._new_leaf(self, *arguments, **keywords)
        leaf.new_nominal_splitter = NominalSplitter
        return leaf

    return make


@substitute
class HoeffdingTreeClassifier(tree.HoeffdingTreeClassifier):
    """A Hoeffding tree."""

    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(tree.HoeffdingTreeClassifier)


@substitute
class HoeffdingAdaptiveTreeClassifier(tree.HoeffdingAdaptiveTreeClassifier):
    """An adaptive Hoeffding tree, which sums over its classes in sorted order."""

    classes = Sorted()
    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(tree.HoeffdingAdaptiveTreeClassifier)


@substitute
class ExtremelyFastDecisionTreeClassifier(tree.ExtremelyFastDecisionTreeClassifier):
    """An extremely fast decision tree."""

    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(tree.ExtremelyFastDecisionTreeClassifier)


@substitute
class LASTClassifier(tree.LASTClassifier):
    """A local adaptive streaming tree."""

    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(tree.LASTClassifier)


@substitute
class ForestClassifier(adaptive_random_forest.BaseTreeClassifier):
    """A tree of an adaptive random forest."""

    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(adaptive_random_forest.BaseTreeClassifier)


@substitute
class HoeffdingTreeRegressor(tree.HoeffdingTreeRegressor):
    """A Hoeffding tree."""

    _estimate_model_size = _estimate_model_size


@substitute
class HoeffdingAdaptiveTreeRegressor(tree.HoeffdingAdaptiveTreeRegressor):
    """An adaptive Hoeffding tree."""

    _estimate_model_size = _estimate_model_size


@substitute
class ISOUPTreeRegressor(tree.ISOUPTreeRegressor):
    """A tree for several targets, in sorted order."""

    targets = Sorted()
    _estimate_model_size = _estimate_model_size


@substitute
class ForestRegressor(adaptive_random_forest.BaseTreeRegressor):
    """A tree of an adaptive random forest."""

    _estimate_model_size = _estimate_model_size


@substitute
class ETRegressor(online_extra_trees.ETRegressor):
    """A tree of an online extra trees forest."""

    _estimate_model_size = _estimate_model_size


@substitute
class ARFClassifier(forest.ARFClassifier):
    """A forest of exact trees."""

    def _new_base_model(self) -> Any:
        return exact(super()._new_base_model())


@substitute
class ARFRegressor(forest.ARFRegressor):
    """A forest of exact trees."""

    def _new_base_model(self) -> Any:
        return exact(super()._new_base_model())


@substitute
class OXTRegressor(forest.OXTRegressor):
    """A forest of exact trees."""

    def _new_member(self, max_features: Any, max_depth: Any, seed: int) -> Any:
        return exact(super()._new_member(max_features, max_depth, seed))
