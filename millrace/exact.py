"""How is a model built so that it is exact?

Exact: one fold, whatever the process, its hash seed, and the places where it was pickled and loaded again.
So a model is built twice, to see that nothing in it is drawn from an unseeded generator; the classes of River
that are not exact give way to those of `millrace.substitutes`; and it is stored and loaded once.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable
from typing import Any

from millrace import pickles, state, substitute_arguments, substitute_draws, substitute_trees  # noqa: F401  (substitutes)
from millrace.errors import MillraceError
from millrace.inexact import doubts as doubts
from millrace.inexact import walk
from millrace.substitutes import exact as exact


def build(function: Callable[[], Any], name: str, weighted: bool = False, what: str = "model") -> Any:
    """Build a fresh model, and make it exact.

    Parameters
    ----------
    function
        Builds the model: see `check_function`.
    name
        The model's name, for messages.
    weighted
        Whether examples have weights, so that each part that takes one is given it.
    what
        What is built, for messages: a model, or a part of memory.

    Returns
    -------
    river.base.Estimator
        The model at ``seq`` 0.

    Raises
    ------
    MillraceError
        Where two builds differ (an unseeded random generator), where they are one and the same object, or
        where the model does not survive being stored.
    """
    check_function(function, what)
    model, again = _built(function, name, what), _built(function, name, what)
    if model is again:
        raise MillraceError(
            f"{what} {name!r} is the same object each time: {function.__name__}() must build a fresh one, "
            "or what one learns shows in the others"
        )
    path = state.difference(model, again)
    if path is not None:
        unseeded = [part for way, part, _ in walk(model) if path.startswith(way) and getattr(part, "seed", 0) is None]
        raise MillraceError(
            f"{what} {name!r} is built differently each time: an unseeded random generator in {path}; give it a seed"
            + (f": {type(unseeded[0]).__name__}(…, seed=1)" if unseeded else "")
        )
    model = substitute_arguments.pass_on(exact(model), weighted)
    try:
        loaded = pickles.declare(state.slim(model))
    except MillraceError:
        raise
    except Exception as error:
        raise MillraceError(
            f"{what} {name!r} cannot be stored: {error}. Functions in a {what} are defined at the top level of "
            "the dataset's file, not as lambdas or inside other functions"
        ) from error
    path = state.difference(model, loaded)
    if path is not None:
        raise MillraceError(f"{what} {name!r} is not the same after it was stored and loaded: {path} differs")
    return model


def _built(function: Callable[[], Any], name: str, what: str) -> Any:
    try:
        model = function()
    except Exception as error:
        raise MillraceError(
            f"{what} {name!r} cannot be built: {function.__name__}() raised {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(model, "learn_one", None)):
        raise MillraceError(f"{what} {name!r} is no {what}: {function.__name__}() gave {model!r}, which has no `learn_one`")
    return model


def check_function(function: object, what: str = "model") -> None:
    """Check that a model, or what else, can be built again anywhere by calling a function by its name, without arguments.

    Raises a `MillraceError` for a lambda, a function within another, a class, an instance, and a function
    with arguments.
    """
    if not isinstance(function, types.FunctionType):
        raise MillraceError(
            f"a {what} is given by a function that builds it; {function!r} is none: write "
            "`def name(): return …` at the top level of the dataset's file"
        )
    if not function.__qualname__.isidentifier():  # a lambda, a method, a function within another
        raise MillraceError(
            f"the function {function.__qualname__}, which builds a {what}, cannot be found by its name: write "
            "`def name(): return …` at the top level of the dataset's file"
        )
    arguments = list(inspect.signature(function).parameters)
    if arguments:
        raise MillraceError(
            f"the function {function.__name__} takes arguments ({', '.join(arguments)}); one that builds a "
            f"{what} takes none: write one function a variant"
        )


def fingerprint(model: Any, source: str | None) -> str:
    """Fingerprint a model's definition: the state of the fresh model, and the text that it was built by.

    Returns
    -------
    str
        SHA-256 in hexadecimal, the same in every process.
    """
    text = [state.digest(model), "" if source is None else hashlib.sha256(source.encode()).hexdigest()]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()
