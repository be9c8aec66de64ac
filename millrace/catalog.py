"""Which datasets are there, and what is wrong with a broken one?

A dataset is found by its place: ``datasets/flights.py`` *is* ``flights``. Its file is loaded by path as the module
``millrace_datasets.flights``, so that a model that refers to something in it can be pickled, and found again by the
finder that this module installs. River and scikit-learn are loaded when a dataset's functions first use them, not when
its file is read: listing datasets stays cheap.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from millrace.dataset import Dataset
from millrace.errors import DatasetError, MillraceError, unknown
from millrace.settings import settings

PACKAGE = "millrace_datasets"
_LOCK = threading.RLock()
_LAZY = ("river", "sklearn")


def names() -> list[str]:
    """Return the names of all datasets, in alphabetical order.

    Raises
    ------
    DatasetError
        When the folder of datasets is not there.
    """
    folder = settings().datasets
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}/ with datasets here; go to the checkout, or set MILLRACE_DATASETS")
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def path_of(name: str) -> Path:
    """Return the file of a dataset.

    Raises
    ------
    UsageError
        When there is no dataset of this name; it names the ones there are.
    """
    if name not in names():
        raise unknown("dataset", name, names())
    return settings().datasets / f"{name}.py"


def load(name: str) -> Dataset:
    """Load a dataset from its file, once for each text that the file has.

    Raises
    ------
    UsageError
        When there is no dataset of this name.
    DatasetError
        When the file is broken; the message names the file, the line, what is wrong and what would be right.
    """
    path = path_of(name)
    with _LOCK:
        loaded = sys.modules.get(f"{PACKAGE}.{name}")
        text = path.read_text(encoding="utf-8")
        if loaded is None or getattr(loaded, "dataset", None) is None or _origin(loaded) != (path.resolve(), text):
            loaded = _execute(name, path, text)
        dataset = loaded.dataset
        assert isinstance(dataset, Dataset)
        return dataset


def load_all() -> tuple[list[Dataset], list[MillraceError]]:
    """Load every dataset; a broken one does not stop the others."""
    datasets, broken = [], []
    for name in names():
        try:
            datasets.append(load(name))
        except MillraceError as error:
            broken.append(error)
    return datasets, broken


def loaded() -> list[Dataset]:
    """Return the datasets that were loaded in this process."""
    found = [getattr(module, "dataset", None) for name, module in list(sys.modules.items()) if name.startswith(f"{PACKAGE}.")]
    return [dataset for dataset in found if isinstance(dataset, Dataset)]


@contextlib.contextmanager
def as_written(name: str, path: Path, text: str) -> Iterator[Dataset]:
    """Run another text of a dataset's file, which is code; within, pickles find the module that it makes.

    The module that was there before (of the file's present text, say) is there again afterwards.

    Raises
    ------
    DatasetError
        When the text does not run here.
    """
    _package()
    full = f"{PACKAGE}.{name}"
    with _LOCK:
        previous = sys.modules.get(full)
        declared = getattr(previous, "dataset", None)
        if isinstance(declared, Dataset) and declared.text == text:
            yield declared
            return
        module = ModuleType(full)
        module.__file__ = str(path)
        sys.modules[full] = module
        try:
            try:
                exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - a dataset's file is code
                dataset: Dataset = module.dataset
            except Exception as error:
                raise DatasetError(f"{path}: this text of the dataset's file does not run here: {error}") from error
            dataset.found(name, path, text)
            yield dataset
        except BaseException:
            del sys.modules[full]
            raise
        finally:
            if previous is not None:
                sys.modules[full] = previous


def _origin(module: ModuleType) -> tuple[Path, str]:
    return Path(module.__file__ or "").resolve(), module.dataset.text


def _execute(name: str, path: Path, text: str) -> ModuleType:
    full = f"{PACKAGE}.{name}"
    spec = importlib.util.spec_from_file_location(full, path.resolve())
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    _package()
    previous = sys.modules.get(full)
    sys.modules[full] = module
    try:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        exec(compile(text, str(path.resolve()), "exec"), module.__dict__)  # noqa: S102 - a dataset's file is code
        dataset = getattr(module, "dataset", None)
        if not isinstance(dataset, Dataset):
            raise DatasetError("it defines no `dataset`; write dataset = Dataset(…) at its top level")
        dataset.found(name, path, text)
        _check(dataset, path.resolve())
    except BaseException as error:
        sys.modules.pop(full, None)
        if previous is not None:
            sys.modules[full] = previous
        if not isinstance(error, Exception):
            raise
        raise DatasetError(f"{path}:{_line(error, path.resolve(), text)}: {_message(error)}") from error
    setattr(sys.modules[PACKAGE], name, module)
    return module


def _check(dataset: Dataset, path: Path) -> None:
    from millrace import features, weights

    features.check(dataset)
    weights.check(dataset)
    if dataset.remembers:
        from millrace import recall

        recall.check(dataset)
    if dataset.labels.default is not None and dataset.labels.learn is None:
        from millrace import delays

        raise delays.undecided(dataset)
    for model, build in dataset.models.items():
        if inspect.signature(build).parameters:
            raise DatasetError(f"model {model!r}: the function {build.__name__} must take no arguments")


def _line(error: BaseException, path: Path, text: str) -> int:
    if isinstance(error, SyntaxError):
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    call = _declaration(text)
    if call is None or (lines and lines[-1] != call.lineno):
        return (lines[-1] if lines else None) or 1
    # What the message begins with is the argument that it is about, or one of its parts: "features …", "model 'x' …".
    about = str(error).partition(" ")[0].rstrip(":")
    named = [word.value.lineno for word in call.keywords if word.arg in (about, f"{about}s")]
    return named[0] if named else call.lineno


def _declaration(text: str) -> ast.Call | None:
    """Return the call ``Dataset(…)`` in a file's text."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and "dataset" in map(ast.unparse, node.targets) and isinstance(node.value, ast.Call):
            return node.value
    return None


def _message(error: Exception) -> str:
    if isinstance(error, MillraceError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{error.msg}: {(error.text or '').strip()}"
    return f"{type(error).__name__}: {error}"


def _package() -> ModuleType:
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = []
        sys.modules[PACKAGE] = package
    return sys.modules[PACKAGE]


class _LazyModule(ModuleType):
    """A module that is imported when something in it is first used.

    It stands in a dataset's file alone and never in ``sys.modules``: the standard library's ``LazyLoader`` runs a package
    twice when a pickle asks for a module in it first.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


def _import(name: str, *arguments: Any, **named: Any) -> Any:
    """Import as usual, but for ``from river import …`` and ``from sklearn import …``: their modules come when they are used."""
    wanted = arguments[2] if len(arguments) > 2 else named.get("fromlist")
    if name in _LAZY and wanted and all(_is_module(name, part) for part in wanted):
        package = ModuleType(name)
        for module in wanted:
            setattr(package, module, _LazyModule(f"{name}.{module}"))
        return package
    return builtins.__import__(name, *arguments, **named)


def _is_module(package: str, name: str) -> bool:
    """Tell whether a package has a module of this name, without importing either."""
    spec = importlib.util.find_spec(package)
    return (
        spec is not None
        and importlib.machinery.PathFinder.find_spec(f"{package}.{name}", spec.submodule_search_locations) is not None
    )


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``millrace_datasets.<name>`` when a pickle asks for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != PACKAGE or (name and name not in names()):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=not name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        if spec.name == PACKAGE:
            return None
        name = spec.name.rpartition(".")[2]
        load(name)
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module was run when its dataset was loaded."""


sys.meta_path.append(_Finder())
