"""Orders are given by hand: who is champion, what is served, whether models learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task

from millrace import control
from tasks.artifacts import show

ORDERS: dict[str, Callable[..., Any]] = {
    "promote": control.promote,
    "rollback": control.rollback,
    "pin": control.pin,
    "pause": control.pause,
}


@task(task_run_name="{action}-{dataset}")
async def give(action: str, dataset: str, **named: Any) -> list[str]:
    """Give an order, and show what it did. Return what did not work: the order is on record, and trying again would repeat it."""
    report = ORDERS[action](dataset, **named)
    await show(action, report)
    return list(getattr(report, "problems", []))
