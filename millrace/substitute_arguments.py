"""What takes the place of River's classes that hold others, so that each is given the time and the weight that it takes?

River passes an example's ``t`` and ``w`` on by the signatures of a pipeline's steps. A wrapper in it accepts everything, and
gives it to a model that may not take it; a union in a union, a grouper and some ensembles give theirs nothing; forests draw
how often a tree learns an example, and do not weigh it. A class gives way only where it holds something that goes without,
or is given too much: every other model stays what it is, to the bit.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from river import compose, ensemble, model_selection, preprocessing
from river.compose import union

from millrace import substitute_trees
from millrace.arguments import NAMES, declares, taken, takes
from millrace.substitutes import inside

_PASSING: dict[type, Any] = {}
"""By the class of which a model is built, the one that passes on."""
_WEIGHTED: dict[type, Any] = {}
"""The same for those that take a weight themselves."""


def pass_on(model: Any, weighted: bool) -> Any:
    """Give those parts of a model that should pass on the time, or the weight, a class that does, in place; return the model.

    Parameters
    ----------
    weighted
        Whether examples have weights: where they do not, what takes one is left as it is.
    """
    wanted = NAMES if weighted else NAMES - {"w"}
    parts, waiting, routed = dict[int, Any](), [model], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in parts:
            continue
        parts[id(part)] = part
        if isinstance(part, compose.Pipeline):  # it gives what is in a union in it itself what that takes
            routed.update(id(step) for step in part.steps.values() if isinstance(step, union.TransformerUnion))
        waiting += inside(part)
    for part in reversed(parts.values()):  # what is held before what holds it
        kind = _PASSING.get(type(part))
        if weighted and type(part) in _WEIGHTED:
            part.__class__ = _WEIGHTED[type(part)]
        elif kind is Pipeline:
            if any(_too_much(step, takes(part) & wanted) for step in _steps(part)):
                part.__class__ = kind
        elif kind is not None and id(part) not in routed and any(takes(one) & wanted for one in kind.learns_with(part)):
            part.__class__ = kind
    return model


def _steps(pipeline: compose.Pipeline) -> Iterator[Any]:
    for step in pipeline.steps.values():
        yield from step.transformers.values() if isinstance(step, union.TransformerUnion) else [step]


def _too_much(step: Any, given: frozenset[str]) -> bool:
    """Tell whether a pipeline of River would give a step what the model in it does not take."""
    return _filters(step) and bool(given - takes(step))


def _filters(step: Any) -> bool:
    return declares(type(step)) is None and hasattr(step, "_wrapped_model") and not hasattr(step, "learns_with")


def _passing(kind: type) -> Any:
    _PASSING[kind.__bases__[0]] = kind
    return kind


def _weighted(kind: type) -> Any:
    _WEIGHTED[kind.__bases__[0]] = kind
    return kind


@_passing
class Pipeline(compose.Pipeline):
    """Gives each step what it takes; in River a wrapper is given all that any step takes."""

    def learns_with(self) -> list[Any]:
        """List the steps, each of which is given what it takes."""
        return list(self.steps.values())

    def _build_plan(self) -> Any:
        plan = []
        for kind, step, *told in super()._build_plan():
            if kind == "union":
                plan.append((kind, step, *[[self._routed(*sub) for sub in subs] for subs in told]))
            else:
                plan.append((kind, step, told[0], self._routed(step, told[1])[1]))
        self._plan = tuple(plan)
        return self._plan

    @staticmethod
    def _routed(step: Any, accepted: frozenset[str] | None) -> tuple[Any, frozenset[str] | None]:
        return step, takes(step) if _filters(step) else accepted


def _transformers(union: Any) -> list[Any]:
    """List what a union gives each what it takes."""
    return list(union.transformers.values())


def _update_each(self: Any, x: dict[Any, Any], y: Any = None, **given: Any) -> None:
    """Update each transformer of a union."""
    for part in self.transformers.values():
        answer = {"y": y} if part._supervised else {}
        part.learn_one(x, **answer, **taken(part, given))


@_passing
class TransformerUnion(compose.TransformerUnion):
    """A union within something else than a pipeline gives each transformer what it takes."""

    learns_with, learn_one = _transformers, _update_each


@_passing
class TransformerProduct(compose.TransformerProduct):
    """A product within something else than a pipeline gives each transformer what it takes."""

    learns_with, learn_one = _transformers, _update_each


@_passing
class Grouper(compose.Grouper):
    """Gives a group's transformer what it takes."""

    def learns_with(self) -> list[Any]:
        """List what each group has a copy of."""
        return [self.transformer]

    def learn_one(self, x: dict[Any, Any], **given: Any) -> None:
        """Update the transformer of the group that ``x`` is in."""
        self.transformers[self._get_key(x)].learn_one(x, **taken(self.transformer, given))


def _regressor(target: Any) -> list[Any]:
    """List the regressor that learns a transformed target."""
    return [target.regressor]


def _learn_transformed(self: Any, x: dict[Any, Any], y: Any, **given: Any) -> None:
    """Learn the transformed target."""
    self._update(y)
    self.regressor.learn_one(x, self.func(y), **taken(self.regressor, given))


@_passing
class TargetTransformRegressor(compose.TargetTransformRegressor):
    """Gives the regressor of a transformed target what it takes."""

    learns_with, learn_one = _regressor, _learn_transformed


@_passing
class TargetStandardScaler(preprocessing.TargetStandardScaler):
    """Gives the regressor of a scaled target what it takes."""

    learns_with, learn_one = _regressor, _learn_transformed


@_passing
class TargetMinMaxScaler(preprocessing.TargetMinMaxScaler):
    """Gives the regressor of a scaled target what it takes."""

    learns_with, learn_one = _regressor, _learn_transformed


class _Learning:
    """Stands in for a model while the ensemble that it is in learns, and is given what it takes."""

    def __init__(self, model: Any, given: dict[str, Any]) -> None:
        self._model, self._given = model, taken(model, given)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        self._model.learn_one(x, y, **self._given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _models(ensemble: Any) -> list[Any]:
    """List the models of an ensemble."""
    return list(ensemble.data)


def _learn_each(base: Any) -> Any:
    """Make the method by which an ensemble learns as River's does, and gives each model what it takes."""

    def learn_one(self: Any, x: dict[Any, Any], y: Any, **given: Any) -> None:
        models, self.data = self.data, [_Learning(model, given) for model in self.data]
        try:
            base.learn_one(self, x, y)
        finally:
            self.data = models

    return learn_one


@_passing
class VotingClassifier(ensemble.VotingClassifier):
    """Classifiers that vote, each given what it takes."""

    learns_with, learn_one = _models, _learn_each(ensemble.VotingClassifier)


@_passing
class EWARegressor(ensemble.EWARegressor):
    """Regressors weighted by their losses, each given what it takes."""

    learns_with, learn_one = _models, _learn_each(ensemble.EWARegressor)


@_passing
class BanditClassifier(model_selection.BanditClassifier):
    """Classifiers of which a bandit chooses those that learn, each given what it takes."""

    learns_with, learn_one = _models, _learn_each(model_selection.BanditClassifier)


@_passing
class BanditRegressor(model_selection.BanditRegressor):
    """Regressors of which a bandit chooses those that learn, each given what it takes."""

    learns_with, learn_one = _models, _learn_each(model_selection.BanditRegressor)


@_passing
class StackingClassifier(ensemble.StackingClassifier):
    """Classifiers, and one that learns from what they say, each given what it takes."""

    def learns_with(self) -> list[Any]:
        """List the models, and the one that learns from them."""
        return [*self.data, self.meta_classifier]

    def learn_one(self, x: dict[Any, Any], y: Any, **given: Any) -> None:
        """Learn as River does."""
        meta = self.__dict__["meta_classifier"]
        self.meta_classifier: Any = _Learning(meta, given)
        try:
            _learn_stacked(self, x, y, **given)
        finally:
            self.meta_classifier = meta


_learn_stacked = _learn_each(ensemble.StackingClassifier)


def _resampled(base: Any, rate: str) -> Any:
    """Make the method by which a forest learns an example of weight ``w``: each tree ``w`` times as often, on average.

    A tree learns it as often as a Poisson variable says; of Poisson(rate) examples, ``w`` of them are Poisson(w · rate)
    (N. Oza, S. Russell, *Online bagging and boosting*, AISTATS 2001).
    """

    def learn_one(self: Any, x: dict[Any, Any], y: Any, *, w: float = 1.0) -> None:
        kept = getattr(self, rate)
        setattr(self, rate, w * kept)
        try:
            base.learn_one(self, x, y)
        finally:
            setattr(self, rate, kept)

    return learn_one


@_weighted
class ARFClassifier(substitute_trees.ARFClassifier):
    """A forest that weighs examples."""

    learn_one = _resampled(substitute_trees.ARFClassifier, "lambda_value")


@_weighted
class ARFRegressor(substitute_trees.ARFRegressor):
    """A forest that weighs examples."""

    learn_one = _resampled(substitute_trees.ARFRegressor, "lambda_value")


@_weighted
class SRPClassifier(ensemble.SRPClassifier):
    """Random patches that weigh examples."""

    learn_one = _resampled(ensemble.SRPClassifier, "lam")


@_weighted
class SRPRegressor(ensemble.SRPRegressor):
    """Random patches that weigh examples."""

    learn_one = _resampled(ensemble.SRPRegressor, "lam")
