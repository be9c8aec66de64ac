"""How is a model of a dataset built, and is it still the one on record?"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from millrace import additions, catalog, tables, task
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


_TEXTS: dict[tuple[str, str, str], list[str]] = {}
"""The texts by which a model was defined, by dataset, model and fingerprint."""
_FINGERPRINTS: dict[tuple[str, str, str, str], str] = {}
"""What was checked in this process, by table, dataset file's text, model and environment."""


def build(dataset: Dataset, model: str) -> Estimator:
    """Build a fresh model, exact; where defaults are learned provisionally, with the correction around it.

    Raises
    ------
    UsageError
        When the dataset has no model of this name.
    MillraceError
        When the function raises, or builds another model each time.
    """
    from millrace import exact

    if model not in dataset.racing:
        raise unknown("model", model, dataset.racing)
    provisional = dataset.labels.learn == "provisional"
    try:
        if model == PRIOR:
            estimator: Estimator = task.prior(dataset)
        else:
            estimator = exact.build(dataset.models[model], model, weighted=provisional or dataset.weight is not None)
    except MillraceError as error:
        raise MillraceError(f"{dataset.path}: {error}") from error
    if provisional:
        from millrace.provisional import corrected

        return corrected(estimator, bool(dataset.labels.default))
    return estimator


def fingerprint(dataset: Dataset, model: str, identity: str, accept: bool = False) -> str:
    """Return the fingerprint of a model's definition, which is put on record at its first sight.

    Parameters
    ----------
    identity
        Of one of the dataset's tables: what was checked against others is checked again.
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

    key = (identity, dataset.text, model, environment())
    if key not in _FINGERPRINTS or accept:
        estimator = build(dataset, model)
        found, doubts = exact.fingerprint(estimator, None), exact.doubts(estimator)
        for doubt in doubts:
            warnings.warn(f"{dataset.path}: model {model!r} is not exact: {doubt}", InexactModelWarning, stacklevel=2)
        register(dataset, model, found, doubts, accept, additions.chosen(estimator, model))
        _FINGERPRINTS[key] = found
    return _FINGERPRINTS[key]


def register(
    dataset: Dataset, model: str, fingerprint: str, doubts: list[str], accept: bool, features: list[str] | None = None
) -> None:
    """Put a definition on record, of a model or of memory; refuse another than the one there, unless it is accepted.

    ``features`` are those that the model selects by name; None where it sees all.
    """
    while True:
        table = Table(dataset.name, "definitions")
        number = table.cursor(f"define/{model}")
        recorded = _recorded(table, model)
        if recorded == fingerprint and dataset.text in texts(dataset.name, model, fingerprint):
            return
        if recorded not in (None, fingerprint) and not accept:
            raise _otherwise(dataset, model, fingerprint, str(recorded))
        if model in dataset.racing:
            _check_twin(dataset, table, model, fingerprint)
        row = {"model": model, "fingerprint": fingerprint, "text": dataset.text, "environment": environment(), "doubts": doubts}
        texts_of = {"doubts": pl.List(pl.String), "features": pl.List(pl.String)}
        frame = pl.DataFrame([{**row, "features": features, "at": now()}], schema_overrides=texts_of)
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


def texts(name: str, model: str, fingerprint: str) -> list[str]:
    """Return the texts of the dataset's file by which a model was defined so, in the order in which they were first seen."""
    same = (pl.col("model") == model) & (pl.col("fingerprint") == fingerprint)
    return list(dict.fromkeys(Table(name, "definitions").read("text", where=same)["text"]))


def on_record(name: str, text: str) -> bool:
    """Tell whether a model was ever built here from this text of a dataset's file."""
    return tables.created(name) and bool(Table(name, "definitions").read("at", where=pl.col("text") == text).height)


@contextlib.contextmanager
def as_defined(dataset: Dataset, model: str, fingerprint: str) -> Iterator[None]:
    """Let pickles find the functions by which a model was defined, where the dataset's file has others by now.

    Raises
    ------
    MillraceError
        When the text of then is not on record, or does not run any more.
    """
    key = (dataset.name, model, fingerprint)
    known = _TEXTS.get(key, [])
    if dataset.text not in known:
        known = _TEXTS[key] = texts(*key)
    if dataset.text in known or _is_defined_so(dataset, model, fingerprint):
        yield
        return
    if not known:
        raise MillraceError(f"the definition {fingerprint[:12]} of model {model!r} is not on record: its states are not loaded")
    with catalog.as_written(dataset.name, Path(f"{dataset.path} (as on record)"), known[-1]):
        yield


def _is_defined_so(dataset: Dataset, model: str, fingerprint: str) -> bool:
    """Tell whether the dataset's file as it is defines a model so; if it does, it is known in this process from then on."""
    from millrace import exact

    if model not in dataset.racing or exact.fingerprint(build(dataset, model), None) != fingerprint:
        return False
    _TEXTS.setdefault((dataset.name, model, fingerprint), []).append(dataset.text)
    return True


def elsewhere(other: str) -> str | None:
    """Tell in what another environment is not this one; None where it is."""
    there, here = other.split("; "), environment().split("; ")
    changed = [part for part in there if part not in here]
    gone = [part for part in here if part not in there]
    return f"{', '.join(changed)}; here {', '.join(gone)}" if changed or gone else None


def doubts(name: str) -> dict[str, list[str]]:
    """Return by model what is on record of it that is not exact, a sentence each; empty for one that is."""
    rows = Table(name, "definitions").read("model", "doubts")
    return {model: list(sentences or ()) for model, sentences in rows.iter_rows()}
