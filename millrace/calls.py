"""What may a foreign pickle call, and with which arguments?

Few functions: those by which containers, times, arrays, generators and compiled objects are made again. Each is reviewed together
with the arguments that it takes: of exact types, so that no code but the function's own runs; and such that no memory is read or
written that is not the object's. Estimators are none of them: instances are made without ``__init__`` (`millrace.foreign`).

The checks themselves ask nothing of a value before they know its exact type: no ``==``, ``len``, ``in``, ``isinstance`` (it asks
for ``__class__``), truth or text, since each is a method of the value's class, and does with its attributes what it does.
"""

from __future__ import annotations

import collections
import datetime
import random
import types
from collections.abc import Callable
from typing import Any

from millrace import foreign_arrays as arrays
from millrace.pickles import Pair, Refused


def allows(pair: Pair, arguments: Any, ready: arrays.Ready) -> bool:
    """Tell whether a function or class may be called with these arguments."""
    check = _CALLS.get(pair)
    return check is not None and type(arguments) is tuple and bool(check(ready, arguments))


def creates(owner: type, arguments: tuple[Any, ...]) -> bool:
    """Tell whether instances may be created by the ``__new__`` of this class, with these arguments."""
    if owner is tuple:
        return len(arguments) == 1 and type(arguments[0]) in (tuple, list)
    if owner.__module__.startswith("river._river_rust."):
        return arrays.are(arguments, *arrays.PLAIN)
    if arrays.name_of(owner) == ("river.imblearn.hard_sampling", "Triplet"):  # a tuple with names
        return len(arguments) == 3
    return not arguments and (owner in _BARE or arrays.name_of(owner) in _BARE_BY_NAME)


def restores(owner: type, value: Any, state: Any, ready: arrays.Ready) -> bool:
    """Tell whether the ``__setstate__`` of a class may be called with this state."""
    if owner.__module__.startswith("river._river_rust."):
        return type(state) is bytes
    check = _STATES.get((owner.__module__, owner.__qualname__))
    return check is not None and bool(check(ready, value, state))


def refused(called: str, arguments: Any) -> Refused:
    """Say what the pickle would call."""
    given = ", ".join(type(argument).__name__ for argument in arguments) if type(arguments) is tuple else "…"
    pair = called.removesuffix(".__setstate__").removesuffix(".__new__")
    return Refused(
        f"the pickle calls {called}({given}), which is on no list of what a pickle from elsewhere may call, and is not loaded; "
        f"where you know it, and trust whoever wrote the pickle, set MILLRACE_TRUST={pair}"
    )


def said(value: Any) -> str:
    """Name a value of the pickle in a message: a class or function by its own name, all else by its type's.

    Nothing else of it is told. Its text would be made by a method of its class, which calls what the pickle has put there.

    Examples
    --------
    >>> said([print]), said(dict), said(said)
    ('builtins:list', 'builtins:dict', 'millrace.calls:said')
    """
    kind = value if issubclass(type(value), (type, types.FunctionType)) else type(value)
    return f"{kind.__module__}:{kind.__qualname__}"


def reason(error: Exception) -> str:
    """Say what Python or a library said, where it is text: what else an exception holds may be a value of the pickle."""
    written = next(base for base in type(error).__mro__ if "__str__" in vars(base)).__module__ == "builtins"
    plain = written and all(type(part) in arrays.PLAIN for part in error.args)
    return f"{type(error).__name__}: {error}" if plain else type(error).__name__


def _typed(*kinds: type) -> Callable[[arrays.Ready, Any], bool]:
    return lambda _, given: len(given) == len(kinds) and all(type(one) is kind for one, kind in zip(given, kinds, strict=True))


def _numbers(ready: arrays.Ready, given: Any) -> bool:
    return arrays.are(given, *arrays.NUMBERS)


def _class(*kinds: Pair) -> Callable[[arrays.Ready, Any], bool]:
    return lambda _, given: len(given) == 1 and arrays.name_of_class(given[0]) in kinds


def _bits(_: arrays.Ready, given: Any) -> bool:
    return len(given) == 1 and arrays.name_of(type(given[0])) in _BITS


def _tree(ready: arrays.Ready, given: Any) -> bool:
    return (
        len(given) == 3 and arrays.are(given[::2], int) and given[1] is not None and ready.numbers(given[1])
        and given[1].dtype.kind == "i" and given[1].shape == (given[2],)
    )  # fmt: skip


def _cython(name: Pair, state: type) -> Callable[[arrays.Ready, Any], bool]:
    def check(_: arrays.Ready, given: Any) -> bool:
        return (
            len(given) == 3
            and arrays.name_of_class(given[0]) == name
            and type(given[1]) is int
            and type(given[2]) is state
            and not given[2]
        )

    return check


def _random(_: arrays.Ready, value: Any, state: Any) -> bool:
    return (
        type(state) is tuple
        and len(state) == 3
        and type(state[0]) is int
        and state[0] == 3
        and arrays.are(state[1], int)
        and type(state[2]) in (float, type(None))
    )


def _partial(_: arrays.Ready, value: Any, state: Any) -> bool:
    return type(state) is tuple and len(state) == 4 and type(state[1]) is tuple and type(state[2]) is dict and state[3] is None


def _dict(_: arrays.Ready, value: Any, state: Any) -> bool:
    return type(state) is dict


def _deque(_: arrays.Ready, given: Any) -> bool:
    """Allow an empty one, with a length or none."""
    return given == () or (type(given[0]) is tuple and not given[0] and (len(given) == 1 or arrays.are(given[1:], int)))


def _vector(_: arrays.Ready, given: Any) -> bool:
    """Allow numbers: it asks each value for its ``__float__``."""
    kinds = [dict, type(None), type(None), bool]
    return [type(one) for one in given] == kinds and all(
        type(value) in arrays.NUMBERS or arrays.hashes(value) for value in given[0].values()
    )


def _arrays(ready: arrays.Ready, value: Any, state: Any) -> bool:
    """Allow numbers, text, and arrays that hold no objects."""
    values = state.values() if type(state) is dict else state if type(state) is tuple else [object()]
    return all(type(one) in arrays.PLAIN or ready.numbers(one) or arrays.name_of(type(one)) == _METRIC for one in values)


def _nodes(ready: arrays.Ready, value: Any, state: Any) -> bool:
    whole = (
        type(state) is dict and state.keys() == {"max_depth", "node_count", "nodes", "values"} and _arrays(ready, value, state)
    )
    if not whole or not arrays.are((state["max_depth"], state["node_count"]), int) or type(state["nodes"]) in arrays.PLAIN:
        return False
    return type(state["values"]) not in arrays.PLAIN and state["nodes"].shape == (state["node_count"],)


def _steps(ready: arrays.Ready, value: Any, state: Any) -> bool:
    """Allow an isotonic fit, whose interpolation is made anew."""
    knots = [state.get(name) for name in ("X_thresholds_", "y_thresholds_")] if type(state) is dict else [object()]
    return all(ready.numbers(one) for one in knots) and "_build_f" not in state and type(state.get("out_of_bounds")) is str


def _packed(*names: str) -> Callable[[arrays.Ready, Any, Any], bool]:
    def check(_: arrays.Ready, value: Any, state: Any) -> bool:
        pairs = [state.get(name) for name in names] if type(state) is dict else [None]
        return all(type(pair) is tuple and [type(part) for part in pair] == [str, bytes] for pair in pairs)

    return check


_METRIC = ("sklearn.metrics._dist_metrics", "EuclideanDistance64")
_BITS = {("numpy.random._mt19937", "MT19937"), ("numpy.random._pcg64", "PCG64")}
_LOSSES, _FORECAST = "sklearn._loss._loss", "river.time_series.holt_winters"
_MULTINOMIAL, _SEEDS = (_LOSSES, "CyHalfMultinomialLoss"), ("numpy.random.bit_generator", "SeedSequence")

_CALLS: dict[Pair, Callable[[arrays.Ready, Any], Any]] = {
    ("builtins", "getattr"): lambda _, given: len(given) == 2 and type(given[1]) is str,  # a method, by a list of its own
    ("builtins", "iter"): _typed(list),
    ("builtins", "range"): lambda _, given: arrays.are(given, int),
    ("builtins", "slice"): lambda _, given: arrays.are(given, int, type(None)),
    ("collections", "Counter"): _typed(dict),
    ("collections", "OrderedDict"): _typed(),
    ("collections", "defaultdict"): lambda _, given: len(given) == 1,  # it keeps the function, and calls nothing
    ("collections", "deque"): _deque,
    ("datetime", "date"): _typed(bytes),
    ("datetime", "datetime"): lambda _, given: arrays.are(given, bytes, datetime.timezone),
    ("datetime", "time"): lambda _, given: arrays.are(given, bytes, datetime.timezone),
    ("datetime", "timedelta"): lambda _, given: arrays.are(given, int),
    ("datetime", "timezone"): _typed(datetime.timedelta),
    ("functools", "partial"): lambda _, given: len(given) == 1,
    ("operator", "itemgetter"): lambda _, given: arrays.are(given, *arrays.PLAIN),
    ("random", "Random"): _typed(),
    ("millrace.state", "_generator"): _typed(),
    ("millrace.substitutes", "SortedSet"): lambda _, given: len(given) == 1 and arrays.are(given[0], *arrays.PLAIN),
    ("numpy", "dtype"): arrays.dtype,
    ("numpy._core.multiarray", "scalar"): arrays.scalar,
    ("numpy._core.multiarray", "_reconstruct"): arrays.empty(("numpy", "ndarray")),
    ("numpy._core.numeric", "_frombuffer"): arrays.array,
    ("numpy.ma.core", "_mareconstruct"): arrays.empty(("numpy.ma", "MaskedArray"), ("numpy", "ndarray")),
    ("numpy.random._pickle", "__bit_generator_ctor"): _class(*_BITS),
    ("numpy.random._pickle", "__generator_ctor"): _bits,
    ("numpy.random._pickle", "__randomstate_ctor"): _bits,
    (_SEEDS[0], "__pyx_unpickle_SeedSequence"): _cython(_SEEDS, type(None)),
    ("river._river_rust.vectordict", "VectorDict"): _vector,
    ("sklearn.metrics._dist_metrics", "newObj"): _class(_METRIC),
    ("sklearn.neighbors._kd_tree", "newObj"): _class(("sklearn.neighbors._kd_tree", "KDTree")),
    ("sklearn.tree._tree", "Tree"): _tree,
    (_LOSSES, "__pyx_unpickle_CyHalfMultinomialLoss"): _cython(_MULTINOMIAL, tuple),
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
_STATES: dict[Pair, Callable[[arrays.Ready, Any, Any], Any]] = {
    ("builtins", "list_iterator"): lambda _, value, state: type(state) is int,
    ("functools", "partial"): _partial,
    ("millrace.substitutes", "RandomTreesEmbedding"): _dict,
    ("millrace.window", "Column"): _packed("values"),
    ("millrace.window", "Window"): _packed("past", "times"),
    ("numpy", "dtype"): arrays.dtype_state,
    ("numpy", "ndarray"): arrays.array_state(5),
    ("numpy.ma", "MaskedArray"): arrays.array_state(7),
    ("numpy.ma.core", "MaskedArray"): arrays.array_state(7),
    ("numpy.random.bit_generator", "BitGenerator"): arrays.bits_state,
    ("numpy.random.mtrand", "RandomState"): arrays.bits_state,
    _SEEDS: arrays.seeds,
    ("random", "Random"): _random,
    **{("river.preprocessing.scale", name): _dict for name in ("MaxAbsScaler", "MinMaxScaler", "StandardScaler")},
    ("sklearn.base", "BaseEstimator"): _dict,
    ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"): _arrays,
    ("sklearn.isotonic", "IsotonicRegression"): _steps,
    ("sklearn.metrics._dist_metrics", "DistanceMetric64"): _arrays,
    ("sklearn.neighbors._kd_tree", "BinaryTree64"): _arrays,
    ("sklearn.tree._tree", "Tree"): _nodes,
    ("sklearn.utils._bunch", "Bunch"): _dict,
    ("statistics", "NormalDist"): lambda _, value, state: type(state) is tuple and len(state) == 2 and arrays.are(state, float),
}
