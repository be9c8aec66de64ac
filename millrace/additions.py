"""From which event on is a feature there that was added to the dataset's file later, and which models use it?

When the table ``features`` gets a new one, the first arrival that has it is put on record with the rows (cursors
``feature/<name>``, and ``added`` for the last of all); so it costs nothing to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from millrace.clock import write_moment
from millrace.dataset import PRIOR, Dataset
from millrace.tables import Table, at_arrivals

if TYPE_CHECKING:
    from river.base import Estimator


@dataclass(frozen=True)
class Addition:
    """A feature that was not there at first: since which event it is, and the models that use it."""

    feature: str
    arrival: int
    event_id: str
    event_time: datetime
    models: list[str]

    def __str__(self) -> str:
        said = f"feature {self.feature!r} was added later: it is there since event {self.event_id!r} (arrival {self.arrival:,}, "
        said += f"{write_moment(self.event_time)})"
        return f"{said}, and {', '.join(self.models)} knows it from there on" if self.models else f"{said}, and no model uses it"


def cursors(table: Table, x: pl.DataFrame, arrivals: pl.Series) -> dict[str, int]:
    """Return what is to be committed with features of which some are new to the table."""
    there = table.fields("x")
    new = [name for name in x.columns if name not in there]
    first = int(arrivals[0]) if new else 0
    return {f"feature/{name}": first for name in new} | ({"added": first} if new else {})


def additions(dataset: Dataset) -> list[Addition]:
    """Return the features that were added since the first event, in the order of their arrival, then of their names."""
    table = Table(dataset.name, "features")
    if not table.cursor("added"):
        return []
    found = sorted((table.cursor(f"feature/{name}"), name) for name in table.fields("x"))
    found = [(arrival, name) for arrival, name in found if arrival]
    arrivals = pl.Series([arrival for arrival, _ in found], dtype=pl.Int64)
    events = {
        arrival: rest for arrival, *rest in table.read("arrival", "event_id", "event_time", where=at_arrivals(arrivals)).rows()
    }
    chosen = dict(Table(dataset.name, "definitions").read("model", "features").rows())  # of each model the newest
    return [
        Addition(
            name,
            arrival,
            events[arrival][0],
            events[arrival][1],
            [one for one in dataset.models if _knows(chosen.get(one), name)],
        )
        for arrival, name in found
    ]


def _knows(chosen: Sequence[str] | None, feature: str) -> bool:
    return chosen is None or feature in chosen


def chosen(estimator: Estimator, model: str) -> list[str] | None:
    """Return the features that a model selects by name before all else; None where it sees all, or that cannot be told."""
    found = set[str]() if model == PRIOR else _chosen(estimator)
    return None if found is None else sorted(found)


def _chosen(part: Estimator) -> set[str] | None:
    from river import base, compose

    if isinstance(part, compose.Select):
        return {str(key) for key in part.keys}
    if isinstance(part, compose.Pipeline):
        return _chosen(next(iter(part.steps.values())))
    if isinstance(part, compose.TransformerUnion | compose.TransformerProduct):
        each = [_chosen(one) for one in part.transformers.values()]
        return set().union(*(one for one in each if one is not None)) if all(one is not None for one in each) else None
    return _chosen(part._wrapped_model) if isinstance(part, base.Wrapper) else None
