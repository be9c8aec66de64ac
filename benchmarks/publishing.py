"""Does a version cost more to publish the more versions there are?"""

from __future__ import annotations

import os
import sqlite3
import statistics

from benchmarks.figures import Figure, timed
from benchmarks.place import flights, land_by_day, place
from millrace import catalog, checkpoints
from millrace.checkpoints import Checkpoint
from millrace.registry import Registry
from millrace.run import run
from millrace.tables import Table

MANY = 5_000
_TABLES = {
    "model_versions": "version",
    "model_version_tags": "version",
    "logged_models": "model_id",
    "logged_model_tags": "model_id",
}


def publishing(repeat: int) -> list[Figure]:
    """Publish a small model, and move its alias, with few versions in the registry and with five thousand."""
    with place() as name:
        land_by_day(name, flights().head(1_000))
        run(name)
        registry = Registry(catalog.load(name))
        table = Table(name, "checkpoints")
        last = checkpoints.published(table, ["logistic"])["logistic"]
        data = checkpoints.read_state(name, last.sha256)
        few = statistics.median(timed(lambda: _publish(registry, last, data)) for _ in range(5 * repeat))
        _multiply(MANY)
        many = statistics.median(timed(lambda: _publish(registry, last, data)) for _ in range(5 * repeat))
    ratio = many / few
    return [Figure(f"publish a small model, {MANY:,} versions in MLflow", f"{many * 1000:.0f} ms", "with some twenty", ratio)]


def _publish(registry: Registry, last: Checkpoint, data: bytes) -> None:
    known = {"fingerprint": last.fingerprint, "sha256": last.sha256, "digest": last.digest, "run_id": last.run_id or ""}
    version = registry.publish(last.model, data, seq=last.seq, description="a benchmark", tags={}, **known)
    registry.alias(last.model, version.number)


def _multiply(versions: int) -> None:
    """Copy the newest version in MLflow's database until there are so many."""
    with sqlite3.connect(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")) as database:
        newest, source = database.execute("SELECT version, source FROM model_versions ORDER BY version DESC LIMIT 1").fetchone()
        known = {"version": newest, "model_id": source.removeprefix("models:/")}
        for table, key in _TABLES.items():
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            rows = database.execute(f"SELECT * FROM {table} WHERE {key} = ?", (known[key],)).fetchall()
            place = columns.index(key)
            copies = [
                (*row[:place], newest + i if key == "version" else f"m-{i:032}", *row[place + 1 :])
                for i in range(1, versions - newest + 1)
                for row in rows
            ]
            database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})", copies)
