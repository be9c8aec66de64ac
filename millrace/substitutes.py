"""Which of River's classes are not exact, and what takes their place?

They iterate a set, whose order depends on the hash seed of the process and changes when it is pickled and
loaded; or they remember memory addresses, or measure memory. Each has a subclass here that gives the same
answers (ties, which River leaves to chance, apart) in an order that is always the same. A loaded model finds
it by its name.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

import collections
import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from river import compose, dummy, feature_extraction, forest, multiclass, neighbors, preprocessing, rules, utils
from river.neighbors.ann.nn_vertex import Vertex

from millrace import parts

SUBSTITUTES: dict[type, Any] = {}
"""By River's class, the exact one."""


def substitute(kind: type) -> Any:
    """Enter a class as the exact one of River's class that it derives from."""
    SUBSTITUTES[kind.__bases__[0]] = kind
    return kind


def exact(model: Any) -> Any:
    """Give each part of a model its exact class, in place, and return the model."""
    waiting, seen = [model], dict[int, Any]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        kind = SUBSTITUTES.get(type(part))
        if kind is not None:
            part.__class__ = kind
            for name, attribute in vars(kind).items():
                if isinstance(attribute, Sorted):
                    setattr(part, name, getattr(part, name))
        if isinstance(part, OneHotEncoder) and part.categories is not None:
            part._zero_dict = {word: part._zero_dict[word] for word in sorted(part._zero_dict)}
        waiting += inside(part)
    return model


def inside(part: Any) -> list[Any]:
    """List what a part of a model holds."""
    try:
        found = [child for _, child in parts.children(part)]
    except parts.Unwalkable:
        return []
    return [*found, part.default_factory] if isinstance(part, collections.defaultdict) else found


class SortedSet(set[Any]):
    """A set that is iterated in sorted order.

    Examples
    --------
    >>> list(SortedSet({"b", "a"}) - {"a"})
    ['b']
    """

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(sorted(set.__iter__(self)))
        except TypeError:  # of several types
            return iter(sorted(set.__iter__(self), key=repr))

    def __sub__(self, other: Any) -> SortedSet:
        return SortedSet(set.__sub__(self, other))


class Sorted:
    """An attribute that holds a set, and holds it sorted. Without ``__get__``, Python reads it as fast as any other."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __set__(self, part: Any, values: Any) -> None:
        part.__dict__[self.name] = SortedSet(values)


@substitute
class Select(compose.Select):
    """Selects in the order of ``x``, not of a set. A key that ``x`` lacks is left out: it was null."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the selected features of ``x``, in its order."""
        keys = self.keys
        return {key: value for key, value in x.items() if key in keys}


@substitute
class Renamer(compose.Renamer):
    """Renames in a copy of ``x``: other models learn from the same."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give ``x`` with other names."""
        return super().transform_one(dict(x))  # type: ignore[no-any-return]


@substitute
class Agg(feature_extraction.Agg):
    """Answers for an unseen group without making one, and gives the time only to a statistic that takes it."""

    def learn_one(self, x: dict[Any, Any], t: Any = None) -> None:
        """Update the statistic of the group that ``x`` is in."""
        super().learn_one(x, t if isinstance(self.how, utils.TimeRolling) else None)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the statistic of the group that ``x`` is in."""
        return {self._feature_name: self._groups.get(self._make_key(x), self.how).get()}


@substitute
class TargetAgg(feature_extraction.TargetAgg):
    """Answers for an unseen group without making one, and gives the time only to a statistic that takes it."""

    transform_one = Agg.transform_one

    def learn_one(self, x: dict[Any, Any], y: Any, t: Any = None) -> None:
        """Update the statistic of the group that ``x`` is in."""
        super().learn_one(x, y, t if isinstance(self.how, utils.TimeRolling) else None)


@substitute
class TimeRolling(utils.TimeRolling):
    """Takes times that say their zone, as all of Millrace's do: River's begins at one that does not."""

    def update(self, *args: Any, t: datetime, **kwargs: Any) -> None:
        """Update the statistic at a moment."""
        super().update(*args, t=t if t.tzinfo is None else t.astimezone(UTC).replace(tzinfo=None), **kwargs)


@substitute
class TFIDF(feature_extraction.TFIDF):
    """Counts terms in the order of the text."""

    def learn_one(self, x: Any) -> None:
        """Count the document's terms, each once."""
        self.dfs.update(dict.fromkeys(self.process_text(x), 1))
        self.n += 1


@substitute
class OneHotEncoder(preprocessing.OneHotEncoder):
    """Writes given categories in sorted order."""


@substitute
class RandomTreesEmbedding(feature_extraction.RandomTreesEmbedding):
    """Numbers the leaves again when it is loaded: River knows them by their memory address."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the leaves that ``x`` is in: of other trees, for this once, where it has new features."""
        if not x.keys() - self._features:
            return super().transform_one(x)  # type: ignore[no-any-return]
        other = copy.copy(self)
        other._features, other.rng = set(self._features), copy.copy(self.rng)
        return super(RandomTreesEmbedding, other).transform_one(x)  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_leaf_indices"}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        """Number the leaves when they are first asked for: to load a state calls nothing of its parts."""
        if name != "_leaf_indices":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        self._leaf_indices = [{id(leaf): place for place, leaf in enumerate(part.iter_leaves())} for part in self.trees]
        return self._leaf_indices


@substitute
class NoChangeClassifier(dummy.NoChangeClassifier):
    """Gives its classes in sorted order."""

    classes = Sorted()


@substitute
class KNNClassifier(neighbors.KNNClassifier):
    """Sums over its classes, and breaks ties between them, in sorted order."""

    classes = Sorted()


@substitute
class SWINN(neighbors.SWINN):
    """Looks for isolated vertices in its own graph: River keeps one set of them for a whole process."""

    def _fix_graph(self) -> None:
        Vertex._isolated.clear()
        Vertex._isolated.update(node.uuid for node in self if node is not None and node.is_isolated())
        super()._fix_graph()


@substitute
class AMFClassifier(forest.AMFClassifier):
    """Gives its classes in sorted order, in which ties are broken."""

    _classes = Sorted()


@substitute
class OneVsOneClassifier(multiclass.OneVsOneClassifier):
    """Makes its classifiers in sorted order, in which ties are broken."""

    classes = Sorted()


@substitute
class AMRules(rules.AMRules):
    """Numbers its rules: River knows them by their memory address."""

    def learn_one(self, x: dict[Any, Any], y: Any, w: int = 1) -> None:
        """Learn an example; then number the rules in their order."""
        super().learn_one(x, y, w)
        if any(key != place for place, key in enumerate(self._rules)):
            self._rules: dict[int, Any] = dict(enumerate(self._rules.values()))
