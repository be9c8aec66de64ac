"""Is a stored prediction what its version says, and what the log gives?

Each is made again: from the state of the version that made it, and from that state folded again. Bits hold within one
environment; of a prediction that was made in another the difference is told, and is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from millrace import checkpoints, examples, models, state, task
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.errors import MillraceError
from millrace.fold import CHUNK
from millrace.infer import load
from millrace.learner import Learner
from millrace.parallel import Progress
from millrace.tables import Table

_COMPARED = ("seq", "prediction", "classes", "probabilities", "error")

Row = dict[str, Any]


@dataclass
class Remade:
    """A prediction made again.

    Attributes
    ----------
    how
        From what it was made again.
    same
        Whether it is the stored one to the last bit; None where it could not be made.
    difference
        In what it is another, with both values; or why it could not be made.
    elsewhere
        What is different in the environment that the stored one was made in; None where nothing is.
    """

    how: str
    same: bool | None = None
    difference: str | None = None
    elsewhere: str | None = None

    @property
    def fault(self) -> bool:
        """Whether it is another than it should be: in another environment bits may differ."""
        return self.same is False and not self.elsewhere

    def __str__(self) -> str:
        outcome = "the same to the last bit" if self.same else self.difference
        return f"{self.how}: {outcome}" + (f" (made in another environment: {self.elsewhere})" if self.elsewhere else "")


def from_version(dataset: Dataset, stored: Row, x: Row, version: Checkpoint) -> tuple[Remade, Any]:
    """Make a prediction again from its version's state.

    Returns
    -------
    Remade, object
        What became of it, and the loaded model (None where it could not be loaded).
    """
    how = f"from the state of v{version.version}"
    return _remade(dataset, stored, x, version, how, lambda: load(dataset, version.version or 0, version.sha256))


def from_fold(
    dataset: Dataset, stored: Row, x: Row, version: Checkpoint, from_nothing: bool, progress: Progress | None
) -> tuple[Remade, Any]:
    """Make a prediction again from a fold up to its version's place in the log, in this environment.

    Parameters
    ----------
    from_nothing
        Begin with the fresh model, not with the newest state before that place.

    Returns
    -------
    Remade, object
        What became of it, and the model (None where it could not be made).
    """
    lineage = (version.model, version.fingerprint, models.environment())
    begun = None if from_nothing else checkpoints.kept(dataset.name, *lineage, version.seq - 1)
    how = f"folded {f'again from seq {begun[0].seq:,}' if begun else 'from nothing'} to seq {version.seq:,}"

    def folded() -> Any:
        if begun:
            with models.as_defined(dataset, version.model, version.fingerprint):
                return learned()
        return learned()

    def learned() -> Any:
        log, at = Table(dataset.name, "examples"), begun[0].seq if begun else 0
        one = Learner(begun[1], dataset.task, begun[0].failing) if begun else _fresh(dataset, version)
        while at < version.seq and not one.suspended:
            rows = examples.read(log, at, min(at + CHUNK, version.seq))
            at += one.learn(examples.as_examples(rows))
            if progress:
                progress(version.model, at, version.seq)
        return state.load(one.data)

    return _remade(dataset, stored, x, version, how, folded)


def _fresh(dataset: Dataset, version: Checkpoint) -> Learner:
    from millrace import exact

    estimator = models.build(dataset, version.model)
    found = exact.fingerprint(estimator, None)
    if found != version.fingerprint:
        raise MillraceError(
            f"{dataset.path} defines {version.model!r} otherwise than when this was made (fingerprint {found[:12]}, then "
            f"{version.fingerprint[:12]}; the table definitions keeps the file's text of then)"
        )
    return Learner(state.slim(estimator), dataset.task)


def _remade(dataset: Dataset, stored: Row, x: Row, version: Checkpoint, how: str, make: Callable[[], Any]) -> tuple[Remade, Any]:
    remade = Remade(how, elsewhere=models.elsewhere(version.environment))
    try:
        model = make()
        predictions, errors = task.predict(model, dataset.task, [x])
    except Exception as error:  # noqa: BLE001 - a pickle of another environment or definition may raise anything at all
        remade.difference = f"cannot be made: {_why(error)}"
        return remade, None
    frame = pl.DataFrame([*task.to_columns(dataset, predictions).values(), pl.Series("error", errors, dtype=pl.String)])
    remade.difference = difference(stored, {"seq": version.seq, **frame.row(0, named=True)})
    remade.same = remade.difference is None
    return remade, model


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"


def difference(stored: Mapping[str, Any], again: Mapping[str, Any]) -> str | None:
    """Tell in what a stored prediction and one made again differ, to the last bit; None where they do not.

    Examples
    --------
    >>> difference({"prediction": 0.5}, {"prediction": 0.75})
    'prediction is stored as 0.5, and is 0.75 made again (differs by 0.25)'
    >>> difference({"prediction": 0.5}, {"prediction": 0.5})
    """
    found = []
    for name in _COMPARED:
        if name not in again or _bits(stored[name]) == _bits(again[name]):
            continue
        if name == "probabilities" and stored["classes"] == again["classes"] and len(stored[name]) == len(again[name]):
            pairs = zip(again["classes"], stored[name], again[name], strict=True)
            found += [_told(f"the probability of {label}", *two) for label, *two in pairs if _bits(two[0]) != _bits(two[1])]
        else:
            found.append(_told(name, stored[name], again[name]))
    return "; ".join(found) or None


def _told(name: str, stored: Any, again: Any) -> str:
    said = f"{name} is stored as {stored!r}, and is {again!r} made again"
    numbers = isinstance(stored, float) and isinstance(again, float)
    return f"{said} (differs by {abs(again - stored):.3g})" if numbers else said


def _bits(value: Any) -> Any:
    if isinstance(value, list):
        return [_bits(part) for part in value]
    return value.hex() if isinstance(value, float) else value
