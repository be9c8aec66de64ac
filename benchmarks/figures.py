"""Which figures are there, and how is each measured?"""

from __future__ import annotations

import functools
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import write_deltalake

from benchmarks.place import events, flights, labels, land, land_by_day, place
from millrace import catalog, features
from millrace.examples import as_examples
from millrace.fold import fold
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.join import join
from millrace.run import pending, run
from millrace.tables import Table
from millrace.waiting import WaitingRoom


@dataclass(frozen=True)
class Figure:
    """What was measured: its value, and what that is of the peer's in the same run."""

    what: str
    value: str
    peer: str
    ratio: float | None


def timed(function: Callable[[], Any]) -> float:
    """Return how many seconds a function takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median(repeat: int, once: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
    """Return the medians of two times and of their ratio, pair by pair."""
    pairs = [once() for _ in range(repeat)]
    ours, peers = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(peers), statistics.median(a / b for a, b in pairs)


def ingestion(repeat: int) -> list[Figure]:
    """Rows a second of NDJSON with ids in time order, taken in and indexed, without and with expectations."""
    found, rows = [], events(flights(months=7))
    for expectations in (False, True):

        def once(expectations: bool = expectations) -> tuple[float, float]:
            with place(expectations) as name, tempfile.TemporaryDirectory() as folder:
                land(name, "events", rows.head(100), "0")
                ingest(name)  # imports and empty tables are not what is measured
                data = land(name, "events", rows.slice(100), "1")
                bare = timed(lambda: write_deltalake(folder, pl.read_ndjson(io.BytesIO(data)), mode="append"))
                return timed(lambda: indexed(name)), bare

        ours, _, ratio = median(repeat, once)
        what = f"ingest NDJSON, {'with' if expectations else 'without'} expectations"
        found.append(Figure(what, f"{(rows.height - 100) / ours:,.0f} rows/s", "Polars reads, Delta writes", ratio))
    return found


def indexed(name: str) -> None:
    """Ingest, and let the index of ids follow, which else the next stage would pay for."""
    ingest(name)
    with WaitingRoom(name):
        pass


def learned(name: str) -> None:
    """Let January arrive, be predicted and learned."""
    land_by_day(name, flights())
    run(name)


def inference(repeat: int) -> list[Figure]:
    """A month's events predicted by three models that have learned a month, logged and served."""

    def once() -> tuple[float, float]:
        with place() as name:
            learned(name)
            month = events(flights(first=1))
            land(name, "events", month, "2")
            ingest(name)
            dataset = catalog.load(name)
            plain = [build() for build in dataset.models.values()]  # as River has them, not as Millrace makes them exact
            examples = as_examples(Table(name, "examples").read())
            for model in plain:
                learn_plainly(model, examples)
            xs = features.rows(features.compute(dataset, month))
            ours = timed(lambda: infer(name))
            bare = timed(lambda: [[model.predict_proba_one(x) for x in xs] for model in plain])
            return ours, bare

    ours, _, ratio = median(repeat, once)
    return [Figure("infer a month with three models (and prior)", f"{ours:.2f} s", "bare predict_proba_one loops", ratio)]


def learning(repeat: int) -> list[Figure]:
    """A month folded durably: examples read, learned, checkpointed; each model against a bare loop on dicts in memory."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeat):
        with place() as name:
            land_by_day(name, flights())
            ingest(name)
            infer(name)
            join(name)
            dataset = catalog.load(name)
            rows = as_examples(Table(name, "examples").read())
            for model in dataset.models:
                ours = timed(functools.partial(fold, name, model))
                bare = timed(functools.partial(learn_plainly, dataset.models[model](), rows))
                found.setdefault(model, []).append((ours, bare))
    figures = []
    for model, pairs in found.items():
        ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        figures.append(Figure(f"learn a month: {model}", f"{ours:.2f} s, {ours - bare:+.2f} s", "bare learn_one loop", ratio))
    return figures


def learn_plainly(model: Any, rows: list[Any]) -> None:
    """Learn as one would with River alone."""
    for *_, label, x in rows:
        model.learn_one(x, label)


def ticks(repeat: int) -> list[Figure]:
    """A tick of 1,000 new events and 1,000 labels with three models, after little and after a month of history."""

    def tick(name: str, first: int) -> float:
        rows = flights(first=first).filter(pl.col("label").is_not_null()).head(1_000)
        land(name, "events", events(rows), str(first))
        land(name, "labels", labels(rows), str(first))
        return timed(lambda: run(name))

    def once() -> tuple[float, float]:
        with place() as name:
            tick(name, 10)
            little = tick(name, 11)
        with place() as name:
            learned(name)
            tick(name, 10)
            return tick(name, 11), little

    ours, _, ratio = median(repeat, once)
    return [Figure("a tick of 1,000 events and labels, after 27,000 events", f"{ours:.2f} s", "the same after 1,000", ratio)]


def idling(repeat: int) -> list[Figure]:
    """A tick with nothing new, in process and as a command."""
    with place() as name:
        learned(name)
        assert not pending(name)
        inside = statistics.median(timed(lambda: run(name)) for _ in range(20))
        command = [sys.executable, "-m", "benchmarks.idle"]
        outside = statistics.median(timed(lambda: subprocess.run(command, check=True)) for _ in range(repeat))
        plain = [sys.executable, "-c", "import polars"]
        nothing = statistics.median(timed(lambda: subprocess.run(plain, check=True)) for _ in range(repeat))
    return [
        Figure("an idle tick, in process", f"{inside * 1000:.0f} ms", "–", None),
        Figure("an idle tick, `millrace run` as a process", f"{outside:.2f} s", "python -c 'import polars'", outside / nothing),
    ]


ALL: dict[str, Callable[[int], list[Figure]]] = {
    "ingest": ingestion,
    "infer": inference,
    "learn": learning,
    "tick": ticks,
    "idle": idling,
}
