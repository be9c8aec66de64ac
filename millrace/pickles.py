"""What may a pickle name, before it is loaded?

Only what is on a list of exact pairs of module and name (``globals.txt``: what stands in the states of River's,
scikit-learn's and Millrace's own estimators); what a dataset's own file defines; and what the models that the loaded
datasets' files build hold of other libraries. A list by prefix would run code: from ``river.base.base`` a chain of attributes
leads through ``inspect`` to ``os``. So no name is followed from one attribute to the next.

A name that is allowed may still be called with anything, so this alone makes nobody's pickle harmless: that a state is the
one that was stored, its sha256 says, and what has none is loaded by `millrace.foreign`.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import sys
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any

from millrace.errors import MillraceError
from millrace.settings import settings

Pair = tuple[str, str]
"""A module, and the qualified name of a function or class that it defines."""

LIST = Path(__file__).with_name("globals.txt")
_OWN = ("millrace_datasets.", "millrace_idea_")
"""Modules that are somebody's files, loaded by path."""
_METHODS = (types.FunctionType, types.MethodDescriptorType, classmethod, staticmethod)
_DECLARED: set[Pair] = set()
_BUILT: set[tuple[str, str]] = set()
"""Datasets whose models were built to see what they hold, by name and text."""


class Refused(MillraceError):
    """A pickle names what is on no list, and is not loaded."""


def loads(data: bytes) -> Any:
    """Load a pickle that was made here, or is on record by its sha256, where it names only what is allowed.

    What somebody else may have written, :func:`millrace.foreign.loads` loads: names alone make nobody's pickle harmless.

    Raises
    ------
    Refused
        When it names anything else; nothing was called that is not allowed.
    MillraceError
        When it is no whole pickle, or one of other libraries than are installed here.

    Examples
    --------
    >>> loads(pickle.dumps({"a": 1.5}))
    {'a': 1.5}
    >>> loads(pickle.dumps(eval))
    Traceback (most recent call last):
    millrace.pickles.Refused: the pickle names builtins:eval, ...
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except (MillraceError, MemoryError):
        raise
    except Exception as error:
        raise MillraceError(f"the pickle cannot be loaded here: {type(error).__name__}: {error}") from error


def declare(data: bytes) -> Any:
    """Load a pickle that was made in this process, of a model as its definition builds it, and allow what it names.

    What is of the standard library must be on the list all the same: much of it hands out attributes.
    """
    reader = _Recorder(io.BytesIO(data))
    model = reader.load()
    _DECLARED.update(pair for pair in reader.named if pair[0].partition(".")[0] not in sys.stdlib_module_names)
    return model


def named(data: bytes) -> set[Pair]:
    """Return the pairs that a pickle names, which is loaded: only for one that was made in this process."""
    reader = _Recorder(io.BytesIO(data))
    reader.load()
    return reader.named


@functools.cache
def listed() -> frozenset[Pair]:
    """Return the list of exact pairs."""
    lines = (line.split() for line in LIST.read_text().splitlines() if not line.startswith("#"))
    return frozenset((module.rstrip(":"), name) for module, *names in lines for name in names)


class Names:
    """What an unpickler may find by name."""

    trust: Collection[str] = ()

    def find_class(self, module: str, name: str) -> Any:
        """Find what is on a list; the unpickler asks this for each name."""
        if (module, name) == ("builtins", "getattr"):  # how a method that is bound to an object is stored
            return self._method
        if not self._allowed(module, name):
            raise _refused(module, name)
        return super().find_class(module, name)  # type: ignore[misc]  # of the unpickler that it is mixed into

    def _allowed(self, module: str, name: str) -> bool:
        if (module, name) in listed() or (module, name) in _DECLARED:
            return True
        if module.startswith(_OWN):
            return "." not in name and own(module, name) is not None
        return self.trusted(module, name) or _held(module, name)

    def trusted(self, module: str, name: str) -> bool:
        """Tell whether somebody has said so."""
        said = f"{module}:{name}"
        return said in self.trust or said in settings().trusted

    def _method(self, value: Any, name: str) -> Any:
        """Bind a method of a class to one of its instances, or find it in the class: it is on the list by its whole name."""
        kind = value if issubclass(type(value), type) else type(value)
        owner = next((base for base in kind.__mro__ if name in vars(base)), kind)
        module, qualified = owner.__module__, f"{owner.__qualname__}.{name}"
        its = own(module, owner.__qualname__) is owner and not name.startswith("_")
        if not its and not self._allowed(module, qualified):
            raise _refused(module, qualified)
        found = vars(owner)[name]
        if not isinstance(found, _METHODS):
            raise _refused(module, qualified)
        return found.__get__(None, value) if value is kind else found.__get__(value, kind)


class _Reader(Names, pickle.Unpickler):
    pass


class _Recorder(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.named: set[Pair] = set()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return self._method
        self.named.add((module, name))
        return super().find_class(module, name)

    def _method(self, value: Any, name: str) -> Any:
        kind = value if isinstance(value, type) else type(value)
        owner = next((base for base in kind.__mro__ if name in vars(base)), kind)
        self.named.add((owner.__module__, f"{owner.__qualname__}.{name}"))
        return getattr(value, name)


def own(module: str, name: str) -> Any:
    """Return the function or class of this name that somebody's file defines; what it has imported is not its own."""
    if not module.startswith(_OWN):
        return None
    try:
        file = importlib.import_module(module) if module.startswith(_OWN[0]) else sys.modules.get(module)
    except ImportError:
        return None
    value = vars(file).get(name) if file else None
    return value if isinstance(value, (type, types.FunctionType)) and value.__module__ == module else None


def _held(module: str, name: str) -> bool:
    """Tell whether a model of a loaded dataset holds it, as its file builds it: each is built once for this."""
    from millrace import catalog, models

    for dataset in catalog.loaded():
        if (dataset.name, dataset.text) in _BUILT:
            continue
        _BUILT.add((dataset.name, dataset.text))
        for model in dataset.models:
            try:
                models.build(dataset, model)
            except MillraceError:  # it is told where the model is used
                continue
    return (module, name) in _DECLARED


def _refused(module: str, name: str) -> Refused:
    return Refused(
        f"the pickle names {module}:{name}, which is on no list of what the state of a model may name, and is not loaded; where "
        f"you know it, and trust whoever wrote the pickle, set MILLRACE_TRUST={module}:{name}"
    )
