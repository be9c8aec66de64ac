"""What belongs to the definition of a function or class?

Of a library's, its name. Of somebody's own (one from a dataset's file, a script, or one without a name that
could be imported), what it does: its text, its defaults, what it closes over, and the own functions, own
classes and constants that it names.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

SCRIPTS = ("__main__", "__mp_main__")


def name(value: Any) -> str:
    """Name a function or class, as ``"module:qualified.name"``.

    Examples
    --------
    >>> import collections
    >>> name(collections.OrderedDict)
    'collections:OrderedDict'
    """
    return f"{value.__module__}:{value.__qualname__}"


def own(value: Any) -> bool:
    """Tell whether a function or class is somebody's own, so that its text counts.

    Examples
    --------
    >>> own(len), own(lambda: 1)
    (False, True)
    """
    module = value.__module__ or ""
    return module in SCRIPTS or module.startswith("millrace_datasets.") or "<" in value.__qualname__


def defined(value: Any) -> tuple[Any, ...]:
    """List what defines a function or class, as values that can be walked."""
    return name(value), *(_definition(value) if own(value) else ())


def _definition(value: Any) -> tuple[Any, ...]:
    if isinstance(value, type):
        functions = (getattr(part, "fget", getattr(part, "__func__", part)) for part in vars(value).values())
        return (
            _text(value),
            [part for part in functions if isinstance(part, types.FunctionType) and own(part)],
            [base for base in value.__bases__ if own(base)],
        )
    cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
    there = value.__globals__
    constants = [(word, there[word]) for word in named(value.__code__) if word in there and _tells(there[word])]
    return _text(value), value.__defaults__, value.__kwdefaults__, cells, constants


def _tells(value: object) -> bool:
    """Whether a global that a function names belongs to its definition."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_tells, value))
    return isinstance(value, (type(None), bool, int, float, str, bytes)) or (
        isinstance(value, (types.FunctionType, type)) and own(value)
    )


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def named(code: types.CodeType) -> list[str]:
    """List the names that a function uses, and the functions within it, in alphabetical order."""
    inner = (named(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return sorted(set(code.co_names).union(*inner))


def _text(value: Any) -> str:
    code = getattr(value, "__code__", None)
    try:
        text = inspect.getsource(value)
    except (OSError, TypeError):  # typed in by hand, or made by `exec`
        return _compiled(code) if code else ""
    return text + _compiled(code) if code and value.__name__ == "<lambda>" else text  # of a lambda it is the whole line


def _compiled(code: types.CodeType) -> str:
    parts = [_compiled(part) if isinstance(part, types.CodeType) else repr(part) for part in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {parts}"
