"""By which rule is the race run, and by which was it?

Minimum, cool-down, level and window, loss, metrics and the models stand in a dataset's file, which a person edits. So with each
commit of the race the rule by which its outcomes were scored is put on record (column ``rule`` of ``standings``), as orders are;
the race takes both as given when it is run again.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Never

import orjson
import polars as pl

from millrace import metrics, models, state
from millrace.dataset import PRIOR, Dataset, Race
from millrace.errors import MillraceError
from millrace.loss import Loss
from millrace.tables import Table


def write(dataset: Dataset) -> str:
    """Write the rule of a dataset's file, as JSON; its metrics as a digest of what they are before the first label.

    Raises
    ------
    DatasetError
        When there is no such metric, or it does not fit the task.
    """
    loss = {**vars(dataset.race_loss), "costs": [[*decided, cost] for decided, cost in (dataset.race_loss.costs or {}).items()]}
    counted = {"loss": loss, "metrics": state.digest(metrics.build(dataset))}
    return orjson.dumps({**vars(dataset.race), **counted, "models": sorted(dataset.models)}).decode()


def put(dataset: Dataset, rule: str) -> Dataset:
    """Return a dataset with another rule of promotion and loss, and the models of then, as they are on record.

    A model that has left the file since can be promoted in it, and not be built.
    """
    said = orjson.loads(rule)
    costs = {(decision, label): cost for decision, label, cost in said["loss"].pop("costs")}
    found = copy.copy(dataset)
    object.__setattr__(found, "race", Race(**{one.name: said[one.name] for one in dataclasses.fields(Race)}))
    object.__setattr__(found, "loss", Loss(**said["loss"], costs=costs or None))
    if "models" in said:  # what was scored before models were put on record is taken to be of those of today
        object.__setattr__(found, "models", {model: dataset.models.get(model, _left) for model in said["models"]})
    return found


def _left() -> Never:
    raise MillraceError("this model is no longer in the dataset's file")


def counted_otherwise(before: str, rule: str) -> list[str]:
    """Return in what two rules count otherwise, so that what one has counted is of no use to the other."""
    (one, other) = (orjson.loads(text) for text in (before, rule))
    return [name for name in ("loss", "window", "metrics") if one[name] != other[name]]


def otherwise(rule: str, before: str | None, environment: str | None) -> str | None:
    """Say why a state of the race is of no use now; None where it is.

    Parameters
    ----------
    rule
        That of the dataset's file.
    before, environment
        By which rule the state came about, and where; None where that is not on record.
    """
    if before is None or environment is None:
        return "it is not on record by which rule it was run"
    if (other := models.elsewhere(environment)) is not None:
        return f"its state was made in another environment ({other})"
    changed = counted_otherwise(before, rule)
    return f"the dataset's file has changed its {', '.join(changed)}" if changed else None


def raced(dataset: Dataset, standings: Table, upto: int) -> set[str]:
    """Return the models of the file, and those that were in it by a rule on record up to an outcome."""
    rules = [orjson.loads(text) for _, text in on_record(standings, upto, write(dataset))]
    return {PRIOR, *dataset.models, *(model for one in rules for model in one.get("models", ()))}


def on_record(standings: Table, upto: int, otherwise: str) -> list[tuple[int, str]]:
    """Return up to which outcome the race was run by which rule, in order.

    Parameters
    ----------
    upto
        The last outcome.
    otherwise
        The rule where none is on record.
    """
    columns: list[Any] = ["outcome", "at", "rule"]
    rows = standings.read(*columns, where=pl.col("outcome") <= upto).sort("outcome", "at").unique("outcome", keep="first")
    found: list[tuple[int, str]] = []
    for outcome, rule in [*rows.sort("outcome").select("outcome", "rule").iter_rows(), (upto, None)]:
        if not found or outcome > found[-1][0]:
            said = rule or otherwise
            if found and found[-1][1] == said:
                found.pop()
            found.append((outcome, said))
    return found
