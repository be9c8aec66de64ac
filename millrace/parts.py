"""What of an object is its state, and which are its parts?"""

from __future__ import annotations

import array
import collections
import copyreg
import enum
import functools
import random
import sys
import types
from typing import Any

from millrace.source import name

CACHES = {
    "river.compose.pipeline:Pipeline": {
        "_plan",
        "_inference_transformers",
        "_last_step_cached",
        "_last_step_params",
    },
    "river.covariance.emp:EmpiricalCovariance": {"_cached_keys", "_cached_pairs"},
    "river.linear_model.bayesian_lin_reg:BayesianLinearRegression": {"_m_arr", "_m_dirty"},
    "river.covariance.ewa:_EWMatrix": {"_matrix_cache"},
    "sklearn.base:BaseEstimator": {"_sklearn_version"},
}
"""Attributes that say nothing about a model, by the class that defines them."""

_BUILTIN = (dict, list, tuple, set, frozenset, collections.deque, str, bytes, bytearray, int, float, complex)


class Unwalkable(Exception):
    """The walk met something whose state cannot be read."""


def plain(kind: Any) -> bool:
    """Tell whether the attributes of a class's instances are all that they hold."""
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ is object.__getstate__
        and kind not in copyreg.dispatch_table
        and kind.__dictoffset__ != 0
        and not issubclass(kind, _BUILTIN)
        and not any(base.__dict__.get("__slots__") for base in kind.__mro__)
    )


def settable(value: Any) -> bool:
    """Tell whether objects like this one are the same when their attributes are set one by one on an empty one."""
    kind: Any = type(value)
    if not plain(kind) or hasattr(kind, "__setstate__") or kind.__setattr__ is not object.__setattr__:
        return False
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - whatever a class's own code raises, pickle will say it
        return False
    return bool(found[:2] == (copyreg.__newobj__, (kind,)) and not any(found[3:]))  # type: ignore[attr-defined]


def managed(kind: type) -> set[str]:
    """Name the attributes that a class itself takes when they are set: properties and the like."""
    return {word for base in kind.__mro__ for word, found in vars(base).items() if hasattr(type(found), "__set__")}


def builtin(value: Any) -> tuple[Any, ...]:
    """Tell a compiled function by its name and its module, its class, or the object that it is bound to."""
    owner = value.__self__
    return owner.__name__ if isinstance(owner, types.ModuleType) else owner, value.__name__


def generator(value: random.Random) -> tuple[Any, ...]:
    """Tell a generator by its state; the system's has none."""
    try:
        version, numbers, following = value.getstate()
    except NotImplementedError:
        raise Unwalkable from None
    return type(value), version, array.array("Q", numbers).tobytes(), following


def array_of(value: Any) -> tuple[Any, ...]:
    """Tell a NumPy array by its type, shape, values and the order in memory, along which it is summed."""
    columns_first = bool(value.flags.f_contiguous and not value.flags.c_contiguous)
    values = value.ravel().tolist() if value.dtype.hasobject else value.tobytes()
    return str(value.dtype.descr), value.shape, columns_first, values


def reduced(value: Any) -> tuple[Any, ...]:
    """Take apart whatever else can be pickled: compiled classes, slots, subclasses of containers, times."""
    try:
        found: str | tuple[Any, ...] = value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 – whatever a class's own code raises, its state cannot be read
        raise Unwalkable from None
    if isinstance(found, str):
        return found, getattr(value, "__module__", "")
    function, arguments, state, items, pairs = (*found, None, None, None)[:5]
    return function, arguments, attributes(type(value), state), list(items or ()), list(pairs or ())


def children(value: Any) -> list[tuple[str, Any]]:
    """List the parts of a value with the way to each, as a reader would write it."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, (list, tuple, collections.deque)):
        return [(f"[{place}]", child) for place, child in enumerate(value)]
    if isinstance(value, functools.partial):
        return [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if isinstance(value, (type, types.FunctionType, enum.Enum, random.Random)):
        return []
    state = _state(value)
    parts = [(f".{word}", child) for word, child in state.items()] if isinstance(state, dict) else []
    found: list[tuple[str, Any]] = []
    for label, child in parts:  # the parts of a pipeline and of a union are known by their names alone
        named = label in (".steps", ".transformers") and isinstance(child, dict)
        found += children(child) if named else [(label, child)]
    return found


def _state(value: Any) -> Any:
    """Read an object's attributes, without what says nothing about it; None for what has none."""
    try:
        return attributes(type(value), value.__getstate__())
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 – whatever a class's own code raises, its state cannot be read
        raise Unwalkable from None


def attributes(kind: type, state: Any) -> Any:
    """Sort an object's attributes by name, without those that say nothing about it."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = {**(state[0] or {}), **state[1]}  # attributes and slots
    if not isinstance(state, dict):
        return state
    hidden = left_out(kind, state.get("seed") is None)
    return {word: state[word] for word in sorted(state.keys() - hidden, key=str)}


def left_out(kind: type, unseeded: bool) -> set[str]:
    """Name the attributes that say nothing about a class's instances."""
    names = set[str]().union(*(CACHES.get(name(base), ()) for base in kind.__mro__))
    return names | {"_rng"} if unseeded and kind in distributions() else names


def distributions() -> set[Any]:
    """List River's classes of distributions: none where they were not imported."""
    base = sys.modules.get("river.proba.base")
    found: set[Any] = set()
    waiting = [base.Distribution] if base else []
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()
    return found
