"""What does memory cost: beside River's own transformers, and at a million keys?"""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from river import feature_extraction, linear_model, stats, utils
from river.base import Classifier

from benchmarks.figures import Figure, median, peak, timed
from benchmarks.place import FLIGHTS, environment, land
from millrace import Dataset, Schema, catalog, remembered
from millrace.casting import UTC_MICROSECONDS
from millrace.memory import mean, total
from millrace.remembered import EVENTS_AT_ONCE, Remembered
from millrace.run import run
from millrace.tables import Table

_WINDOWS: list[tuple[Any, tuple[str, ...], timedelta]] = [
    (total, ("origin",), timedelta(hours=1)),
    (mean, ("carrier",), timedelta(hours=1)),
    (total, ("dest",), timedelta(days=1)),
    (mean, ("carrier", "origin"), timedelta(days=1)),
    (mean, ("dest",), timedelta(days=7)),
]
_RIVERS = {total: stats.Sum, mean: stats.Mean}
_KEYS = (1_000, 1_000_000)
_EVENTS = 1_000
_SECOND, _HOUR = 1_000_000, 3_600_000_000
"""In microseconds."""
_CARDS = '''"""Will this payment be charged back?"""

import polars as pl
from river import linear_model

from millrace import Dataset, Schema, count, high, mean, since, total


def model():
    return linear_model.LogisticRegression()


dataset = Dataset(
    task="binary",
    event=Schema({"card": pl.Int64, "amount": pl.Float64}),
    label=pl.Boolean,
    features=[pl.col("amount")],
    models={"model": model},
    loss="log",
    memory=[
        count().by("card").last("1h"),
        total("amount").by("card").last("1d"),
        since().by("card"),
        mean("amount").by("card"),
        high("amount").by("card").last("7d"),
    ],
)
'''


def model() -> Classifier:
    """Build any model: it is not asked."""
    return linear_model.LogisticRegression()


def memory(repeat: int) -> list[Figure]:
    """Five windows over a month of flights; a whole tick at a million keys, beside a thousand: as many keys are touched."""
    ours, bare, ratio = median(repeat, _month)
    found = [Figure("memory, five windows over a month of flights", f"{ours:.2f} s", f"River's loop {bare:.2f} s", ratio)]
    with tempfile.TemporaryDirectory() as folder, environment(Path(folder)):
        few = _Cards(_KEYS[0])
        before = peak()
        many = _Cards(_KEYS[1])
        pairs = [(many.tick(), few.tick()) for _ in range(max(9, repeat))]
        size, grown = remembered.path(many.name).stat().st_size, peak() - before
    for place, what in enumerate(("a tick", "processor time of a tick")):
        taken = [(a[place], b[place]) for a, b in pairs]
        large, small, ratio = median(len(taken), iter(taken).__next__)
        said = f"{1000 * large:.0f} ms, file {size / 1e6:.0f} MB, {grown:.0f} MB of memory more"
        found.append(
            Figure(f"{what} of 1,000 events, memory of 1,000,000 keys", said, f"of 1,000 keys {1000 * small:.0f} ms", ratio)
        )
    return found


def _month() -> tuple[float, float]:
    frame = pl.read_parquet(FLIGHTS).sort("event_time")
    x = frame.select("carrier", "origin", "dest", "distance")
    moment = pl.col("event_time").cast(UTC_MICROSECONDS)
    events = frame.select("event_id", moment, moment.alias("clock")).with_columns(x.to_struct("raw"))
    dataset = Dataset(
        task="binary",
        event=Schema(dict(x.schema)),
        label=pl.Boolean,
        features=[pl.all().exclude("event_id", "event_time")],
        models={"model": model},
        loss="log",
        memory=[of("distance").by(*by).last(period) for of, by, period in _WINDOWS],
    )
    rivers = [feature_extraction.Agg("distance", [*by], utils.TimeRolling(_RIVERS[of], period=p)) for of, by, p in _WINDOWS]
    rows, times = x.to_dicts(), [moment.replace(tzinfo=None) for moment in events["event_time"]]

    def ours() -> None:
        with Remembered(dataset, apart=True) as memory:
            for start in range(0, events.height, EVENTS_AT_ONCE):
                memory.fold(events.slice(start, EVENTS_AT_ONCE), x.slice(start, EVENTS_AT_ONCE), start)
                memory.keep(start + EVENTS_AT_ONCE)

    def bare() -> None:
        for row, moment in zip(rows, times, strict=True):
            for one in rivers:
                one.transform_one(row)
                one.learn_one(row, t=moment)

    return timed(ours), timed(bare)


class _Cards:
    """Payments by so many cards, each of which has paid once."""

    def __init__(self, keys: int) -> None:
        self.name, self._random, self._keys, self._ticks = f"cards_{keys}", np.random.default_rng(1), keys, 0
        (Path(os.environ["MILLRACE_DATASETS"]) / f"{self.name}.py").write_text(_CARDS)
        self.tick(1)
        at = Table(self.name, "features").cursor("infer")
        for start in range(0, keys, EVENTS_AT_ONCE):
            self._remember(np.arange(start, min(start + EVENTS_AT_ONCE, keys)), at)

    def tick(self, count: int = _EVENTS) -> tuple[float, float]:
        """Let so many cards pay, of those that there are; return what a tick takes: seconds, and those of the processor."""
        self._ticks += 1
        cards = self._random.permutation(self._keys)[:count]
        rows = self._payments(cards, self._ticks * _HOUR + _SECOND * np.arange(count))
        land(self.name, "events", rows, f"{self._ticks:04}")
        begun, spent = time.perf_counter(), time.process_time()
        report = run(self.name)
        taken = time.perf_counter() - begun, time.process_time() - spent
        assert report.infer and report.infer.events == count
        return taken

    def _payments(self, cards: np.ndarray, after: Any) -> pl.DataFrame:
        begin = pl.Series([datetime(2026, 1, 1, tzinfo=UTC)]).cast(UTC_MICROSECONDS)
        moments = pl.select(begin + pl.Series(np.atleast_1d(after)).cast(pl.Duration("us"))).to_series()
        ids = [f"{self._ticks}-{card}" for card in cards]
        amounts = self._random.uniform(1, 100, len(cards)).round(2)
        return pl.DataFrame({"event_id": ids, "event_time": moments, "card": cards, "amount": amounts})

    def _remember(self, cards: np.ndarray, at: int) -> None:
        """Fold payments that are not among the events, so that there is memory of many without a long history."""
        rows = self._payments(cards, np.zeros(len(cards), np.int64))
        raw = rows.select("card", "amount")
        with Remembered(catalog.load(self.name)) as remembered:
            events = rows.select("event_id", "event_time", clock="event_time", raw=raw.to_struct())
            remembered.follow()
            remembered.fold(events, raw.select("amount"), at)
            remembered.keep(at)
