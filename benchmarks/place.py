"""Where does a benchmark run? In folders of its own, on flights of its own."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl

CHECKOUT = Path(__file__).parent.parent
FLIGHTS = CHECKOUT / "datasets" / "data" / "flights.parquet"
MODELS = '{"logistic": logistic, "tree": hoeffding, "forest": trees}'
TREE = """def hoeffding() -> Classifier:
    return tree.HoeffdingTreeClassifier()


dataset = Dataset("""
EXPECT = """    expect=[
        expect.column_values_to_be_in_set("origin", ["EWR", "JFK", "LGA"]),
        expect.column_values_to_not_be_null("carrier"),
        expect.column_values_to_match_regex("carrier", "^[A-Z0-9]{2}$"),
        expect.column_value_lengths_to_equal("dest", 3),
        expect.column_values_to_match_regex("dest", "^[A-Z]+$"),
        expect.column_values_to_not_be_in_set("dest", ["EWR", "JFK"]),
        expect.column_values_to_be_between("precip", 0, 10),
        expect.column_values_to_be_between("visib", 0, 10),
        expect.column_mean_to_be_between("distance", 500, 2000),
        expect.column_values_to_be_unique("event_id"),
    ],
"""


@contextmanager
def place(expectations: bool = False) -> Iterator[str]:
    """Enter an empty place with the dataset ``flights``, three models, and ten expectations or none; its name is given."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, environment(Path(folder)) as root:
        text = (CHECKOUT / "datasets" / "flights.py").read_text()
        text = re.sub(r"models=\{.*?\}", f"models={MODELS}", text, flags=re.DOTALL)
        text = text.replace("dataset = Dataset(", TREE).replace("preprocessing, stats", "preprocessing, stats, tree")
        text = re.sub(r"    expect=.*\n", EXPECT if expectations else "", text)
        (root / "datasets" / "flights.py").write_text(text.replace('"data/flights.parquet"', repr(str(FLIGHTS))))
        yield "flights"


@contextmanager
def environment(root: Path) -> Iterator[Path]:
    """Let every setting point into a folder."""
    before = dict(os.environ)
    for name in ("landing", "outbox", "root", "cache", "datasets"):
        (root / name).mkdir()
        os.environ[f"MILLRACE_{name.upper()}"] = str(root / name)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlruns/mlflow.db"
    try:
        yield root
    finally:
        os.environ.clear()
        os.environ.update(before)


def flights(months: int = 1, first: int = 0) -> pl.DataFrame:
    """Return January's flights, again and again with new ids and later times, each month after the one before."""
    january = pl.read_parquet(FLIGHTS)
    later = [
        january.with_columns(
            pl.format("{}-{}", pl.lit(f"{first + i:03}"), "event_id").alias("event_id"),
            pl.col("event_time", "label_time") + timedelta(days=32 * (first + i)),
        )
        for i in range(months)
    ]
    return pl.concat(later)


def land(name: str, kind: str, rows: pl.DataFrame, file: str) -> bytes:
    """Put rows into the landing folder as NDJSON; return the bytes."""
    times = [pl.col(c).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for c, t in rows.schema.items() if isinstance(t, pl.Datetime)]
    data = rows.with_columns(times).write_ndjson().encode()
    path = Path(os.environ["MILLRACE_LANDING"]) / name / f"{kind}-{file}.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def land_by_day(name: str, rows: pl.DataFrame) -> None:
    """Put rows into the landing folder as they come: each day's events, then its labels."""
    answers = labels(rows)
    days = pl.concat([rows["event_time"], answers["label_time"]]).dt.truncate("1d").unique().sort()
    for day in days:
        for kind, part, time in (("events", events(rows), "event_time"), ("labels", answers, "label_time")):
            today = part.filter(pl.col(time).dt.truncate("1d") == day)
            if today.height:
                land(name, kind, today, f"{day:%Y-%m-%d}")


def events(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of an event's file."""
    return rows.drop("label", "label_time")


def labels(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the labels of those that are answered, in the order of their answers."""
    return rows.filter(pl.col("label").is_not_null()).sort("label_time").select("event_id", "label", "label_time")
