"""What is a figure, and what do the stages cost?"""

from __future__ import annotations

import functools
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from deltalake import write_deltalake

from benchmarks.place import events, flights, labels, land, land_by_day, place
from millrace import catalog, features
from millrace.examples import as_examples
from millrace.expect import Expectation
from millrace.history import bring_in
from millrace.infer import infer
from millrace.ingest import ingest
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


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median(repeat: int, once: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
    """Return the medians of two times and of their ratio, pair by pair."""
    pairs = [once() for _ in range(repeat)]
    ours, peers = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(peers), statistics.median(a / b for a, b in pairs)


def ingestion(repeat: int) -> list[Figure]:
    """Rows a second of NDJSON with ids in time order, taken in and indexed, without and with expectations; small files."""
    rows = events(flights(months=7))
    new = rows.height - 100

    def once() -> tuple[float, float]:
        with taken_in(rows.head(100)) as name, tempfile.TemporaryDirectory() as folder:
            data = land(name, "events", rows.slice(100), "1")
            bare = timed(lambda: write_deltalake(folder, pl.read_ndjson(io.BytesIO(data)), mode="append"))
            return timed(lambda: indexed(name)), bare

    def checked(reading: bool) -> tuple[float, float]:
        with taken_in(rows.head(100), expectations=True) as name:
            data = land(name, "events", rows.slice(100), "1")
            frame = pd.read_json(io.BytesIO(data), lines=True)
            alone = timed(lambda: check_plainly(catalog.load(name).expect, frame))
            alone += timed(lambda: pd.read_json(io.BytesIO(data), lines=True)) if reading else 0
            return timed(lambda: indexed(name)), alone

    def small() -> tuple[float, float]:
        with taken_in(rows.head(100)) as name:
            for i in range(1_000):
                land(name, "events", rows.slice(100 + i, 1), f"{i:04}")
            several = timed(lambda: indexed(name))
            land(name, "events", rows.slice(1_100, 1_000), "whole")
            return several, timed(lambda: indexed(name))

    plain, _, ratio = median(repeat, once)
    found = [Figure("ingest NDJSON, without expectations", f"{new / plain:,.0f} rows/s", "Polars reads, Delta writes", ratio)]
    for reading, peer in (
        (True, "pandas reads, Great Expectations checks"),
        (False, "Great Expectations alone, on rows in memory"),
    ):
        ours, _, ratio = median(repeat, functools.partial(checked, reading))
        found.append(Figure("ingest NDJSON, with ten expectations", f"{new / ours:,.0f} rows/s", peer, ratio))
    several, _, ratio = median(repeat, small)
    return [*found, Figure("ingest 1,000 files of a row", f"{several:.1f} ms a file", "the rows in one file", ratio)]


@contextmanager
def taken_in(rows: pl.DataFrame, expectations: bool = False) -> Iterator[str]:
    """Enter a place where some rows were taken in: imports and empty tables are not what is measured."""
    with place(expectations) as name:
        land(name, "events", rows, "0")
        indexed(name)
        yield name


def check_plainly(expectations: Sequence[Expectation], frame: pd.DataFrame) -> None:
    """Check a frame as one would with Great Expectations alone."""
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    suite = gx.ExpectationSuite(name="plain")
    for one in expectations:
        suite.expectations.append(get_expectation_impl(f"expect_{one.name}")(**one.arguments))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("plain").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("check").get_batch({"dataframe": frame})
    assert batch.validate(suite).success


def indexed(name: str) -> None:
    """Ingest, and let the index of ids follow, which else the next stage would pay for."""
    ingest(name)
    with WaitingRoom(name):
        pass


def learned(name: str) -> None:
    """Let January arrive, be predicted and learned."""
    land_by_day(name, flights())
    run(name)


def bringing_in(repeat: int) -> list[Figure]:
    """A year from Parquet, two files, brought in as history with all checks, before anything is learned."""

    def once() -> float:
        with place(expectations=True) as name, tempfile.TemporaryDirectory() as folder:
            year, files = flights(months=12), []
            for kind, rows in (("events", events(year)), ("labels", labels(year))):
                files.append(Path(folder) / f"{kind}.parquet")
                rows.write_parquet(files[-1])
            bring_in(name, [], [])  # imports and empty tables
            return timed(lambda: bring_in(name, files[:1], files[1:]))

    seconds = statistics.median(once() for _ in range(repeat))
    return [
        Figure("a year of flights brought in from Parquet, with all checks and ten expectations", f"{seconds:.1f} s", "–", None)
    ]


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
                [model.learn_one(x, label) for *_, label, _, x in examples]
            xs = features.rows(features.compute(dataset, month))
            ours = timed(lambda: infer(name))
            bare = timed(lambda: [[model.predict_proba_one(x) for x in xs] for model in plain])
            return ours, bare

    ours, _, ratio = median(repeat, once)
    return [Figure("infer a month with three models (and prior)", f"{ours:.2f} s", "bare predict_proba_one loops", ratio)]


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
