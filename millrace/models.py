"""How is a model of a dataset built, and is it still the one on record?"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from typing import TYPE_CHECKING

import polars as pl

from millrace import task
from millrace.clock import now
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, MillraceError, unknown
from millrace.tables import Table

if TYPE_CHECKING:
    from river.base import Estimator


@functools.cache
def environment() -> str:
    """Return what bits depend on: Python's minor version, the libraries that learn, the C library, the processor's kind."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in ("river", "numpy", "scipy", "scikit-learn")]
    return "; ".join([f"python {python}", *libraries, " ".join(platform.libc_ver()) or "libc ?", platform.machine()])


def build(dataset: Dataset, model: str) -> tuple[Estimator, str]:
    """Build a fresh model, exact, and its definition's fingerprint.

    Raises
    ------
    UsageError
        When the dataset has no model of this name.
    MillraceError
        When the function raises, or builds another model each time.
    """
    from millrace import exact

    if model == PRIOR:
        estimator = task.prior(dataset)
    elif model in dataset.models:
        try:
            estimator = exact.build(dataset.models[model], model)
        except MillraceError as error:
            raise MillraceError(f"{dataset.path}: {error}") from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise MillraceError(f"{dataset.path}: model {model!r} cannot be built: {said}") from error
    else:
        raise unknown("model", model, dataset.racing)
    return estimator, exact.fingerprint(estimator, None)


def register(dataset: Dataset, model: str, fingerprint: str) -> None:
    """Put a model's definition on record at its first sight; refuse another under its name.

    Raises
    ------
    MillraceError
        When the definition under this name is another; the message says what to do.
    """
    while True:
        table = Table(dataset.name, "definitions")
        number = table.cursor(f"define/{model}")
        if number:
            recorded = table.read("fingerprint", where=pl.col("model") == model)["fingerprint"][-1]
            if recorded != fingerprint:
                raise MillraceError(
                    f"{dataset.path}: model {model!r} is defined otherwise than when it began (fingerprint {fingerprint[:12]}, on "
                    f"record {recorded[:12]}); give the new definition a name of its own, or put the old one back"
                )
            return
        row = {"model": model, "fingerprint": fingerprint, "text": dataset.text, "environment": environment(), "at": now()}
        try:
            table.append(pl.DataFrame([row]), {f"define/{model}": 1})
        except ConflictError:
            continue
        return
