"""Which arrays may a foreign pickle make, and of which memory?

Those of a type that NumPy itself describes so, filled with bytes of their own, or with a list of objects: no type with fields
beyond its items, or with pointers among numbers; no array that takes another's memory; no generator whose place is beyond its
words.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable
from typing import Any

from millrace.pickles import Pair

NUMBERS = (bool, int, float)
PLAIN = (*NUMBERS, str, bytes, type(None))
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
        return value is None or (name_of(type(value)) == ("numpy", "ndarray") and not value.dtype.hasobject)


def hashes(key: Any) -> bool:
    """Tell whether a key that is no plain one is hashed by compiled code alone."""
    kind = type(key)
    if kind in (datetime.datetime, datetime.time):
        return type(key.tzinfo) in (datetime.timezone, type(None))
    return kind in (datetime.date, datetime.timedelta, datetime.timezone) or (
        kind.__module__ == "numpy" and hasattr(key, "dtype") and key.dtype.kind in "biufcSU" and key.shape == ()
    )


def are(values: Any, *kinds: type) -> bool:
    """Tell whether all are exactly of one of these kinds."""
    return type(values) in (tuple, list) and all(type(value) in kinds for value in values)


def name_of(kind: type) -> Pair:
    """Return the pair by which a class is found."""
    return kind.__module__, kind.__qualname__


def name_of_class(value: Any) -> Pair | None:
    """Return the pair by which a value is found that is a class; None of any other."""
    return name_of(value) if issubclass(type(value), type) else None


def dtype(ready: Ready, given: Any) -> bool:
    """Allow the description of a type."""
    copied = len(given) == 3 and given[1] is False and given[2] is True
    return copied and type(given[0]) is str and _DTYPE.fullmatch(given[0]) is not None


def scalar(ready: Ready, given: Any) -> bool:
    """Allow a value of a type without objects."""
    return len(given) == 2 and ready.dtype(given[0]) and not given[0].hasobject and type(given[1]) is bytes


def array(ready: Ready, given: Any) -> bool:
    """Allow bytes for an array without objects."""
    if len(given) not in (4, 5) or type(given[0]) not in (bytes, bytearray) or not ready.dtype(given[1]) or given[1].hasobject:
        return False
    return are(given[2], int) and type(given[3]) is str and all(axes is None or are(axes, int) for axes in given[4:])


def empty(*kinds: Pair) -> Callable[[Ready, Any], bool]:
    """Make an array of no elements, which its state fills."""

    def check(_: Ready, given: Any) -> bool:
        classes, rest = given[: len(kinds)], given[len(kinds) :]
        named = [name_of_class(one) for one in classes] == list(kinds)
        typed = named and len(rest) == 2 and type(rest[0]) is tuple and are(rest[0], int) and are(rest[1:], bytes, str)
        return typed and rest[0] == (0,) and rest[1] in (b"b", "b")

    return check


def dtype_state(ready: Ready, value: Any, state: Any) -> bool:
    """Allow the state that NumPy itself gives to a type of this description."""
    import numpy as np

    if type(state) is not tuple or len(state) != 8 or not are((state[0], *state[5:]), int) or type(state[1]) is not str:
        return False
    if state[0] != 3 or state[2] is not None:
        return False
    if state[3] is None and state[4] is None:
        whole = [value, *([value.newbyteorder(state[1])] if state[1] in ("<", ">", "|", "=") else [])]
    else:
        names, fields = state[3:5]
        if not are(names, str) or type(fields) is not dict or not are(list(fields), str) or list(fields) != list(names):
            return False
        if not all(type(field) is tuple and len(field) == 2 and are(field[1:], int) for field in fields.values()):
            return False
        if any(not ready.dtype(kind) or kind.hasobject or kind.names for kind, _ in fields.values()):  # one may yet grow
            return False
        parts = {"names": list(names), "formats": [kind for kind, _ in fields.values()]}
        layout: Any = {**parts, "offsets": [place for _, place in fields.values()], "itemsize": state[5]}
        whole = [np.dtype(layout)]
        with contextlib.suppress(ValueError):  # it is not laid out as C would
            whole.append(np.dtype(layout, align=True))
    return any(one.__reduce__()[2] == state for one in whole)


def array_state(length: int) -> Callable[[Ready, Any, Any], bool]:
    """Allow an array's shape and content, where it is empty as yet."""
    return lambda ready, value, state: type(state) is tuple and len(state) == length and _content(ready, value, state)


def _content(ready: Ready, value: Any, state: Any) -> bool:
    if value.shape != (0,) or (len(state) == 5 and value.base is not None):
        return False
    version, shape, dtype, order, content, *masked = state
    if not are((version, order), int, bool) or not are(shape, int) or not ready.dtype(dtype):
        return False
    if masked and (dtype.hasobject or dtype.names or type(masked[0]) is not bytes or masked[1] is not None):
        return False
    return type(content) is (list if dtype.hasobject else bytes) and min(shape, default=0) >= 0


def bits_state(ready: Ready, _: Any, state: Any) -> bool:
    """Allow what a generator's own state has; a place beyond its 624 words would be read."""
    if type(state) is tuple:
        if len(state) != 2 or name_of(type(state[1])) not in (
            ("numpy.random.bit_generator", "SeedSequence"),
            ("builtins", "NoneType"),
        ):
            return False
        state = state[0]
    if type(state) is not dict or type(state.get("state")) is not dict or not are([*state, *state["state"]], str):
        return False
    inner, key = state["state"], state["state"].get("key")
    if key is not None and (not ready.numbers(key) or key.dtype != "uint32" or key.shape != (624,)):
        return False
    plain = [*(part for name, part in state.items() if name != "state"), *(part for name, part in inner.items() if name != "key")]
    return are(plain, *PLAIN) and type(inner.get("pos", 0)) is int and 0 <= inner.get("pos", 0) <= 624


def seeds(ready: Ready, _: Any, state: Any) -> bool:
    """Allow the state of what seeds a generator."""
    if type(state) is not tuple or len(state) != 5 or not ready.numbers(state[2]) or state[2] is None:
        return False
    entropy = type(state[0]) is int or hashes(state[0])
    return (
        entropy and are(state[1:4:2], int) and state[2].dtype == "uint32" and state[2].shape == (state[3],) and are(state[4], int)
    )
