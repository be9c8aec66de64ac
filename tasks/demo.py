"""The demo: flights arrive, and what comes of it is shown while it runs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import millrace.demo
from millrace import catalog, screen
from millrace.demo import DATASET, Step
from millrace.errors import MillraceError
from millrace.registry import Registry
from millrace.run import pending
from millrace.status import status

steps = millrace.demo.steps


@task(task_run_name="arrive-{step.start:%Y-%m-%dT%H}")
async def arrive(step: Step) -> None:
    """Put a step's files into the landing folder."""
    millrace.demo.arrive(step)


class _Shown:
    """The bar in the terminal, and the same in the Prefect UI."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    async def track(self, steps: Iterable[Step]) -> AsyncIterator[Step]:
        """Yield the steps; show the simulated date, the champion and its loss after each."""
        todo = list(steps)
        artifact = await acreate_progress_artifact(0.0, key="demo-flights", description="The demo's simulated time")
        line = self._bar.add_task("flights", total=len(todo), now="", champion="")
        for done, step in enumerate(todo, 1):
            yield step
            champion = ", ".join(f"champion [bold]{name}[/] {loss:.4f}" for name, loss in millrace.demo.standing())
            self._bar.update(line, completed=done, now=f"{step.end:%d %b %Y %H:%M}", champion=champion)
            await aupdate_progress_artifact(artifact, progress=100.0 * done / len(todo))
            if not self._bar.console.is_terminal and (done % 10 == 0 or done == len(todo)):
                self._bar.console.print(f"{step.end:%d %b %Y %H:%M}  step {done} of {len(todo)}  {champion}")


@contextmanager
def begin() -> Iterator[_Shown]:
    """Show the bar while the demo runs."""
    columns = (
        TextColumn("{task.fields[now]:>17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[champion]}"),
    )
    with Progress(*columns, console=screen.console()) as bar:
        yield _Shown(bar)


def start(demo: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the demo from a terminal: tell what happens, what came of it, and what to open next."""
    out = screen.console()
    try:
        if not steps() and not pending(DATASET):
            out.print("The demo is done: every one of its files is taken in, and nothing is doubled by running it again.")
        else:
            out.print("Flights of January 2013 arrive: three weeks day by day, then two days hour by hour.")
            out.print("[dim]Starting Prefect and MLflow; this takes some seconds.[/]")
            logging.getLogger("prefect").setLevel(logging.CRITICAL)  # an error is told once, below
            asyncio.run(demo())
        end()
    except MillraceError as error:
        out.print(f"millrace: {error}")
        sys.exit(1)


def end() -> None:
    """Show what came of it, and what to open next."""
    out = screen.console()
    screen.status(status(DATASET))
    pages = Registry(catalog.load(DATASET)).pages()
    out.print(
        "\nOpen next:\n"
        "  .venv/bin/millrace status flights                   where everything stands\n"
        "  .venv/bin/millrace predictions flights | tail -3    what was served (files: outbox/flights/)\n"
        "  datasets/flights.py                                 the one file that all of this came from\n"
        f"  make mlflow      versions and aliases: http://127.0.0.1:5000{pages['model']}\n"
        f"                   the race: http://127.0.0.1:5000{pages['race']}\n"
        "  make prefect     the flows that ran: http://127.0.0.1:4200; beside it, make worker deploys their forms",
        soft_wrap=True,
    )
