"""Is an artifact's state the one that was published?

A version's is if its sha256 is on record in the table ``checkpoints``, beside which it was made. A pickle that is well-formed and
of another model loads as any other, and answers. Where the dataset has no tables here (another machine), nothing is known of it.

That an artifact is a version, and of which dataset, says MLflow, which writes so beside what it hands out by a registered model's
name; and the artifact itself, by what `millrace.registry` keeps in its ``MLmodel``. A model that was saved by hand is neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from millrace import tables
from millrace.errors import MillraceError
from millrace.settings import settings
from millrace.tables import Table

PUBLISHED = "millrace"
"""Under which name an artifact's metadata say of what it is a version."""


def mark(dataset: str, model: str, seq: int) -> dict[str, Any]:
    """Return the metadata by which an artifact says that it is a version."""
    return {PUBLISHED: {"dataset": dataset, "model": model, "seq": seq}}


def check_published(folder: Path, data: bytes, trust: Collection[str] = ()) -> None:
    """Refuse a version's state that is not on record, where the tables of its dataset are here.

    Parameters
    ----------
    folder, data
        The artifact, and the bytes of its state.
    trust
        A sha256 that is loaded all the same, beside those of the setting ``MILLRACE_TRUST``.

    Raises
    ------
    MillraceError
        When its sha256 is that of no checkpoint of the model, or another than that of the version as which MLflow hands it out.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in trust or sha256 in settings().trusted:
        return
    for name, number, model, told in (_handed_out(folder), _marked(folder)):
        if name.isidentifier() and tables.created(name):
            _check(name, number, model, told, sha256)


def _check(name: str, number: int, model: str, told: str, sha256: str) -> None:
    table = Table(name, "checkpoints")
    known = table.read("model", "version", "sha256", where=(pl.col("sha256") == sha256) | (pl.col("version") == number))
    version = known.filter(pl.col("version") == number)
    if version.height:
        known, model = version, version["model"][-1]
        told = f"v{number} of {name} ({model})"
    elif model:
        known = known.filter(pl.col("model") == model)
    if sha256 not in known["sha256"]:
        there = f"on record is {version['sha256'][-1]}" if version.height else f"which is not on record for it in {table.path}"
        raise MillraceError(
            f"{told} has a state in MLflow whose sha256 is {sha256}, {there}: it is not the one that was published, and is not "
            f"loaded; publish the model again by: {' '.join(['millrace replay', name, model]).strip()}; or delete the version in "
            f"MLflow; where it was published from other tables that you trust, set MILLRACE_TRUST={sha256}"
        )


_Said = tuple[str, int, str, str]
"""Of which dataset (none for none), number and model an artifact is said to be a version, and how it is called."""


def _handed_out(folder: Path) -> _Said:
    said = _read(folder / "registered_model_meta")
    name, number, space = str(said.get("model_name") or ""), str(said.get("model_version") or ""), settings().namespace
    own = name.removeprefix(f"{space}-") if not space or name.startswith(f"{space}-") else ""
    return own, int(number) if number.isdecimal() else 0, "", f"v{number} of {name}"


def _marked(folder: Path) -> _Said:
    metadata = _read(folder / "MLmodel").get("metadata")
    said = metadata.get(PUBLISHED) if isinstance(metadata, dict) else None
    said = said if isinstance(said, dict) else {}
    dataset, model, seq = (str(said.get(part, "")) for part in ("dataset", "model", "seq"))
    return dataset, 0, model, f"model {model} of {dataset} at seq {seq}"


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, yaml.YAMLError) as error:
        raise MillraceError(f"{path} is no YAML, and the model beside it is not loaded: {error}") from error
    return said if isinstance(said, dict) else {}
