"""What does a long history cost? A tick, and a replay, after ten million examples.

The history is not lived through: its rows are put into the tables as the stages would have left them, after a beginning that
was; its cursors, checkpoints and the race stand at its end.
"""

from __future__ import annotations

import os
import pickle
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.figures import Figure, timed
from benchmarks.place import environment, land
from millrace import catalog, checkpoints, layout, models
from millrace.clock import microseconds, now
from millrace.run import run
from millrace.standings import Race
from millrace.tables import Table

DEEP, SHALLOW, NEW, AT_ONCE = 10_000_000, 10_000, 1_000, 500_000
START = datetime(2020, 1, 1, tzinfo=UTC)
TEXT = '''"""Will it sell?"""

from datetime import timedelta

import polars as pl
from river import compose, linear_model, preprocessing

from millrace import Dataset, Labels, Schema


def logistic():
    numbers = compose.Select("price", "weight") | preprocessing.StandardScaler()
    return (numbers + (compose.Select("shop") | preprocessing.OneHotEncoder())) | linear_model.LogisticRegression()


dataset = Dataset(
    task="binary",
    event=Schema({"price": pl.Float64, "weight": pl.Float64, "shop": pl.String}),
    label=pl.Boolean,
    features=[pl.col("price", "weight", "shop")],
    models={"logistic": logistic},
    loss="log",
    labels=Labels(window=timedelta(days=2)),
    cadence=timedelta(hours=1),
)
'''


def rows(first: int, height: int) -> pl.DataFrame:
    """Return events and their answers, an hour later; ten million are a year."""
    i = pl.int_range(first, first + height, eager=True)
    moment = (pl.lit(START) + pl.duration(microseconds=pl.lit(i) * 3_153_600)).cast(pl.Datetime("us", "UTC"))
    return pl.select(
        pl.format("s{}", i.cast(pl.String).str.zfill(9)).alias("event_id"),
        moment.alias("event_time"),
        ((i * 7919 % 1000) / 10).alias("price"),
        ((i * 104729 % 997) / 7).alias("weight"),
        pl.format("shop-{}", i % 20).alias("shop"),
        (i * 31 % 7 < 3).alias("label"),
        (moment + timedelta(hours=1)).alias("label_time"),
    )


@contextmanager
def place(history: int) -> Iterator[str]:
    """Enter a place with so many examples of history; the dataset's name is given."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, environment(Path(folder)):
        (Path(folder) / "datasets" / "sales.py").write_text(TEXT)
        arrive(0, NEW)
        for first in range(NEW, history, AT_ONCE):
            graft(first, min(AT_ONCE, history - first))
        stand(history)
        arrive(history, NEW)  # the index of ids follows
        yield "sales"


def arrive(first: int, height: int) -> None:
    """Let events and their answers arrive, and make a tick."""
    land_rows(first, height)
    run("sales")


def land_rows(first: int, height: int) -> None:
    """Put events and their answers into the landing folder."""
    new = rows(first, height)
    land("sales", "events", new.drop("label", "label_time"), f"{first:09}")
    land("sales", "labels", new.select("event_id", "label", "label_time"), f"{first:09}")


def graft(first: int, height: int) -> None:
    """Put history into the tables, as a tick would have left it: two files, the events first."""
    files = Table("sales", "files")
    number, arrival, seq = files.cursor("files"), files.cursor("arrival"), Table("sales", "examples").cursor("seq")
    whole = rows(first, height).with_columns(
        pl.int_range(arrival + 1, arrival + 1 + height).alias("arrival"),
        pl.int_range(arrival + 1 + height, arrival + 1 + 2 * height).alias("label_arrival"),
        pl.int_range(seq + 1, seq + 1 + height).alias("seq"),
        pl.int_range(1, height + 1).alias("line"),
        pl.max_horizontal("event_time", pl.lit(START + timedelta(microseconds=(first - 1) * 3_153_600, hours=1))).alias("clock"),
        pl.struct("price", "weight", "shop").alias("raw"),
    )
    whole = whole.with_columns(
        pl.col("raw").alias("x"), pl.lit("natural").alias("label_source"), pl.lit(False).alias("correction")
    )
    labels = whole.with_columns(pl.col("label_arrival").alias("arrival"), pl.col("label_time").alias("clock"))
    last = arrival + 2 * height
    put("events", whole.with_columns(file=pl.lit(number + 1)), {"ingest": number + 2, "arrival": last})
    put("labels", labels.with_columns(file=pl.lit(number + 2)), {"ingest": number + 2, "arrival": last})
    put("quarantine", whole.clear(), {"ingest": number + 2, "arrival": last})
    put("features", whole.with_columns(versions=pl.lit("{}")), {"infer": last})
    examples = whole.with_columns(event_arrival="arrival", arrival="label_arrival", weight=pl.lit(1.0), clock="label_time")
    clock = microseconds(labels["clock"][-1])
    put("examples", examples, {"join": last, "seq": seq + height, "clock": clock})
    ends = {"mature": last, "number": seq + height, "seq": seq + height, "clock": clock}
    put("outcomes", examples.with_columns(number="seq"), ends)
    shares = [
        pl.lit([False, True]).alias("classes"),
        pl.lit([0.6, 0.4]).alias("probabilities"),
        pl.lit(False).alias("prediction"),
    ]
    known = {
        "version": pl.lit(1),
        "served": pl.lit(False),
        "origin": pl.lit("live"),
        "answered": pl.lit(False),
        "at": pl.lit(now()),
    }
    said = pl.concat([whole.with_columns(*shares, model=pl.lit(model), **known) for model in ("prior", "logistic")]).sort("seq")
    table = Table("sales", "predictions")
    counts = {f"predictions/{m}": table.cursor(f"predictions/{m}") + height for m in ("prior", "logistic")}
    put("predictions", said, {"infer": last} | counts)
    each = {"rows": height, "good": height}
    names = {number + 1: "events", number + 2: "labels"}
    taken = [{"number": n, "name": f"{kind}-{first}", "kind": kind, "sha256": str(n), **each} for n, kind in names.items()]
    put("files", pl.DataFrame(taken), {"files": number + 2, "arrival": last, "clock": clock})


def put(table: str, frame: pl.DataFrame, cursors: dict[str, int]) -> None:
    """Append rows with the columns that the table has; null where they are not given."""
    schema = layout.schemas(catalog.load("sales"))[table]
    columns = [pl.col(n).cast(t) if n in frame.columns else pl.lit(None, dtype=t).alias(n) for n, t in schema.items()]
    Table("sales", table).append(frame.select(columns), cursors)


def stand(seq: int) -> None:
    """Let the models and the race stand at a place of the log."""
    table = Table("sales", "checkpoints")
    for model, one in checkpoints.newest(table, ["prior", "logistic"]).items():
        version = checkpoints.published(table, [model])[model]
        checkpoints.advance(Table("sales", "checkpoints"), replace(one, seq=seq))
        checkpoints.publish(Table("sales", "checkpoints"), [replace(version, seq=seq)])
    standings = Table("sales", "standings")
    last = standings.read().tail(2).with_columns(seq=pl.lit(seq), outcome=pl.lit(seq), sha256=pl.lit(_race()))
    standings.append(last, {"matured": seq, "seq": seq})


def _race() -> str:
    standings = Table("sales", "standings")
    race: Race = pickle.loads(checkpoints.read_state("sales", standings.read("sha256")["sha256"][-1]))
    return checkpoints.write_state("sales", pickle.dumps(race, protocol=5))


def depth(repeat: int) -> list[Figure]:
    """A tick of 1,000 new events and labels after ten million examples and after ten thousand; memory and time of a replay."""
    ticks: dict[int, float] = {}
    for history in (SHALLOW, DEEP):
        with place(history) as name:
            ticks[history] = statistics.median(_tick(name, history + i * NEW) for i in range(1, max(repeat, 3) + 1))
            told = _told(name, history + NEW * 3)
            replayed = measured_replay()
    tick = "a tick of 1,000 events and labels, after 10 million examples"
    replay = "peak memory of a replay of 10 million examples (`prior`)"
    said = f"{replayed['memory']:.0f} MB, {replayed['rate']:,.0f} examples/s"
    return [
        Figure(tick, f"{ticks[DEEP]:.2f} s", "after 10 thousand", ticks[DEEP] / ticks[SHALLOW]),
        Figure(replay, said, "beyond a process that has imported everything", None),
        Figure("explain one event among 10 million, from enter to the end", f"{told:.2f} s", "–", None),
    ]


def _tick(name: str, first: int) -> float:
    land_rows(first, NEW)
    return timed(lambda: run(name))


def _told(name: str, event: int) -> float:
    """Return how long the command takes that explains an event, with each prediction made again; of three times the median."""
    command = [str(Path(sys.executable).with_name("millrace")), "explain", name, f"s{event:09}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "logistic" in told.stdout
    return statistics.median(timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3))


def measured_replay() -> dict[str, float]:
    """Fold ten million examples in a process of their own; return its peak memory beyond imports, in MB, and its rate."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.depth"], check=True, capture_output=True, text=True, env=os.environ
    )
    before, after, seconds, count = map(float, answer.stdout.split())
    return {"memory": (after - before) / 1024, "rate": count / seconds}


def main() -> None:
    """Fold the log from nothing, without a change, and tell the peak memory before and after, in kB."""
    import river.linear_model  # noqa: F401 - what every fold has imported

    from millrace.proof import fold_again

    models.build(catalog.load("sales"), "prior")
    Table("sales", "examples").read("seq", where=pl.col("seq") < 1_000)
    before = peak()
    proofs: list[Any] = []  # only the fold: what these tables say beside it is not what the log gives
    seconds = timed(lambda: proofs.append(fold_again(catalog.load("sales"), "prior")))
    sys.stdout.write(f"{before} {peak()} {seconds} {proofs[0].folded}")


def peak() -> int:
    """Return the most memory that this process has held, in kB; what the system calls maxrss may be its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
