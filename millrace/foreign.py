"""How is a pickle loaded that somebody else may have written?

By an unpickler in Python, four to forty times slower than `millrace.pickles.loads`, that sees each value before it acts:

* it calls only what `millrace.calls` allows, with the arguments allowed there;
* it makes instances of the classes that a state may name without running their ``__init__``, and sets attributes on instances
  alone, each once, past no property, and none that Python itself or NumPy asks for (``__class__``, ``__array_interface__``);
* it fills lists, deques, dicts and sets, and hashes only what hashes without code of its own;
* a refusal names what it refuses by its type: the text of a value is made by a method, which would call what the value holds.

So to load runs no function of the writer's choice. What a model does when it is asked, its classes do with the writer's values.
"""

from __future__ import annotations

import collections
import io
import pickle
import types
from collections.abc import Collection
from typing import Any, ClassVar

from millrace import calls, collector, foreign_arrays, pickles
from millrace.errors import MillraceError

_HASHED = (str, int, float, bool, complex, bytes, type(None))
_COMPARED = (
    *("__getattr__", "__getattribute__", "__len__", "__getitem__", "__iter__", "__bool__"),
    *("__array__", "__array_interface__", "__array_struct__", "__array_priority__", "__array_ufunc__"),
    *("__int__", "__float__", "__complex__", "__index__"),
)
"""What NumPy asks of a key with the hash of one of its own numbers."""
_OTHERS = (
    *(pickle.INST, pickle.OBJ, pickle.DICT, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
_Unpickler: Any = pickle._Unpickler


def loads(data: bytes, trust: Collection[str] = ()) -> Any:
    """Load a pickle that names, calls and sets only what is allowed.

    Parameters
    ----------
    trust
        Further pairs, as ``"module:name"``, that it may name and call, beside those of the setting ``MILLRACE_TRUST``.

    Raises
    ------
    Refused
        When it does anything else; nothing was called that is not allowed.
    MillraceError
        When it is no whole pickle, or one of other libraries than are installed here.

    Examples
    --------
    >>> loads(pickle.dumps({"a": collections.Counter("ab")}))
    {'a': Counter({'a': 1, 'b': 1})}
    >>> loads(pickle.dumps(print))
    Traceback (most recent call last):
    millrace.pickles.Refused: the pickle names builtins:print, ...
    """
    reader = _Reader(io.BytesIO(data), fix_imports=False)
    reader.trust = trust
    try:
        with collector.paused():
            return reader.load()
    except MillraceError as error:
        refusal = error.with_traceback(None)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - what is raised of a pickle, Python and the libraries decide
        refusal = MillraceError(f"the pickle cannot be loaded here: {calls.reason(error)}")
    raise refusal  # by itself: who shows a cause or a traceback may ask the values of the pickle that they hold for their text


class _Reader(pickles.Names, _Unpickler):  # type: ignore[misc]
    """Acts on the stack of values as the standard library's does, after a look at what is on it."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._named: dict[int, tuple[Any, pickles.Pair]] = {}
        """What was found by name, by identity."""
        self._fresh: dict[int, Any] = {}
        """What was made and not yet given its attributes, by identity."""
        self._ready = foreign_arrays.Ready()

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        self._named[id(found)] = found, (module, name)
        return found

    def _reduce(self) -> None:
        arguments: Any = self.stack.pop()
        function: Any = self.stack[-1]
        pair = self._named[id(function)][1] if id(function) in self._named else None
        if pair is None:
            raise calls.refused(calls.said(function), arguments)
        if type(arguments) is not tuple or not (calls.allows(pair, arguments, self._ready) or self.trusted(*pair)):
            raise calls.refused(":".join(pair), arguments)
        if pair == ("builtins", "getattr"):  # a method, which is not new
            self.stack[-1] = function(*arguments)
        else:
            self._made(function(*arguments))

    def _new(self) -> None:
        arguments: Any = self.stack.pop()
        kind: Any = self.stack[-1]
        if id(kind) not in self._named or not issubclass(type(kind), type) or type(arguments) is not tuple:
            raise calls.refused(calls.said(kind), arguments)
        owner = _owner(kind, "__new__")
        if not calls.creates(owner, arguments) and not self._theirs(owner):
            raise calls.refused(f"{calls.said(owner)}.__new__", arguments)
        self._made(kind.__new__(kind, *arguments))

    def _made(self, value: Any) -> None:
        self.stack[-1] = value
        self._fresh[id(value)] = value

    def _build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if self._fresh.pop(id(value), None) is not value or issubclass(type(value), type):
            raise pickles.Refused(
                f"the pickle sets attributes of {calls.said(value)}, which it has not just made; it is not loaded"
            )
        kind = type(value)
        owner = _owner(kind, "__setstate__")
        plain, slotted = state if type(state) is tuple and len(state) == 2 else (state, None)
        _check_names(kind, plain)
        if owner is not None:
            if not calls.restores(owner, value, state, self._ready) and not self._theirs(owner):
                raise calls.refused(f"{calls.said(owner)}.__setstate__", (state,))
            value.__setstate__(state)
            self._ready.add(value)
            return
        _check_names(kind, slotted, plain=False)
        if any(type(part) not in (dict, type(None)) for part in (plain, slotted)) or _owner(kind, "__setattr__") is not object:
            raise pickles.Refused(f"the pickle sets the attributes of {calls.said(kind)} in a way of its own; it is not loaded")
        if plain:
            object.__getattribute__(value, "__dict__").update(plain)
        for name, attribute in (slotted or {}).items():
            object.__setattr__(value, name, attribute)

    def _theirs(self, owner: Any) -> bool:
        """Tell whether a class is a dataset's file's own, or somebody has said to trust it."""
        pair = (owner.__module__, owner.__qualname__)
        return self.trusted(*pair) or pickles.own(*pair) is owner

    def _fill_list(self) -> None:
        items = self.pop_mark()
        self._append(items)

    def _fill_list_by_one(self) -> None:
        item = self.stack.pop()
        self._append([item])

    def _append(self, items: list[Any]) -> None:
        filled = self.stack[-1]
        owner = _owner(type(filled), "extend"), _owner(type(filled), "append")
        if owner not in {(list, list), (collections.deque, collections.deque)}:
            raise _filled(filled)
        filled.extend(items)

    def _fill_dict(self) -> None:
        items = self.pop_mark()
        self._set(items)

    def _fill_dict_by_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _set(self, items: list[Any]) -> None:
        filled = self.stack[-1]
        if _owner(type(filled), "__setitem__") not in (dict, collections.OrderedDict):
            raise _filled(filled)
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_hash(key)
            filled[key] = value

    def _fill_set(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise _filled(self.stack[-1])
        for item in items:
            _check_hash(item)
        self.stack[-1].update(items)

    def _frozen(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_hash(item)
        self.append(frozenset(items))

    def _old(self) -> None:
        raise pickles.Refused("the pickle has an instruction that no state of a model has; it is not loaded")

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new,
        pickle.BUILD[0]: _build,
        pickle.APPENDS[0]: _fill_list,
        pickle.APPEND[0]: _fill_list_by_one,
        pickle.SETITEMS[0]: _fill_dict,
        pickle.SETITEM[0]: _fill_dict_by_one,
        pickle.ADDITEMS[0]: _fill_set,
        pickle.FROZENSET[0]: _frozen,
    }
    dispatch |= dict.fromkeys((code[0] for code in _OTHERS), _old)


def _owner(kind: type, name: str) -> Any:
    """Return the class that defines an attribute of a class; None where none does."""
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def _check_names(kind: type, attributes: Any, plain: bool = True) -> None:
    for name in attributes if type(attributes) is dict else ():
        if type(name) is not str or name.startswith("__"):
            what = repr(name) if type(name) is str else f"of a name that is {calls.said(name)}"
            raise pickles.Refused(
                f"the pickle sets the attribute {what} of {calls.said(kind)}, which no state has; it is not loaded"
            )
        if name == "_sklearn_version" and type(attributes[name]) is not str:  # scikit-learn writes it into a warning
            version = calls.said(attributes[name])
            raise pickles.Refused(
                f"the pickle gives {calls.said(kind)} a version that is {version}, and no text; it is not loaded"
            )
        owner = None if plain else _owner(kind, name)
        if (
            owner
            and hasattr(type(vars(owner)[name]), "__set__")
            and not isinstance(vars(owner)[name], types.MemberDescriptorType)
        ):
            raise pickles.Refused(f"the pickle sets {calls.said(kind)}.{name}, which is no plain attribute; it is not loaded")


def _check_hash(key: Any) -> None:
    """Check that a key is hashed and compared by Python alone."""
    kind = type(key)
    if kind in (tuple, frozenset):
        for part in key:
            _check_hash(part)
    elif kind not in _HASHED and not foreign_arrays.hashes(key):
        own = {_owner(kind, name) for name in ("__hash__", "__eq__", *_COMPARED)} - {object, type, None}
        if own:
            raise pickles.Refused(
                f"the pickle has {calls.said(kind)} for a key, which hashes or is compared by code of its own; it is not loaded"
            )


def _filled(value: Any) -> pickles.Refused:
    return pickles.Refused(f"the pickle fills {calls.said(type(value))}, which is no list, deque, dict or set; it is not loaded")
