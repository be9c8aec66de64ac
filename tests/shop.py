"""A small dataset for tests: will this order be sent back?

What arrives is written as a table, a row a line, in order of arrival::

    event  a  10:00  amount=30 country=DE
    label  a  12:00  true
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from millrace import landing
from millrace.run import RunReport, pending, run
from millrace.status import Status, status
from millrace.tables import Table

TEXT = '''"""Will this order be sent back?"""

from datetime import timedelta

import polars as pl
from river import compose, linear_model, preprocessing

from millrace import Column, Dataset, Labels, Race, Schema


def logistic():
    numbers = compose.Select("amount") | preprocessing.StandardScaler()
    words = compose.Select("country") | preprocessing.OneHotEncoder()
    return (numbers + words) | linear_model.LogisticRegression()


def other():
    return compose.Select("amount") | linear_model.LogisticRegression(l2=0.25)


dataset = Dataset(
    task="binary",
    event=Schema({"amount": Column(pl.Float64, between=(0, 1000)), "country": Column(pl.String, known=["DE", "FR", "IT"])}),
    label=pl.Boolean,
    features=[pl.col("amount"), pl.col("country")],
    models={"logistic": logistic},
    loss="log",
    metrics=["Accuracy"],
    cadence=timedelta(hours=1),
    labels=Labels(window=timedelta(days=1)),
    race=Race(minimum=5, cooldown=5, level=1),
)
'''


class Shop:
    """A landing folder, and what becomes of what is put there."""

    name = "shop"

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place / "datasets" / "shop.py"
        self._clock = 0
        self.define(TEXT)

    def define(self, text: str) -> None:
        """Write the dataset's file."""
        self.path.write_text(text)

    def change(self, old: str, new: str) -> None:
        """Change the dataset's file in one place."""
        text = self.path.read_text()
        assert text.count(old) == 1, old
        self.define(text.replace(old, new))

    def afresh(self, store: Path) -> Shop:
        """Forget all that arrived, and begin again with an empty MLflow store."""
        for name in ("landing", "outbox", "root", "cache", "mlruns"):
            shutil.rmtree(self.place / name, ignore_errors=True)
            (self.place / name).mkdir()
        shutil.copy(store, self.place / "mlruns" / "mlflow.db")
        return Shop(self.place)

    def put(self, file: str, content: bytes | str) -> Path:
        """Put a file into the landing folder, later than those before it."""
        path = landing.folder(self.name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._clock += 1
        os.utime(path, (1_800_000_000 + self._clock, 1_800_000_000 + self._clock))
        return path

    def arrive(self, table: str, day: str = "2026-01-05") -> None:
        """Let rows arrive in this order: each stretch of events, or of labels, is a file."""
        lines = [line.split() for line in table.strip().splitlines()]
        for kind, rows in _stretches(lines):
            written = b"".join(orjson.dumps(_row(row, day)) + b"\n" for row in rows)
            self.put(f"{kind}s-{self._clock + 1:04d}.ndjson", written)

    def tick(self) -> RunReport:
        """Make a tick."""
        return run(self.name)

    def pending(self) -> bool:
        """Tell whether a tick would find anything to do."""
        return pending(self.name)

    def status(self) -> Status:
        """Return where it stands, and check the accounts: every row is somewhere, once."""
        found = status(self.name)
        assert found.rows == found.events + found.labels + found.quarantined + found.duplicates
        return found

    def table(self, name: str) -> pl.DataFrame:
        """Return a table."""
        return Table(self.name, name).read()

    def log(self) -> list[tuple[int, str, Any]]:
        """Return the ground-truth log: ``seq``, ``event_id``, ``label``."""
        return list(self.table("examples").select("seq", "event_id", "label").iter_rows())

    def reasons(self) -> dict[str, list[str]]:
        """Return why rows are in quarantine, by event id."""
        rows = self.table("quarantine").select("event_id", "reasons").iter_rows()
        return dict(rows)

    def digests(self) -> dict[str, tuple[int, str | None]]:
        """Return each model's place in the log, and the digest of its state."""
        return {name: (model.seq, model.digest) for name, model in status(self.name).models.items()}


def _stretches(lines: list[list[str]]) -> list[tuple[str, list[list[str]]]]:
    found: list[tuple[str, list[list[str]]]] = []
    for kind, *row in lines:
        if not found or found[-1][0] != kind:
            found.append((kind, []))
        found[-1][1].append([kind, *row])
    return found


def _row(row: list[str], day: str) -> dict[str, Any]:
    kind, event_id, time, *rest = row
    moment = time if "T" in time else f"{day}T{time}:00Z"
    if kind == "label":
        return {"event_id": event_id, "label": rest[0], "label_time": moment}
    given = dict(part.split("=") for part in rest)
    amount = float(given["amount"]) if "amount" in given else 30.0
    return {"event_id": event_id, "event_time": moment, "amount": amount, "country": given.get("country", "DE")}
