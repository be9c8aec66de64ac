"""Measure the figures and show them: ``python -m benchmarks [--only NAME] [--repeat N] [--write]``."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import figures, learning
from benchmarks.depth import depth
from benchmarks.figures import Figure
from benchmarks.memory import memory
from benchmarks.place import CHECKOUT
from benchmarks.publishing import publishing
from benchmarks.race import race
from benchmarks.validation import curve, validation, waiting
from millrace.clock import now

ALL: dict[str, Callable[[int], list[Figure]]] = {
    "ingest": figures.ingestion,
    "history": figures.bringing_in,
    "infer": figures.inference,
    "month": learning.month,
    "year": learning.year,
    "job": learning.job,
    "validate": validation,
    "curve": curve,
    "waiting": waiting,
    "tick": figures.ticks,
    "depth": depth,
    "idle": figures.idling,
    "memory": memory,
    "publish": publishing,
    "race": race,
}


def main() -> None:
    """Measure, show, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=ALL, help="one part")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured; the median counts")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md anew")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    out, found = Console(), list[Figure]()
    for name in [asked.only] if asked.only else ALL:
        out.print(f"[dim]measuring {name} …[/]")
        found.extend(ALL[name](asked.repeat))
    table = Table("figure", "measured", "beside", "ratio", box=box.SIMPLE_HEAD)
    for row in found:
        table.add_row(row.what, row.value, row.peer, _ratio(row))
    out.print(table)
    if asked.write:
        (CHECKOUT / "docs" / "benchmarks.md").write_text(page(found, asked.repeat))


def _ratio(figure: Figure) -> str:
    return "–" if figure.ratio is None else f"{figure.ratio:.2f} ×"


def page(found: list[Figure], repeat: int) -> str:
    """Return the text of the page."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("river", "polars", "deltalake", "mlflow", "great-expectations"))
    rows = "\n".join(f"| {row.what} | {row.value} | {row.peer} | {_ratio(row)} |" for row in found)
    load = f"shared with other work, load {os.getloadavg()[2]:.1f} over the last 15 minutes"
    machine = f"{os.cpu_count()} cores ({processor()}; {load}), Python {platform.python_version()}"
    return f"""# Benchmarks

Written by `.venv/bin/python -m benchmarks --write` (`make bench` shows the same without writing), medians of {repeat},
on {now():%Y-%m-%d}, {machine},
{libraries}. A ratio is against the peer in the same run, pair by pair: trust it more than the times, which depend on the machine.

| figure | measured | beside | ratio |
| --- | --- | --- | --- |
{rows}

The peers do less: Polars and Delta neither check a row nor know its id (its index is counted); a bare loop, of River's own
classes, has its rows as dicts in memory, keeps nothing, and is gone with its process. A month is January's 27,004 flights; the
models are `logistic` and `forest` (ten trees) of `datasets/flights.py`, and a Hoeffding tree.
"""


def processor() -> str:
    """Return the processor's name, or its kind where the system does not tell."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", told.read_text()) if told.exists() else None
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
