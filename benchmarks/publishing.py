"""Does publishing cost more the more versions there are, and what does it cost to remove them?"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.figures import Figure, peak, timed
from benchmarks.place import flights, land_by_day, place
from millrace import catalog, publish, retention
from millrace.run import run
from millrace.tables import Table

MANY = 5_000
MODELS = ("prior", "logistic", "tree")
_TABLES = {
    "logged_models": "model_id",
    "logged_model_tags": "model_id",
    "inputs": "destination_id",
    "model_versions": "version",
    "model_version_tags": "version",
}


def publishing(repeat: int) -> list[Figure]:
    """Publish three models, with aliases and metrics, beside few versions and beside five thousand; then remove these."""
    with place() as name:
        land_by_day(name, flights().head(1_000))
        run(name)
        few = statistics.median(timed(lambda: _publish(name)) for _ in range(5 * repeat))
        _multiply(name, MANY)
        many = statistics.median(timed(lambda: _publish(name)) for _ in range(5 * repeat))
        before, disk = peak(), _disk()
        report = retention.RetentionReport([], {})
        took = timed(lambda: vars(report).update(vars(retention.apply(catalog.load(name)))))
        grown, left = peak() - before, _disk()
    removed = f"{disk / 1e6:.0f} MB on disk before, {left / 1e6:.0f} MB after with {report.kept} kept; {grown:.0f} MB of memory"
    return [
        Figure(f"publish three models, {MANY:,} versions in MLflow", f"{many * 1000:.0f} ms", "with some twenty", many / few),
        Figure(f"remove {len(report.versions):,} versions", f"{took:.1f} s", removed, None),
    ]


def _publish(name: str) -> None:
    report = publish.publish(name, again=MODELS)
    assert len(report.versions) == len(MODELS), report


def _disk() -> int:
    root = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")).parent
    return sum(path.stat().st_blocks * 512 for path in root.rglob("*"))


def _multiply(name: str, versions: int) -> None:
    """Copy the newest version in MLflow, with its files and its checkpoint, until there are so many."""
    path = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
    with sqlite3.connect(path, timeout=20) as database:
        newest, source = database.execute("SELECT version, source FROM model_versions ORDER BY version DESC LIMIT 1").fetchone()
        model_id = source.removeprefix("models:/")
        numbers = range(newest + 1, versions + 1)
        for table, key in _TABLES.items():
            known = newest if key == "version" else model_id
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            rows = database.execute(f"SELECT * FROM {table} WHERE {key} = ?", (known,)).fetchall()
            copies = [_copy(row, columns, number, model_id) for number in numbers for row in rows]
            database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})", copies)
    folder = next(path.parent.glob(f"artifacts/*/models/{model_id}"))
    for number in numbers:
        shutil.copytree(folder, folder.with_name(_model_id(number)))
    checkpoints = Table(name, "checkpoints")
    row = checkpoints.read(where=pl.col("version") == newest)
    checkpoints.append(row.drop("version").join(pl.DataFrame({"version": list(numbers)}), how="cross").select(row.columns), {})


def _copy(row: tuple[Any, ...], columns: list[str], number: int, model_id: str) -> list[Any]:
    other = [value.replace(model_id, _model_id(number)) if isinstance(value, str) else value for value in row]
    for column, value in {"version": number, "input_uuid": f"{number:032}"}.items():
        if column in columns:
            other[columns.index(column)] = value
    return other


def _model_id(number: int) -> str:
    return f"m-{number:032}"
