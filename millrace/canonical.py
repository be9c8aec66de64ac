"""How is any value written so that equal states give equal bytes?

=========================  ===================================================================================
floats, arrays             by their bits: ``0.0`` is not ``-0.0``, and a NaN is equal to itself
dictionaries, counters     in their order: sums over them depend on it to the last bit, and so do ties
attributes, sets           sorted: their order is nobody's business (models that use it: `millrace.exact`)
blank ``defaultdict``      left out, where equal to what the factory makes: asking leaves such entries behind
entries
shared values              as if they were not shared; only a way back to an ancestor is written as such
functions, classes         by name, and somebody's own by what defines them (`millrace.source`)
caches                     left out (``Pipeline._plan`` …): they are made again from the rest
unseeded generators of     left out: River's models sample from seeded distributions only
``river.proba``
=========================  ===================================================================================
"""

from __future__ import annotations

import collections
import copy
import enum
import functools
import hashlib
import operator
import random
import struct
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from millrace import parts
from millrace.source import defined

_FLOAT = struct.Struct("<cd").pack
_INT = struct.Struct("<cq").pack
_LONG = 256  # bytes: what is longer is replaced by its hash, so that memory stays small and sharing is cheap


def encode(value: object) -> bytes:
    """Write a value canonically. Raises `Unwalkable` where a part has no readable state."""
    walk = _Walk()
    walk.value(value)
    return bytes(walk.buffer)


class _Handlers(dict[Any, "_Writer"]):
    """How each class is written; looked up once a class."""

    def __missing__(self, kind: type) -> _Writer:
        handler = self[kind] = _handler(kind)
        return handler


class _Walk:
    """One walk. Each value is written as a tag, a size where it is needed, and its parts."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.depth = 0
        self.seen: dict[int, int | bytes] = {}  # by id: the depth of what is open, the bytes of what is done
        self.kept: list[object] = []
        self.strings: dict[str, bytes] = {}
        self.handlers = _Handlers(_HANDLERS)

    def value(self, value: Any) -> None:
        self.handlers[type(value)](self, value)

    def made(self, *values: Any) -> None:
        """Write what was made on the way, and keep it, lest its remembered id is given to another."""
        self.kept.append(values)
        self.values(values)

    def values(self, values: Any) -> None:
        handlers = self.handlers
        for value in values:
            kind = type(value)
            if kind is float:  # most of any model
                self.buffer += _FLOAT(b"f", value)
            else:
                handlers[kind](self, value)

    def taken(self, value: Any) -> bytes:
        """Write a value and take it back."""
        start = len(self.buffer)
        self.value(value)
        taken = bytes(self.buffer[start:])
        del self.buffer[start:]
        return taken

    def opened(self, value: object) -> bool:
        """Begin what may lead back to itself; False where it was written from memory."""
        key = id(value)
        known = self.seen.get(key)
        if known is None:
            self.seen[key] = self.depth
            self.depth += 1
            return True
        self.buffer += known if isinstance(known, bytes) else _INT(b"^", self.depth - known)
        return False

    def closed(self, value: object, start: int) -> None:
        self.depth -= 1
        written = bytes(self.buffer[start:])
        if len(written) > _LONG:
            written = b"#" + hashlib.sha256(written).digest()
            self.buffer[start:] = written
        self.seen[id(value)] = written


_Writer = Callable[[_Walk, Any], None]


def _whole(write: _Writer) -> _Writer:
    """Make the writing of what may lead back to itself, or be met again, of the writing of its parts."""

    def whole(walk: _Walk, value: Any) -> None:
        start = len(walk.buffer)
        if walk.opened(value):
            write(walk, value)
            walk.closed(value, start)

    return whole


def _int(walk: _Walk, value: int) -> None:
    try:
        walk.buffer += _INT(b"i", value)
    except struct.error:
        _bytes(walk, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), b"I")


def _bytes(walk: _Walk, value: bytes | bytearray, tag: bytes = b"b") -> None:
    walk.buffer += _INT(tag, len(value)) + value


def _str(walk: _Walk, value: str) -> None:
    written = walk.strings.get(value)
    if written is None:
        text = value.encode("utf-8", "surrogatepass")
        written = walk.strings[value] = _INT(b"s", len(text)) + text
    walk.buffer += written


@_whole
def _sequence(walk: _Walk, value: Any) -> None:
    walk.buffer += _INT(_SEQUENCES[type(value)], len(value))
    if type(value) is collections.deque:
        walk.value(value.maxlen)
    walk.values(value)


@_whole
def _dict(walk: _Walk, value: dict[Any, Any]) -> None:
    walk.buffer += _INT(_DICTS[type(value)], len(value))
    handlers = walk.handlers
    for key, child in value.items():
        handlers[type(key)](walk, key)
        if type(child) is float:
            walk.buffer += _FLOAT(b"f", child)
        else:
            handlers[type(child)](walk, child)


@_whole
def _defaultdict(walk: _Walk, value: collections.defaultdict[Any, Any]) -> None:
    walk.buffer += b"D"
    walk.value(value.default_factory)
    blank = _blank(walk, value.default_factory) if value else None
    for key, child in value.items():
        before = len(walk.buffer)
        walk.value(key)
        middle = len(walk.buffer)
        walk.value(child)
        if blank is not None and walk.buffer.endswith(blank) and len(walk.buffer) == middle + len(blank):
            del walk.buffer[before:]
    walk.buffer += b"."


def _blank(walk: _Walk, factory: Any) -> bytes | None:
    """Write what a factory makes, if calling it changes nothing: others may draw from a generator."""
    if isinstance(factory, functools.partial) and factory.func is copy.deepcopy:
        return walk.taken(factory.args[0])
    if not isinstance(getattr(factory, "func", factory), type):
        return None
    made = factory()
    walk.kept.append(made)
    return walk.taken(made)


def _set(walk: _Walk, value: Any) -> None:
    kind = type(value)
    walk.buffer += _INT(b"S" if kind is set else b"F", len(value)) if kind in (set, frozenset) else b"T"
    if kind not in (set, frozenset):
        walk.value(kind)
        walk.value(getattr(value, "__dict__", None))
    for part in sorted(map(walk.taken, value)):
        walk.buffer += part
    walk.buffer += b"."


def _by(take: Callable[[Any], tuple[Any, ...]], tag: bytes) -> _Writer:
    """Make the writing of what is told by some values that are taken from it."""

    @_whole
    def write(walk: _Walk, value: Any) -> None:
        walk.buffer += tag
        walk.made(*take(value))

    return write


def _object(kind: Any) -> _Writer:
    """Make the writing of plain instances of a class: the names of attributes are sorted once."""
    distribution = kind in parts.distributions()
    layouts: dict[tuple[Any, ...], tuple[bytes, Callable[[Any], tuple[Any, ...]]]] = {}

    @_whole
    def write(walk: _Walk, value: Any) -> None:
        state = value.__dict__
        unseeded = distribution and state.get("seed") is None
        layout = layouts.get((unseeded, *state))
        if layout is None:
            names = sorted(state.keys() - parts.left_out(kind, unseeded))
            head = b"o" + walk.taken(kind) + repr(names).encode("utf-8", "surrogatepass")
            getter: Any = operator.itemgetter(*names) if len(names) > 1 else lambda s: tuple(s[n] for n in names)
            layout = layouts[(unseeded, *state)] = head, getter
        walk.buffer += layout[0]
        walk.values(layout[1](state))

    return write


_SEQUENCES: dict[Any, bytes] = {list: b"l", tuple: b"t", collections.deque: b"q"}
_DICTS: dict[Any, bytes] = {dict: b"d", collections.OrderedDict: b"e", collections.Counter: b"C"}
_HANDLERS: dict[Any, _Writer] = {
    type(None): lambda walk, value: walk.buffer.extend(b"N"),
    bool: lambda walk, value: walk.buffer.extend(b"1" if value else b"0"),
    int: _int,
    float: lambda walk, value: walk.buffer.extend(_FLOAT(b"f", value)),
    str: _str,
    bytes: _bytes,
    **dict.fromkeys(_SEQUENCES, _sequence),
    **dict.fromkeys(_DICTS, _dict),
    collections.defaultdict: _defaultdict,
    functools.partial: _by(lambda value: (value.func, value.args, value.keywords), b"p"),
    types.FunctionType: _by(defined, b"u"),
    types.BuiltinFunctionType: _by(parts.builtin, b"B"),
    types.MethodType: _by(lambda value: (value.__func__, value.__self__), b"m"),
    types.ModuleType: _by(lambda value: (value.__name__,), b"M"),
    weakref.ref: _by(lambda value: (value(),), b"w"),
}


def _handler(kind: type) -> _Writer:
    """Choose how instances of a class are written."""
    if issubclass(kind, type):
        return _by(defined, b"c")
    if issubclass(kind, enum.Enum):
        return _by(lambda value: (kind, value.name), b"n")
    if issubclass(kind, random.Random):
        return _by(parts.generator, b"R")
    if issubclass(kind, (set, frozenset)):
        return _set
    if numpy := sys.modules.get("numpy"):
        if kind is numpy.ndarray:
            return _by(parts.array_of, b"a")
        if issubclass(kind, numpy.generic):
            return _by(lambda value: (str(value.dtype), value.tobytes()), b"g")
        if issubclass(kind, numpy.random.RandomState):  # its pickle holds the clock's seed beside the given one
            return _by(lambda value: (kind, value.get_state(legacy=False)), b"G")
        if issubclass(kind, numpy.random.BitGenerator):
            return _by(lambda value: (kind, value.state), b"G")
    return _object(kind) if parts.plain(kind) else _by(parts.reduced, b"r")
