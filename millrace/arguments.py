"""Which parts of a model are given more of an example than ``x`` and ``y``: its time ``t``, its weight ``w``?

River's estimators say in the signature of ``learn_one`` what they take. What holds others (a pipeline, a union, an ensemble)
takes what they take, and passes it on; where River's own does not, `millrace.substitute_arguments` takes its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

NAMES = frozenset({"t", "w"})
"""``t``: the ``event_time``, aware; ``w``: the example's weight. One of weight 1 is learned as River learns it without."""

_OTHERS = ("river.ensemble.streaming_random_patches", "river.imblearn.hard_sampling")
"""Modules of wrappers that accept both, and give them to nothing, or with another example than the one they are of."""
_DECLARED: dict[type, frozenset[str] | None] = {}
"""What :func:`declares` has found: reading a signature takes longer than learning an example."""


def takes(part: Any) -> frozenset[str]:
    """Return which of ``t`` and ``w`` a model, or a part of it, takes and makes use of.

    Examples
    --------
    >>> from river import linear_model, multiclass, naive_bayes, preprocessing
    >>> takes(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    frozenset({'w'})
    >>> takes(multiclass.OneVsRestClassifier(naive_bayes.BernoulliNB()))
    frozenset()
    """
    held = _passes_to(part)
    if held is not None:
        return frozenset[str]().union(*map(takes, held))
    declared = declares(type(part)) or frozenset()
    update = getattr(getattr(part, "how", None), "update", None)  # a group's statistic: some want the time
    if update is not None and "t" not in inspect.signature(update).parameters:
        declared = declared - {"t"}
    return declared


def _passes_to(part: Any) -> Sequence[Any] | None:
    """List the parts that a part passes on to what it is given; None where it keeps it to itself."""
    if hasattr(part, "learns_with"):
        return part.learns_with()  # type: ignore[no-any-return]
    for container in ("steps", "transformers"):  # a pipeline's, a union's; a grouper's are copies, and given nothing
        if hasattr(part, container) and not hasattr(part, "transformer"):
            return list(getattr(part, container).values())
    wraps = declares(type(part)) is None and hasattr(part, "_wrapped_model") and type(part).__module__ not in _OTHERS
    return [part._wrapped_model] if wraps else None


def declares(kind: type) -> frozenset[str] | None:
    """Return which of both a class names in the signature of ``learn_one``; None where it accepts whatever it is given."""
    if kind not in _DECLARED:
        parameters = inspect.signature(kind.learn_one).parameters if hasattr(kind, "learn_one") else {}
        named = NAMES.intersection(parameters)
        whatever = not named and any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        _DECLARED[kind] = None if whatever else named
    return _DECLARED[kind]


def taken(part: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of it a part takes."""
    names = takes(part)
    return {name: value for name, value in given.items() if name in names}
