"""Are two models the same?

They are when a canonical walk over their state (`millrace.canonical`) gives the same bytes. Pickles do not
tell: equal folds pickle to different bytes, since unused generators are seeded by the clock, strings are
shared here and not there, and a set is laid out by the hash seed.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
import random
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from millrace import collector, parts, pickles
from millrace.canonical import encode
from millrace.errors import MillraceError
from millrace.source import name

T = TypeVar("T")

PROTOCOL = 5
"""The pickle protocol of every artifact."""

_deep = threading.Lock()


def digest(model: object) -> str:
    """Digest a model's state: equal for models that answer equally for ever, to the last bit.

    Stable over processes, hash seeds and pickle round trips within one environment. A model that keeps
    something without a readable state (a lock, an open file, a generator) raises a `MillraceError` that names
    the path to it.

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Examples
    --------
    >>> digest({"weights": {0.1, 0.2}}) == digest({"weights": {0.2, 0.1}})
    True
    >>> digest([0.0]) == digest([-0.0])
    False
    """
    try:
        return hashlib.sha256(_deeply(encode, model)).hexdigest()
    except parts.Unwalkable:
        path, part = _locate(model)
        raise MillraceError(
            f"cannot tell the state of {path}, an instance of {name(type(part))}: it can be neither compared "
            "nor stored; make it when it is used, and keep in the model only what is learned"
        ) from None


def difference(a: object, b: object) -> str | None:
    """Find the first part in which two models differ.

    Returns
    -------
    str or None
        The path to it, such as ``"pipeline['LogisticRegression'].optimizer"``; None where they are the same.

    Examples
    --------
    >>> difference([1, {"w": 0.5}], [1, {"w": 0.25}])
    "model[1]['w']"
    """
    if digest(a) == digest(b):
        return None
    path, seen = _root(a), set()
    while id(a) not in seen:
        seen.add(id(a))
        left, right = parts.children(a), parts.children(b)
        if type(a) is not type(b) or [label for label, _ in left] != [label for label, _ in right]:
            break
        for (label, child), (_, other) in zip(left, right, strict=True):
            if digest(child) != digest(other):
                path, a, b = path + label, child, other
                break
    return path


def slim(model: object) -> bytes:
    """Pickle a model without what it needs neither to learn nor to predict.

    River's distributions each hold a generator (4 kB) that nothing but ``sample`` uses; where it is unseeded,
    all of one pickle share one, seeded. The model that `load` gives goes on exactly as this one would.

    Examples
    --------
    >>> load(slim({"a": 1}))
    {'a': 1}
    """
    return _deeply(_pickle, model)


def load(data: bytes) -> Any:
    """Load what `slim` has written here: its sha256 is on record, or it was made in this process.

    Raises
    ------
    MillraceError
        When it names what a state may not name (see :func:`millrace.pickles.loads`), or is broken.
    """
    with collector.paused():
        return pickles.loads(data)


class _Generator(random.Random):
    """Stands in a pickle for every generator that is left out of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _generator, ()


def _generator() -> random.Random:
    return random.Random(0)  # noqa: S311 – it stands for one that is never used


class _Pickler(pickle.Pickler):
    """Leaves generators out, and has attributes set one by one on loading.

    Pickle's own way fills an object's ``__dict__``, and that of an object whose attributes were once read or filled as a
    dict is searched ever after: a tree loaded so learns a fifth more slowly (Python 3.11 and 3.12).
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=PROTOCOL)
        self._generator = _Generator(0)
        self._distributions = parts.distributions()
        self._managed: dict[type, set[str] | None] = {}

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind not in self._managed:
            self._managed[kind] = parts.managed(kind) if parts.settable(value) else None
        managed = self._managed[kind]
        if managed is None or not managed.isdisjoint(value.__dict__):
            return NotImplemented
        attributes = value.__dict__
        if kind in self._distributions and attributes.get("seed") is None:
            attributes = {**attributes, "_rng": self._generator}
        return copyreg.__newobj__, (kind,), (None, attributes)  # type: ignore[attr-defined]


def _pickle(model: object) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(model)
    return stream.getvalue()


def _deeply(function: Callable[[Any], T], value: object) -> T:
    """Call a recursive function; where a model is too deep for the stack, again in a thread with more."""
    try:
        return function(value)
    except RecursionError:
        pass
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function(value))
        except BaseException as error:  # noqa: BLE001 – handed over to the thread that asked
            failure.append(error)

    with _deep:  # the limit and the stack's size belong to the whole process
        limit, size = sys.getrecursionlimit(), threading.stack_size(512 * 2**20)
        sys.setrecursionlimit(max(limit, 100_000))
        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)
    if failure:
        if isinstance(failure[0], RecursionError):
            raise MillraceError("the model is nested more than 20,000 levels deep; limit its depth") from None
        raise failure[0]
    return result[0]


def _root(model: object) -> str:
    return "pipeline" if type(model).__name__ == "Pipeline" else "model"


def _locate(model: object) -> tuple[str, object]:
    """Find the innermost part that cannot be walked, and the path to it."""
    path, part, seen = _root(model), model, set[int]()
    while id(part) not in seen:
        seen.add(id(part))
        for label, child in parts.children(part):
            try:
                _deeply(encode, child)
            except parts.Unwalkable:
                path, part = path + label, child
                break
    return path, part
