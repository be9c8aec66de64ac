"""Which versions predict now, and which of them is served?

Of each model the newest version that can be loaded in this environment predicts. Served is the champion's, or the one that a
person has pinned. Inference, MLflow's alias and ``status`` ask here, so that they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace import checkpoints, interventions, models, promotions
from millrace.checkpoints import Checkpoint
from millrace.dataset import PRIOR, Dataset
from millrace.errors import UsageError
from millrace.tables import Table


@dataclass(frozen=True)
class Serving:
    """What predicts now, and what of it is served.

    Parameters
    ----------
    versions
        Of each model of the race the version that predicts; a model that has none here is left out.
    model, version
        Whose word is served, and which version; None before there is any.
    problem
        Why what a person has pinned is not served; None where it is, or nothing is pinned at a version.
    """

    versions: dict[str, Checkpoint]
    model: str
    version: Checkpoint | None
    problem: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether a version is served beside its model's newest, which goes on as a shadow."""
        newest = self.versions.get(self.model)
        return self.version is not None and (newest is None or newest.version != self.version.version)


@dataclass(frozen=True)
class Asked:
    """A version that is asked about events; ``origin`` is live, or pinned where its model's newest version is asked, too."""

    model: str
    number: int
    seq: int
    sha256: str
    origin: str
    served: bool

    def columns(self) -> dict[str, pl.Expr]:
        """Return the columns that its predictions have in common."""
        numbers = {"version": pl.lit(self.number, dtype=pl.Int64), "seq": pl.lit(self.seq, dtype=pl.Int64)}
        return {**numbers, "model": pl.lit(self.model), "origin": pl.lit(self.origin), "served": pl.lit(self.served)}


def versions_asked(lineup: dict[str, Any]) -> list[Asked]:
    """Return the versions of a line-up, as it is on record with the features of an event, in its order."""
    pinned = lineup.get("pinned")
    served = None if pinned else lineup["champion"]
    found = [
        Asked(model, number, seq, sha256, "live", model == served) for model, (number, seq, sha256) in lineup["versions"].items()
    ]
    if pinned:
        number, seq, sha256 = pinned
        found.append(Asked(lineup["champion"], number, seq, sha256, "pinned", True))
    return found


def current(dataset: Dataset) -> Serving:
    """Return what predicts and is served now.

    Where a champion has no version that can be loaded here, or has left the dataset's file, the base rate stands in; and
    where the pinned version can be loaded no more, the newest of its model does, or else the base rate.
    """
    versions = checkpoints.loadable(Table(dataset.name, "checkpoints"), dataset.racing, models.environment())
    pin = interventions.in_force(dataset.name).pin
    if pin is None or pin.version is None or pin.model is None:
        model, problem = promotions.champion(dataset.name), None
    elif why := lost(dataset.name, pin.version):
        model, problem = pin.model, f"v{pin.version} of {pin.model} is pinned, and is not served: {why}"
    else:
        return Serving(versions, pin.model, checkpoints.of_version(dataset.name, pin.version))
    model = model if model in versions else PRIOR
    if problem and model in versions:
        newest = f"{model} v{versions[model].version}"
        problem += f"; until the pin is lifted (millrace pin {dataset.name} --off --reason …), {newest} is served instead"
    return Serving(versions, model, versions.get(model), problem)


def lost(name: str, number: int) -> str | None:
    """Tell why a version will never be loaded here, and what makes it again; None where nothing on record speaks against it."""
    try:
        version = checkpoints.of_version(name, number)
    except UsageError as error:
        return str(error)
    if other := models.elsewhere(version.environment):
        why = f"it was made in another environment ({other}), and is not loaded in this one"
    elif checkpoints.removed(name, [number]):
        why = "it was removed by retention"
    else:
        return None
    return f"{why}; make it again: {again(name, version)}"


def again(name: str, version: Checkpoint) -> str:
    """Return the command that makes a version again from the log."""
    return f"millrace replay {name} {version.model} --to {version.seq}"
