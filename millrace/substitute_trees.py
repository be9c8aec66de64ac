"""What takes the place of River's trees and forests, so that they are exact?

Classification trees try the values of a nominal feature in the order of a set, and so break ties between
splits by the hash seed. All trees measure, after a million examples, the memory that they take, which depends
on where they were loaded from a pickle. A Hoeffding tree also learns faster here than River's, and the same.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

import types
from typing import Any

from river import forest, tree
from river.forest import adaptive_random_forest, online_extra_trees
from river.tree import hoeffding_tree
from river.tree.nodes.branch import DTBranch
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

from millrace import substitute_leaves
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
    """A Hoeffding tree, which learns faster than River's."""

    _estimate_model_size = _estimate_model_size
    _new_leaf = _new_leaf(tree.HoeffdingTreeClassifier)

    def learn_one(self, x: dict[Any, Any], y: Any, *, w: float = 1.0) -> None:
        """Learn an example: River's own way, where it ends in a leaf that is there, without its generators."""
        parent, branch, node = None, None, self._root
        try:
            while isinstance(node, DTBranch):
                branch = node.branch_no(x)
                parent, node = node, node.children[branch]
        except KeyError:  # a value or a feature for which there is no branch
            node = None
        if node is None:
            super().learn_one(x, y, w=w)
            return
        self.classes.add(y)
        self._train_weight_seen_by_model += w
        substitute_leaves.learn(node, x, y, w, self)
        if self._growth_allowed and node.is_active():
            if node.depth >= self.max_depth:
                node.deactivate()
                self._n_active_leaves -= 1
                self._n_inactive_leaves += 1
            else:
                weight = node.total_weight
                if weight - node.last_split_attempt_at >= self.grace_period:
                    self._attempt_to_split(node, parent, branch)
                    node.last_split_attempt_at = weight
        if self._train_weight_seen_by_model % self.memory_estimate_period == 0:
            self._estimate_model_size()


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
