"""What does durable learning cost beside a bare River loop, and the whole job beside three?"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import polars as pl

from benchmarks.figures import Figure, median, timed
from benchmarks.place import flights, labels, land_by_day, place
from millrace import catalog, fold
from millrace.dataset import PRIOR
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.join import join
from millrace.publish import publish
from millrace.run import run
from millrace.tables import Table

MONTH = 27_000
"""Examples in thirty days of flights."""


@contextmanager
def joined(months: int) -> Iterator[str]:
    """Enter a place where so many months of flights wait in the log to be learned; two models have predicted them."""
    with place() as name:
        path = catalog.path_of(name)
        text = path.read_text()
        start = text.index("models={")
        path.write_text(text[:start] + 'models={"logistic": logistic}' + text[text.index("}", start) + 1 :])
        land_by_day(name, flights(months=months))
        ingest(name)
        infer(name)
        join(name)
        path.write_text(text)
        yield name


def in_memory(log: pl.DataFrame) -> list[tuple[Any, dict[str, Any]]]:
    """Hold labels and features as Polars gives them to whoever asks for dicts."""
    return list(zip(log["label"].to_list(), log["x"].struct.unnest().to_dicts(), strict=True))


def learn_plainly(model: Any, rows: list[tuple[Any, dict[str, Any]]]) -> None:
    """Learn as one would with River alone, from dicts in memory."""
    for label, x in rows:
        model.learn_one(x, label)


def durable(name: str, model: str) -> None:
    """Fold a model over the log with a checkpoint each thirty days, and publish it."""
    with patch.object(fold, "COMMIT_EVERY", MONTH):
        fold.fold(name, model)
    publish(name)


def year(repeat: int) -> list[Figure]:
    """A year of flights learned durably: examples read, folded, a checkpoint each thirty days, published."""
    return list(_beside("a year", 12, (repeat + 2) // 3, durable))


def month(repeat: int) -> list[Figure]:
    """A single tick's month: examples read, folded, one checkpoint."""
    return list(_beside("a tick's month", 1, repeat, fold.fold))


def _beside(what: str, months: int, repeat: int, ours: Callable[[str, str], Any]) -> Iterator[Figure]:
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeat):
        with joined(months) as name:
            fold.fold(name, PRIOR)
            dataset = catalog.load(name)
            rows = in_memory(Table(name, "examples").read())
            for model, build in dataset.models.items():  # the peer has River's own classes, not the exact ones
                bare = timed(functools.partial(learn_plainly, build(), rows))
                found.setdefault(model, []).append((timed(functools.partial(ours, name, model)), bare))
    for model, pairs in found.items():
        mine, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        value = f"{mine:.2f} s, {mine - bare:+.2f} s"
        yield Figure(f"learn {what} of flights durably: {model}", value, "a bare learn_one loop on dicts in memory", ratio)


def job(repeat: int) -> list[Figure]:
    """The whole job of a month: ingest, infer and learn with three models, imports apart, after a first 200 events."""

    def once() -> tuple[float, float]:
        with place() as name:
            land_by_day(name, flights().head(200))
            run(name)  # imports, empty tables, first versions
            dataset = catalog.load(name)
            plain = [build() for build in dataset.models.values()]
            first = in_memory(Table(name, "examples").read())
            for model in plain:  # those that ours are when the month comes: a tree that knows nothing answers at once
                learn_plainly(model, first)
            later = flights(first=1)
            land_by_day(name, later)
            ours = timed(lambda: run(name))
            x = dict(Table(name, "features").read("event_id", "x").iter_rows())
            rows = [(x[event], label) for event, label, _ in labels(later).iter_rows()]
            asked = [x[event] for event in later["event_id"]]
            return ours, timed(lambda: _predict_and_learn(plain, asked, rows))

    ours, _, ratio = median(repeat, once)
    return [Figure("the whole job of a month, three models", f"{ours:.2f} s", "three bare loops that predict and learn", ratio)]


def _predict_and_learn(models: list[Any], asked: list[dict[str, Any]], rows: list[tuple[dict[str, Any], bool]]) -> None:
    for model in models:
        for x in asked:
            model.predict_proba_one(x)
        for x, label in rows:
            model.learn_one(x, label)
