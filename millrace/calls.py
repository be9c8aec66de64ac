"""What may a foreign pickle call, and with which arguments?

Few functions: those by which containers, times, arrays, generators and compiled objects are made again. Each is reviewed together
with the arguments that it takes: of exact types, so that no code but the function's own runs; and such that no memory is read or
written that is not the object's. Estimators are none of them: instances are made without ``__init__`` (`millrace.foreign`).
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import random
import re
from collections.abc import Callable
from typing import Any

from millrace.pickles import Pair, Refused

_NUMBERS = (bool, int, float)
_PLAIN = (*_NUMBERS, str, bytes, type(None))
_DTYPE = re.compile(r"[<>|=]?(b1|[iuf][1248]|f16|c8|c16|c32|O8?|[SUV]\d+)")


class Ready:
    """What the pickle has made and given its state: an array's type before that may yet become another."""

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}

    def add(self, value: Any) -> None:
        """Remember it, and keep it, so that its identity stays its own."""
        self._values[id(value)] = value

    def dtype(self, value: Any) -> bool:
        """Tell whether it is a NumPy dtype, whole."""
        return type(value).__module__ == "numpy.dtypes" and id(value) in self._values

    def numbers(self, value: Any) -> bool:
        """Tell whether it is an array that holds no objects, or None."""
        return value is None or (_name(type(value)) == ("numpy", "ndarray") and not value.dtype.hasobject)


def allows(pair: Pair, arguments: Any, ready: Ready) -> bool:
    """Tell whether a function or class may be called with these arguments."""
    check = _CALLS.get(pair)
    return check is not None and type(arguments) is tuple and bool(check(ready, arguments))


def creates(owner: type, arguments: tuple[Any, ...]) -> bool:
    """Tell whether instances may be created by the ``__new__`` of this class, with these arguments."""
    if owner is tuple:
        return len(arguments) == 1 and type(arguments[0]) in (tuple, list)
    if owner.__module__.startswith("river._river_rust."):
        return _are(arguments, *_PLAIN)
    if _name(owner) == ("river.imblearn.hard_sampling", "Triplet"):  # a tuple with names
        return len(arguments) == 3
    return not arguments and (owner in _BARE or _name(owner) in _BARE_BY_NAME)


def restores(owner: type, value: Any, state: Any, ready: Ready) -> bool:
    """Tell whether the ``__setstate__`` of a class may be called with this state."""
    if owner.__module__.startswith("river._river_rust."):
        return type(state) is bytes
    check = _STATES.get((owner.__module__, owner.__qualname__))
    return check is not None and bool(check(ready, value, state))


def hashes(key: Any) -> bool:
    """Tell whether a key that is no plain one is hashed by compiled code alone."""
    kind = type(key)
    if kind in (datetime.datetime, datetime.time):
        return type(key.tzinfo) in (datetime.timezone, type(None))
    return kind in (datetime.date, datetime.timedelta, datetime.timezone) or (
        kind.__module__ == "numpy" and hasattr(key, "dtype") and key.dtype.kind in "biufcSU" and key.shape == ()
    )


def refused(called: str, arguments: Any) -> Refused:
    """Say what the pickle would call."""
    given = ", ".join(type(argument).__name__ for argument in arguments) if type(arguments) is tuple else "…"
    return Refused(
        f"the pickle calls {called}({given}), which is on no list of what a pickle from elsewhere may call, and is not loaded; where "
        f"you know it, and trust whoever wrote the pickle, set MILLRACE_TRUST={called.removesuffix('.__setstate__').removesuffix('.__new__')}"
    )


def _are(values: Any, *kinds: type) -> bool:
    return type(values) in (tuple, list) and all(type(value) in kinds for value in values)


def _name(kind: type) -> Pair:
    return kind.__module__, kind.__qualname__


def _typed(*kinds: type) -> Callable[[Ready, Any], bool]:
    return lambda _, given: len(given) == len(kinds) and all(type(one) is kind for one, kind in zip(given, kinds, strict=True))


def _numbers(ready: Ready, given: Any) -> bool:
    return _are(given, *_NUMBERS)


def _dtype(ready: Ready, given: Any) -> bool:
    return len(given) == 3 and type(given[0]) is str and _are(given[1:], bool) and _DTYPE.fullmatch(given[0]) is not None


def _scalar(ready: Ready, given: Any) -> bool:
    return len(given) == 2 and ready.dtype(given[0]) and not given[0].hasobject and type(given[1]) is bytes


def _array(ready: Ready, given: Any) -> bool:
    if len(given) not in (4, 5) or type(given[0]) not in (bytes, bytearray) or not ready.dtype(given[1]) or given[1].hasobject:
        return False
    return _are(given[2], int) and type(given[3]) is str and all(axes is None or _are(axes, int) for axes in given[4:])


def _empty(*kinds: Pair) -> Callable[[Ready, Any], bool]:
    """Make an array of no elements, which its state fills."""

    def check(_: Ready, given: Any) -> bool:
        classes, rest = given[: len(kinds)], given[len(kinds) :]
        named = all(isinstance(one, type) and _name(one) == kind for one, kind in zip(classes, kinds, strict=True))
        return (
            named
            and len(rest) == 2
            and rest[0] == (0,)
            and _are(rest[0], int)
            and rest[1] in (b"b", "b")
            and _are(rest[1:], bytes, str)
        )

    return check


def _class(*kinds: Pair) -> Callable[[Ready, Any], bool]:
    return lambda _, given: len(given) == 1 and isinstance(given[0], type) and _name(given[0]) in kinds


def _bits(_: Ready, given: Any) -> bool:
    return len(given) == 1 and _name(type(given[0])) in _BITS


def _tree(ready: Ready, given: Any) -> bool:
    return (
        len(given) == 3 and _are(given[::2], int) and given[1] is not None and ready.numbers(given[1])
        and given[1].dtype.kind == "i" and given[1].shape == (given[2],)
    )  # fmt: skip


def _cython(name: Pair, *states: Any) -> Callable[[Ready, Any], bool]:
    def check(_: Ready, given: Any) -> bool:
        return (
            len(given) == 3
            and isinstance(given[0], type)
            and _name(given[0]) == name
            and type(given[1]) is int
            and given[2] in states
        )

    return check


def _dtype_state(_: Ready, value: Any, state: Any) -> bool:
    """Allow the state that NumPy itself gives to a type of this description."""
    import numpy as np

    if type(state) is not tuple or len(state) != 8 or state[0] != 3 or state[2] is not None or not _are(state[5:], int):
        return False
    if state[3] is None:
        whole = [value, *([value.newbyteorder(state[1])] if state[1] in ("<", ">", "|", "=") else [])]
    else:
        names, fields = state[3:5]
        if not _are(names, str) or type(fields) is not dict or list(fields) != list(names):
            return False
        if not all(type(field) is tuple and len(field) == 2 and _are(field[1:], int) for field in fields.values()):
            return False
        if any(not isinstance(kind, np.dtype) or kind.hasobject or kind.names for kind, _ in fields.values()):
            return False
        parts = {"names": list(names), "formats": [kind for kind, _ in fields.values()]}
        layout = {**parts, "offsets": [place for _, place in fields.values()], "itemsize": state[5]}
        whole = [np.dtype(layout)]
        with contextlib.suppress(ValueError):  # it is not laid out as C would
            whole.append(np.dtype(layout, align=True))
    return any(one.__reduce__()[2] == state for one in whole)


def _array_state(ready: Ready, value: Any, state: Any) -> bool:
    if type(state) is not tuple or len(state) not in (5, 7) or value.shape != (0,):
        return False
    version, shape, dtype, order, content, *masked = state
    if not _are((version, order), int, bool) or not _are(shape, int) or not ready.dtype(dtype):
        return False
    if masked and (dtype.hasobject or dtype.names or type(masked[0]) is not bytes or masked[1] is not None):
        return False
    return type(content) is (list if dtype.hasobject else bytes) and min(shape, default=0) >= 0


def _bits_state(ready: Ready, _: Any, state: Any) -> bool:
    """Allow what a generator's own state has; a place beyond its 624 words would be read."""
    if type(state) is tuple:
        if len(state) != 2 or _name(type(state[1])) not in (
            ("numpy.random.bit_generator", "SeedSequence"),
            ("builtins", "NoneType"),
        ):
            return False
        state = state[0]
    if type(state) is not dict or type(state.get("state")) is not dict:
        return False
    inner, key = state["state"], state["state"].get("key")
    if key is not None and (not ready.numbers(key) or key.dtype != "uint32" or key.shape != (624,)):
        return False
    plain = [*(part for name, part in state.items() if name != "state"), *(part for name, part in inner.items() if name != "key")]
    return _are(plain, *_PLAIN) and type(inner.get("pos", 0)) is int and 0 <= inner.get("pos", 0) <= 624


def _seeds(ready: Ready, _: Any, state: Any) -> bool:
    if type(state) is not tuple or len(state) != 5 or not ready.numbers(state[2]) or state[2] is None:
        return False
    entropy = type(state[0]) is int or hashes(state[0])
    return (
        entropy
        and _are(state[1:4:2], int)
        and state[2].dtype == "uint32"
        and state[2].shape == (state[3],)
        and _are(state[4], int)
    )


def _random(_: Ready, value: Any, state: Any) -> bool:
    return (
        type(state) is tuple
        and len(state) == 3
        and state[0] == 3
        and _are(state[1], int)
        and type(state[2]) in (float, type(None))
    )


def _partial(_: Ready, value: Any, state: Any) -> bool:
    return type(state) is tuple and len(state) == 4 and type(state[1]) is tuple and type(state[2]) is dict and state[3] is None


def _dict(_: Ready, value: Any, state: Any) -> bool:
    return type(state) is dict


def _arrays(ready: Ready, value: Any, state: Any) -> bool:
    """Allow numbers, text, and arrays that hold no objects."""
    values = state.values() if type(state) is dict else state if type(state) is tuple else [object()]
    return all(type(one) in _PLAIN or ready.numbers(one) or _name(type(one)) == _METRIC for one in values)


def _nodes(ready: Ready, value: Any, state: Any) -> bool:
    whole = (
        type(state) is dict and state.keys() == {"max_depth", "node_count", "nodes", "values"} and _arrays(ready, value, state)
    )
    if not whole or not _are((state["max_depth"], state["node_count"]), int) or type(state["nodes"]) in _PLAIN:
        return False
    return type(state["values"]) not in _PLAIN and state["nodes"].shape == (state["node_count"],)


def _steps(ready: Ready, value: Any, state: Any) -> bool:
    """Allow an isotonic fit, whose interpolation is made anew."""
    knots = [state.get(name) for name in ("X_thresholds_", "y_thresholds_")] if type(state) is dict else [object()]
    return all(ready.numbers(one) for one in knots) and "_build_f" not in state and type(state.get("out_of_bounds")) is str


def _packed(*names: str) -> Callable[[Ready, Any, Any], bool]:
    def check(_: Ready, value: Any, state: Any) -> bool:
        pairs = [state.get(name) for name in names] if type(state) is dict else [None]
        return all(type(pair) is tuple and [type(part) for part in pair] == [str, bytes] for pair in pairs)

    return check


_METRIC = ("sklearn.metrics._dist_metrics", "EuclideanDistance64")
_BITS = {("numpy.random._mt19937", "MT19937"), ("numpy.random._pcg64", "PCG64")}
_LOSSES, _FORECAST = "sklearn._loss._loss", "river.time_series.holt_winters"
_MULTINOMIAL, _SEEDS = (_LOSSES, "CyHalfMultinomialLoss"), ("numpy.random.bit_generator", "SeedSequence")

_CALLS: dict[Pair, Callable[[Ready, Any], Any]] = {
    ("builtins", "getattr"): lambda _, given: len(given) == 2 and type(given[1]) is str,  # a method, by a list of its own
    ("builtins", "iter"): _typed(list),
    ("builtins", "range"): lambda _, given: _are(given, int),
    ("builtins", "slice"): lambda _, given: _are(given, int, type(None)),
    ("collections", "Counter"): _typed(dict),
    ("collections", "OrderedDict"): _typed(),
    ("collections", "defaultdict"): lambda _, given: len(given) == 1,  # it keeps the function, and calls nothing
    ("collections", "deque"): lambda _, given: (
        given in ((), ((),)) or (len(given) == 2 and given[0] == () and type(given[1]) is int)
    ),
    ("datetime", "date"): _typed(bytes),
    ("datetime", "datetime"): lambda _, given: _are(given, bytes, datetime.timezone),
    ("datetime", "time"): lambda _, given: _are(given, bytes, datetime.timezone),
    ("datetime", "timedelta"): lambda _, given: _are(given, int),
    ("datetime", "timezone"): _typed(datetime.timedelta),
    ("functools", "partial"): lambda _, given: len(given) == 1,
    ("operator", "itemgetter"): lambda _, given: _are(given, *_PLAIN),
    ("random", "Random"): _typed(),
    ("millrace.state", "_generator"): _typed(),
    ("millrace.substitutes", "SortedSet"): lambda _, given: len(given) == 1 and _are(given[0], *_PLAIN),
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "_reconstruct"): _empty(("numpy", "ndarray")),
    ("numpy._core.numeric", "_frombuffer"): _array,
    ("numpy.ma.core", "_mareconstruct"): _empty(("numpy.ma", "MaskedArray"), ("numpy", "ndarray")),
    ("numpy.random._pickle", "__bit_generator_ctor"): _class(*_BITS),
    ("numpy.random._pickle", "__generator_ctor"): _bits,
    ("numpy.random._pickle", "__randomstate_ctor"): _bits,
    (_SEEDS[0], "__pyx_unpickle_SeedSequence"): _cython(_SEEDS, None),
    ("river._river_rust.vectordict", "VectorDict"): _typed(dict, type(None), type(None), bool),
    ("sklearn.metrics._dist_metrics", "newObj"): _class(_METRIC),
    ("sklearn.neighbors._kd_tree", "newObj"): _class(("sklearn.neighbors._kd_tree", "KDTree")),
    ("sklearn.tree._tree", "Tree"): _tree,
    (_LOSSES, "__pyx_unpickle_CyHalfMultinomialLoss"): _cython(_MULTINOMIAL, ()),
    ("sklearn.linear_model._sgd_fast", "Hinge"): _numbers,
    **{(_LOSSES, f"CyHalf{name}"): _numbers for name in ("BinomialLoss", "GammaLoss", "PoissonLoss", "SquaredError")},
    (_LOSSES, "CyHalfTweedieLossIdentity"): _numbers,
    **{(_FORECAST, f"{kind}{part}"): _numbers for kind in ("Additive", "Multiplicative") for part in ("Level", "Season")},
    (_FORECAST, "Trend"): _numbers,
}
_BARE = {object, dict, list, set, collections.deque, collections.OrderedDict, random.Random.__base__}
"""Whose ``__new__`` makes an empty one."""
_BARE_BY_NAME = {
    ("millrace.batch", "Batch"),
    ("sklearn.linear_model._passive_aggressive", "PassiveAggressiveClassifier"),
    ("sklearn.linear_model._passive_aggressive", "PassiveAggressiveRegressor"),
}
_STATES: dict[Pair, Callable[[Ready, Any, Any], Any]] = {
    ("builtins", "list_iterator"): lambda _, value, state: type(state) is int,
    ("functools", "partial"): _partial,
    ("millrace.substitutes", "RandomTreesEmbedding"): _dict,
    ("millrace.window", "Column"): _packed("values"),
    ("millrace.window", "Window"): _packed("past", "times"),
    ("numpy", "dtype"): _dtype_state,
    ("numpy", "ndarray"): lambda ready, value, state: (
        value.base is None and len(state) == 5 and _array_state(ready, value, state)
    ),
    ("numpy.ma", "MaskedArray"): lambda ready, value, state: len(state) == 7 and _array_state(ready, value, state),
    ("numpy.ma.core", "MaskedArray"): lambda ready, value, state: len(state) == 7 and _array_state(ready, value, state),
    ("numpy.random.bit_generator", "BitGenerator"): _bits_state,
    ("numpy.random.mtrand", "RandomState"): _bits_state,
    _SEEDS: _seeds,
    ("random", "Random"): _random,
    **{("river.preprocessing.scale", name): _dict for name in ("MaxAbsScaler", "MinMaxScaler", "StandardScaler")},
    ("sklearn.base", "BaseEstimator"): _dict,
    ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"): _arrays,
    ("sklearn.isotonic", "IsotonicRegression"): _steps,
    ("sklearn.metrics._dist_metrics", "DistanceMetric64"): _arrays,
    ("sklearn.neighbors._kd_tree", "BinaryTree64"): _arrays,
    ("sklearn.tree._tree", "Tree"): _nodes,
    ("sklearn.utils._bunch", "Bunch"): _dict,
    ("statistics", "NormalDist"): lambda _, value, state: type(state) is tuple and len(state) == 2 and _are(state, float),
}
