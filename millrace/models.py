"""How is a model of a dataset built, and is it still the one on record?"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import warnings
from typing import TYPE_CHECKING

import polars as pl

from millrace import task
from millrace.clock import now
from millrace.dataset import PRIOR, Dataset
from millrace.errors import ConflictError, InexactModelWarning, MillraceError, unknown
from millrace.tables import Table

if TYPE_CHECKING:
    from river.base import Estimator


@functools.cache
def environment() -> str:
    """Return what bits depend on: Python's minor version, the libraries that learn, the C library, the processor's kind."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in ("river", "numpy", "scipy", "scikit-learn")]
    return "; ".join([f"python {python}", *libraries, " ".join(platform.libc_ver()) or "libc ?", platform.machine()])


_FINGERPRINTS: dict[tuple[str, str, str, str], str] = {}
"""What was checked in this process, by table, dataset file's text, model and environment."""


def build(dataset: Dataset, model: str) -> Estimator:
    """Build a fresh model, exact.

    Raises
    ------
    UsageError
        When the dataset has no model of this name.
    MillraceError
        When the function raises, or builds another model each time.
    """
    from millrace import exact

    if model == PRIOR:
        return task.prior(dataset)
    if model not in dataset.models:
        raise unknown("model", model, dataset.racing)
    try:
        estimator: Estimator = exact.build(dataset.models[model], model)
    except MillraceError as error:
        raise MillraceError(f"{dataset.path}: {error}") from error
    return estimator


def fingerprint(dataset: Dataset, model: str, tables: str, accept: bool = False) -> str:
    """Return the fingerprint of a model's definition, which is put on record at its first sight.

    Parameters
    ----------
    tables
        The identity of one of the dataset's tables: what was checked against others is checked again.
    accept
        Put a definition on record that is another than the one there.

    Raises
    ------
    UsageError
        When the dataset has no model of this name.
    MillraceError
        When it cannot be built, when its definition is another than the one on record under its name, or is that of an earlier
        model of the file; the message says what to do.
    """
    from millrace import exact

    key = (tables, dataset.text, model, environment())
    if key not in _FINGERPRINTS or accept:
        estimator = build(dataset, model)
        found, doubts = exact.fingerprint(estimator, None), exact.doubts(estimator)
        for doubt in doubts:
            warnings.warn(f"{dataset.path}: model {model!r} is not exact: {doubt}", InexactModelWarning, stacklevel=2)
        _register(dataset, model, found, doubts, accept)
        _FINGERPRINTS[key] = found
    return _FINGERPRINTS[key]


def _register(dataset: Dataset, model: str, fingerprint: str, doubts: list[str], accept: bool) -> None:
    while True:
        table = Table(dataset.name, "definitions")
        number = table.cursor(f"define/{model}")
        recorded = _recorded(table, model)
        if recorded == fingerprint:
            return
        if recorded and not accept:
            raise _otherwise(dataset, model, fingerprint, recorded)
        _check_twin(dataset, table, model, fingerprint)
        row = {"model": model, "fingerprint": fingerprint, "text": dataset.text, "environment": environment(), "doubts": doubts}
        frame = pl.DataFrame([{**row, "at": now()}], schema_overrides={"doubts": pl.List(pl.String)})
        try:
            table.append(frame, {f"define/{model}": number + 1})
        except ConflictError:
            continue
        return


def _check_twin(dataset: Dataset, table: Table, model: str, fingerprint: str) -> None:
    """Refuse a model that an earlier one of the file is already: it would say the same, and cost as much."""
    earlier = dataset.racing[: dataset.racing.index(model)]
    twin = next((one for one in earlier if _recorded(table, one) == fingerprint), None)
    if twin:
        raise MillraceError(
            f"{dataset.path}: model {model!r} is defined as {twin!r} is (fingerprint {fingerprint[:12]}), so it would always say "
            "the same; define it otherwise (other parameters, another seed), or remove one of both"
        )


def recorded(dataset: Dataset, model: str) -> str | None:
    """Return the fingerprint of a model's definition; None where none is on record here, and then none is put there.

    Raises
    ------
    UsageError, MillraceError
        As :func:`fingerprint`.
    """
    from millrace import exact

    there = _recorded(Table(dataset.name, "definitions"), model)
    found = exact.fingerprint(build(dataset, model), None) if there else None
    if found and there and found != there:
        raise _otherwise(dataset, model, found, there)
    return there


def _recorded(table: Table, model: str) -> str | None:
    here = (pl.col("model") == model) & (pl.col("environment") == environment())
    found: list[str] = table.read("fingerprint", where=here)["fingerprint"].to_list()
    return found[-1] if found else None


def _otherwise(dataset: Dataset, model: str, found: str, recorded: str) -> MillraceError:
    return MillraceError(
        f"{dataset.path}: model {model!r} is defined otherwise than when it began (fingerprint {found[:12]}, on record "
        f"{recorded[:12]}); give the new definition a name of its own, or put the old one back, or build the model again from "
        f"the log: millrace replay {dataset.name} {model}"
    )


def doubts(name: str) -> dict[str, list[str]]:
    """Return by model what is on record of it that is not exact, a sentence each; empty for one that is."""
    rows = Table(name, "definitions").read("model", "doubts")
    return {model: list(sentences or ()) for model, sentences in rows.iter_rows()}
