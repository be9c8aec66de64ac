"""What of an event moved a model's answer: which features, and by how much?

A linear model's answer is a sum, a tree's a path to a leaf. Of other models (forests and other ensembles, neighbours, batch
models) none are given, rather than some that only look like contributions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 12
_Linear = dict[Any, tuple[Mapping[Any, float], float]]
"""By class (None where there is one sum for all), the weights and the intercept."""


@dataclass(frozen=True)
class Term:
    """A summand of a linear model's answer: ``contribution = value * weight``; the intercept has no ``feature``.

    ``of`` is the class to whose score it adds, None where a model has one score.
    """

    feature: str | None
    value: float
    weight: float
    contribution: float
    of: str | None = None


@dataclass
class Contributions:
    """What reaches a model's final ``estimator``, and what that makes of it.

    Attributes
    ----------
    reaches
        The transformers' outputs: by name, what the final estimator sees of the event.
    terms
        Of a linear model, the largest first. They add up to its score: the log-odds, or the value.
    path
        Of a tree: the tests that the event passes, and what its leaf counts.
    note
        Why there are none, or in which scale they are.
    """

    estimator: str
    reaches: dict[str, Any]
    terms: list[Term] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    note: str | None = None

    def __str__(self) -> str:
        said = [f"reaches {self.estimator}: {listed(self.reaches)}"]
        for of in dict.fromkeys(term.of for term in self.terms):
            terms = [term for term in self.terms if term.of == of]
            moved = [term for term in terms if term.contribution]
            parts = [_written(term) for term in moved[:_SHOWN]]
            parts += [f"{len(moved) - _SHOWN} more"] if len(moved) > _SHOWN else []
            total = math.fsum(term.contribution for term in terms)
            said.append(f"score{f' of {of}' if of else ''} {total:+.6g} = {', '.join(parts) or 'nothing'}")
        said += [f"path: {' → '.join(self.path)}"] if self.path else []
        return "\n".join([*said, *([self.note] if self.note else [])])


def _written(term: Term) -> str:
    if term.feature is None:
        return f"intercept {term.contribution:+.4g}"
    return f"{term.feature} {term.contribution:+.4g} ({term.value:.4g} × {term.weight:.4g})"


def listed(values: Mapping[str, Any]) -> str:
    """Write names and values in a line, those that are zero as a number of others.

    Examples
    --------
    >>> listed({"amount": 30.0, "DE": 1, "FR": 0, "IT": 0})
    'amount 30.0, DE 1, and 2 that are 0'
    """
    shown = [f"{name} {value}" for name, value in values.items() if isinstance(value, bool) or value != 0]
    zeros = len(values) - len(shown)
    return ", ".join(shown + ([f"{'and ' if shown else ''}{zeros} that are 0"] if zeros else [])) or "nothing"


def contributions(model: Any, x: Mapping[str, Any]) -> Contributions:
    """Follow an event through a model's transformers to its final estimator, and tell what that makes of it.

    Parameters
    ----------
    model
        A loaded copy: asking may grow a model.
    x
        The event's features.

    Raises
    ------
    Exception
        What the model's transformers raise.
    """
    from river import compose, preprocessing

    from millrace.provisional import Corrected, FakeNegativeWeighting

    reached, around = dict(x), []
    while True:
        if isinstance(model, compose.Pipeline):
            reached, model = model.transform_one(reached), list(model.steps.values())[-1]
        elif isinstance(model, FakeNegativeWeighting):  # it says what the model says
            model = model._wrapped_model
        elif isinstance(model, (compose.TargetTransformRegressor, preprocessing.PredClipper, Corrected)) or _samples(model):
            around.append(type(model).__name__)
            model = model._wrapped_model
        else:
            break
    found = Contributions(type(model).__name__, {str(name): plain(value) for name, value in reached.items()})
    linear = _linear(model)
    if linear is not None:
        found.terms = [term for of, (weights, intercept) in linear.items() for term in _terms(reached, weights, intercept, of)]
    elif _is_tree(model):
        found.path = _path(model.debug_one(reached))
        found.note = None if found.path else "the tree has learned nothing yet"
    else:
        found.note = f"no contributions are given for {type(model).__name__}: its answer is neither one sum nor one path"
        return found
    if around:
        found.note = "; ".join([*([found.note] if found.note else []), f"before what {', '.join(around)} makes of the answer"])
    return found


def _samples(model: Any) -> bool:
    """Tell whether a model only chooses what another one learns."""
    return type(model).__module__.startswith("river.imblearn.")


def _is_tree(model: Any) -> bool:
    from river.tree.hoeffding_tree import HoeffdingTree

    return isinstance(model, HoeffdingTree)


def _linear(model: Any) -> _Linear | None:
    from river import linear_model
    from river.linear_model.base import GLM
    from river.linear_model.pa import BasePA

    if isinstance(model, linear_model.SoftmaxRegression):
        return {str(label): (weights, 0.0) for label, weights in model.weights.items()}
    if isinstance(model, (GLM, BasePA)):
        return {None: (model.weights, model.intercept)}
    if isinstance(model, linear_model.ALMAClassifier):
        return {None: (model.w, 0.0)}
    return None


def _terms(x: Mapping[Any, Any], weights: Mapping[Any, float], intercept: float, of: str | None) -> list[Term]:
    found = [Term(None, 1.0, float(intercept), float(intercept), of)] if intercept else []
    for name, value in x.items():
        weight = float(weights.get(name, 0.0))
        found.append(Term(str(name), float(value), weight, float(value * weight), of))
    return sorted(found, key=lambda term: -abs(term.contribution))


def _path(written: str | None) -> list[str]:
    """Cut what River writes of a tree's path into its steps: a line each, what belongs to the leaf indented."""
    steps: list[str] = []
    for line in (written or "").splitlines():
        if line.startswith("\t"):
            steps[-1] += f" {line.strip()}"
        elif line:
            steps.append(line)
    return [step for step, _ in itertools.groupby(steps)]  # where a feature is missing River goes twice through a node


def plain(value: Any) -> Any:
    """Turn a NumPy number into Python's own, so that it can be written as JSON."""
    return value.item() if hasattr(value, "item") else value
