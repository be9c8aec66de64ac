"""Which parts of a model are not exact, or may not be?

What is known of River's classes is measured by ``tests/conformance/test_estimators.py``, and told in ``docs/exact.md``.
Of somebody's own classes and functions it is seen what gives them away: a set, a call of ``hash`` or ``id``, a base that
is not exact. What else they do cannot be seen.
"""

from __future__ import annotations

import collections
import dis
import sys
import types
from collections.abc import Iterator
from typing import Any

from millrace import parts
from millrace.source import name

INEXACT = {
    "river.active.base:ActiveLearningClassifier": "it draws when it is asked; learn with the classifier that it wraps",
    "river.sketch.counter:Counter": "it places words by Python's hash, which is another in each process; count in a dict",
    "river.sketch.set:Set": "it places words by Python's hash, which is another in each process; remember them in a dict",
    "river.stats.kolmogorov_smirnov:KolmogorovSmirnov": "it draws from the process's generator; choose another measure",
}
"""What is not exact and has no substitute: why, and what to do, by class."""

LIBRARIES = sys.stdlib_module_names | {"river", "millrace", "sklearn", "numpy", "scipy", "pandas"}
"""Packages whose classes are not somebody's own."""

ONE_ROW = {"SGDClassifier", "SGDRegressor", "Perceptron", "PassiveAggressiveClassifier", "PassiveAggressiveRegressor"}
"""Estimators of scikit-learn that draw only the order of rows: learning one at a time, they draw nothing that shows."""

CALLS = {
    "hash": "hash() of a text is another in each process; take zlib.crc32 of its bytes",
    "id": "id() is another in each process; number the objects",
}
"""What is not exact in one's own code."""

Part = tuple[str, Any, Any]
"""The way to a part, the part, and the object that holds it: itself, unless it is in a container."""


def doubts(model: Any) -> list[str]:
    """Say what in a model is not exact, or may not be.

    Parameters
    ----------
    model
        A model as `millrace.exact.build` gives it.

    Returns
    -------
    list of str
        A sentence each: the way to the part, its class, why, and what to do. None for a model that is exact.
    """
    sentences: dict[str, None] = {}
    for path, part, holder in walk(model):
        reason = _known(type(part)) or _own(part) or _unseeded(part) or _set(path, part, type(holder))
        if reason is not None:
            kind = part.__name__ if isinstance(part, types.FunctionType) else type(holder).__name__
            sentences[f"{path} ({kind}): {reason}"] = None
    return list(sentences)


def walk(model: Any) -> Iterator[Part]:
    """List the parts of a model, from the outside in, each once."""
    waiting: list[Part] = [("pipeline" if type(model).__name__ == "Pipeline" else "model", model, model)]
    seen = set[int]()
    while waiting:
        path, part, holder = waiting.pop()
        if id(part) in seen or isinstance(part, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(part))
        if not isinstance(part, (dict, list, tuple, set, frozenset, collections.deque)):
            holder = part
        yield path, part, holder
        try:
            children = parts.children(part)
        except parts.Unwalkable:
            continue
        waiting += [(path + label, child, holder) for label, child in reversed(children)]


def _known(kind: type) -> str | None:
    """Tell why a class of River's, or one derived from it, is not exact."""
    from millrace.substitutes import SUBSTITUTES

    for base in kind.__mro__:
        if base in SUBSTITUTES.values():
            return None
        if base in SUBSTITUTES:
            exact = name(SUBSTITUTES[base]).replace(":", ".")
            return f"River's {base.__name__} is not exact, and a class derived from it is not replaced; derive it from {exact}"
        if name(base) in INEXACT:
            return INEXACT[name(base)]
    return None


def _unseeded(part: Any) -> str | None:
    kind = type(part)
    if _library(kind) == "sklearn" and getattr(part, "random_state", 0) is None and kind.__name__ not in ONE_ROW:
        return "it has no seed; give it random_state=1"
    return None


def _own(part: Any) -> str | None:
    """Tell what one's own code calls that it must not."""
    if isinstance(part, types.FunctionType):
        functions = [part]
    else:
        own = [vars(base) for base in type(part).__mro__ if not _library(base)]
        functions = [value for space in own for word, value in space.items() if word != "__hash__"]
    for function in functions:
        if isinstance(function, types.FunctionType) and not _library(function):
            for step in dis.get_instructions(function):
                if step.opname == "LOAD_GLOBAL" and step.argval in CALLS:
                    return CALLS[step.argval]
    return None


def _set(path: str, part: Any, holder: Any) -> str | None:
    """Tell of a set that an object of one's own holds, unless River put it there."""
    if type(part) not in (set, frozenset) and getattr(part, "default_factory", None) not in (set, frozenset):
        return None
    attribute = path.rpartition(".")[2].partition("[")[0]
    makers = [vars(base)["__init__"] for base in holder.__mro__ if _library(base) and "__init__" in vars(base)]
    if _library(holder) or any(attribute in maker.__code__.co_names for maker in makers if isinstance(maker, types.FunctionType)):
        return None
    return "a set has another order in each process; keep a dict in its place (dict.fromkeys)"


def _library(value: Any) -> str:
    """Name the library that a class or function is of; nothing where it is somebody's own."""
    package = (value.__module__ or "").partition(".")[0]
    return package if package in LIBRARIES else ""
