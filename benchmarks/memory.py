"""What does memory cost: beside River's own transformers, and at a million keys?"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from river import feature_extraction, linear_model, stats, utils
from river.base import Classifier

from benchmarks.figures import Figure, median, timed
from benchmarks.place import FLIGHTS, environment
from millrace import Dataset, Schema, remembered
from millrace.casting import UTC_MICROSECONDS
from millrace.memory import count, high, mean, since, total
from millrace.remembered import EVENTS_AT_ONCE, Remembered

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_WINDOWS: list[tuple[Any, tuple[str, ...], timedelta]] = [
    (total, ("origin",), _HOUR),
    (mean, ("carrier",), _HOUR),
    (total, ("dest",), _DAY),
    (mean, ("carrier", "origin"), _DAY),
    (mean, ("dest",), 7 * _DAY),
]
_RIVERS = {total: stats.Sum, mean: stats.Mean}
_KEYS = (1_000, 1_000_000)
_EVENTS = 1_000


def model() -> Classifier:
    """Build any model: it is not asked."""
    return linear_model.LogisticRegression()


def memory(repeat: int) -> list[Figure]:
    """Five windows over a month of flights; a tick's events at a million keys, beside a thousand."""
    ours, bare, ratio = median(repeat, _month)
    found = [Figure("memory, five windows over a month of flights", f"{ours:.2f} s", f"River's loop {bare:.2f} s", ratio)]
    with tempfile.TemporaryDirectory() as folder, environment(Path(folder)):
        few, many = (_Cards(keys) for keys in _KEYS)
        large, small, ratio = median(max(9, repeat), lambda: (timed(many.tick), timed(few.tick)))
        size = remembered.path(many.dataset.name).stat().st_size
    said = f"{1000 * large:.0f} ms, file {size / 1e6:.0f} MB"
    return [*found, Figure("memory, 1,000 events at 1,000,000 keys", said, f"at 1,000 keys {1000 * small:.0f} ms", ratio)]


def _month() -> tuple[float, float]:
    frame = pl.read_parquet(FLIGHTS).sort("event_time")
    x = frame.select("carrier", "origin", "dest", "distance")
    time = pl.col("event_time").cast(UTC_MICROSECONDS)
    events = frame.select("event_id", time, time.alias("clock")).with_columns(x.to_struct("raw"))
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
        self._random, self._keys, self._arrival = np.random.default_rng(1), keys, 0
        self.dataset = Dataset(
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
        self.dataset.found(f"cards-{keys}", Path(os.devnull), "")
        for start in range(0, keys, EVENTS_AT_ONCE):
            self._pay(np.arange(start, min(start + EVENTS_AT_ONCE, keys)))

    def tick(self) -> None:
        """Let a thousand cards pay, of those that there are."""
        self._pay(self._random.permutation(self._keys)[:_EVENTS])

    def _pay(self, cards: np.ndarray) -> None:
        arrivals = self._arrival + 1 + np.arange(len(cards))
        raw = pl.DataFrame({"card": cards, "amount": self._random.uniform(1, 100, len(cards)).round(2)})
        time = pl.Series(arrivals * 1_000_000).cast(UTC_MICROSECONDS)
        events = pl.DataFrame({"event_id": arrivals.astype(str), "event_time": time, "clock": time, "raw": raw.to_struct()})
        with Remembered(self.dataset) as memory:
            memory.fold(events, raw.select("amount"), self._arrival)
            self._arrival += len(cards)
            memory.keep(self._arrival)
