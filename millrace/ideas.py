"""How is a model found that is only an idea: a function of some file, not of the dataset's?

    ideas.py:deeper_tree     the function ``deeper_tree`` of the file ``ideas.py``

The file may use what the dataset's file defines: ``from millrace_datasets.flights import late_lately``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from millrace import exact, models, source
from millrace.dataset import Dataset
from millrace.errors import UsageError, unknown

if TYPE_CHECKING:
    from river.base import Estimator

_ORIGINS: dict[str, tuple[Path, bytes]] = {}
"""Which file, with which text, each module in this process is."""
Model = str | Callable[[], Any]
"""A model of the dataset by its name, a function of a file (``ideas.py:deeper_tree``), or the function itself."""


def lineup(dataset: Dataset, chosen: Sequence[Model], against: str) -> list[Model]:
    """Return the models to compare: those that were chosen, all of the dataset's by default, and the one to compare with.

    Raises
    ------
    UsageError
        When there is none of this name, or two are called alike.
    """
    found: list[Model] = list(chosen or dataset.racing)
    for model in found:
        if not isinstance(model, str):
            exact.check_function(model)
    if name(against) not in map(name, found):
        found.insert(0, against)
    for model in found:
        if isinstance(model, str) and ":" not in model and model not in dataset.racing:
            raise UsageError(f"{unknown('model', model, dataset.racing)}; an idea is written as file.py:function")
    names = list(map(name, found))
    if twice := {one for one in names if names.count(one) > 1}:
        raise UsageError(f"two of the models are called {min(twice)!r}; give the function another name")
    return found


def name(model: Model) -> str:
    """Return what a model is called: an idea by its function."""
    return model.__name__ if callable(model) else model.rpartition(":")[2]


def build(dataset: Dataset, model: Model) -> Estimator:
    """Build a model of the dataset or an idea, fresh and exact.

    Raises
    ------
    UsageError
        When there is no such model, file or function.
    MillraceError
        When it cannot be built or stored, or is another each time.
    """
    if isinstance(model, str) and ":" not in model:
        return models.build(dataset, model)
    estimator: Estimator = exact.build(_function(model), name(model))
    return estimator


def _function(idea: Model) -> Callable[[], Any]:
    return idea if callable(idea) else load(idea)


def load(idea: str) -> Callable[[], Any]:
    """Load the function that ``file.py:function`` names.

    Raises
    ------
    UsageError
        When there is no such file or function, or the file raises.
    """
    text, _, name = idea.partition(":")
    path = Path(text)
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"there is no file {text} with an idea in it (asked for: {idea}); an idea is a function of a .py file")
    full = f"millrace_idea_{path.stem}"
    origin = (path.resolve(), path.read_bytes())
    loaded = sys.modules.get(full)
    if loaded is None or _ORIGINS.get(full) != origin:
        spec = importlib.util.spec_from_file_location(full, path.resolve())
        assert spec is not None and spec.loader is not None
        sys.modules[full] = loaded = importlib.util.module_from_spec(spec)
        _ORIGINS[full] = origin
        try:
            spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[full]
            raise UsageError(f"{text} cannot be loaded: {type(error).__name__}: {error}") from error
    there = [key for key, value in vars(loaded).items() if isinstance(value, FunctionType) and value.__module__ == full]
    if name not in there:
        raise UsageError(f"{text}: {unknown('function', name, there)}; write {text}:{(there or ['name'])[0]}")
    found: Callable[[], Any] = getattr(loaded, name)
    return found


def lines(idea: Model) -> str | None:
    """Return what to add to a dataset's file, to hand an idea on: imports, what it names, and the entry among its models.

    None where its text is nowhere, as that of a function typed in by hand.
    """
    build = _function(idea)
    try:
        body = ast.parse(inspect.getsource(sys.modules[build.__module__])).body
        parts = [inspect.getsource(one).rstrip() for one in _own(build)]
    except (OSError, TypeError, KeyError):
        return None
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = [line for line in imports if "__future__" not in line and "millrace_datasets" not in line]
    named = {name for one in _own(build) if isinstance(one, FunctionType) for name in source.named(one.__code__)}
    constants = [
        ast.unparse(node)
        for node in body
        if isinstance(node, ast.Assign) and named & {target.id for target in node.targets if isinstance(target, ast.Name)}
    ]
    head = ["\n".join(part) for part in (imports, constants) if part]
    return "\n\n".join([*head, *parts, f'models={{…, "{build.__name__}": {build.__name__}}}'])


def text(model: Model) -> str:
    """Return what defines an idea, so that another text is another question; empty for a model of the dataset."""
    if isinstance(model, str):
        path = Path(model.partition(":")[0])
        return path.read_text(encoding="utf-8") if ":" in model and path.is_file() else ""
    return lines(model) or repr(model)


def _own(build: Callable[[], Any]) -> list[Any]:
    """List a function and those functions and classes of its file that it names, what is named first."""
    found: list[Any] = []

    def visit(one: Any) -> None:
        if one in found:
            return
        names = source.named(one.__code__) if isinstance(one, FunctionType) else []
        for part in (sys.modules[one.__module__].__dict__.get(name) for name in names):
            if isinstance(part, FunctionType | type) and part.__module__ == one.__module__:
                visit(part)
        found.append(one)

    visit(build)
    return found
