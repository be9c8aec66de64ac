"""What has a person ordered of a dataset, and which of it is in force?

An order is a row: who is to be champion, at which version serving is frozen, whether models learn. It stands at a place of
the race, the number of labels that had been scored when it was given, and the race obeys it there, however often it is run:
so what a person decided is made again like everything else. The commands that give orders are in :mod:`millrace.control`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace import tables
from millrace.clock import now, write_moment
from millrace.errors import ConflictError
from millrace.tables import Table

PROMOTING = ("promote", "rollback")
"""The actions that make a model champion; with ``pin`` and ``unpin`` they concern the race."""
_PINNING, _PAUSING = ("pin", "unpin"), ("pause", "resume")


@dataclass(frozen=True)
class Intervention:
    """One order: a row of the table ``interventions``.

    Parameters
    ----------
    number
        1, 2, 3 … in the order in which they were given.
    action
        ``promote``, ``rollback``, ``pin``, ``unpin``, ``pause`` or ``resume``.
    model, version
        Who becomes champion, or whose version is served; None where the action names none.
    outcome, seq
        How many outcomes the race had scored, and where its log ended, when the order was given.
    reason, at
        Why, in the person's words; and when, on the machine's clock.
    """

    number: int
    action: str
    model: str | None
    version: int | None
    outcome: int
    seq: int
    reason: str
    at: datetime

    def __str__(self) -> str:
        since = f"since {write_moment(self.at)}: {self.reason}"
        if self.action == "pin":
            return f"pinned{f' at v{self.version} ({self.model})' if self.version is not None else ''} {since}"
        return f"paused {since}" if self.action == "pause" else f"{self.action} {self.model or ''}".rstrip() + f", {since}"


@dataclass(frozen=True)
class InForce:
    """The orders that hold now; None where there is none."""

    pin: Intervention | None = None
    pause: Intervention | None = None


def history(name: str) -> list[Intervention]:
    """Return all orders of a dataset, in order."""
    return _rows(Table(name, "interventions"), pl.lit(True))


def count(name: str) -> int:
    """Return how many orders there are, without reading them."""
    return Table(name, "interventions").cursor("intervene")


def _rows(table: Table, where: pl.Expr) -> list[Intervention]:
    return [Intervention(**row) for row in table.read(where=where).iter_rows(named=True)]


def in_force(name: str) -> InForce:
    """Return which orders hold now: at which version serving is frozen, and whether learning is paused."""
    table = Table(name, "interventions")
    if not table.cursor("intervene"):
        return InForce()
    last: dict[str, Intervention] = {}
    for one in _rows(table, pl.col("action").is_in([*_PINNING, *_PAUSING])):
        last["pin" if one.action in _PINNING else "pause"] = one
    return InForce(*(one if one and one.action == kind else None for kind in ("pin", "pause") for one in [last.get(kind)]))


def pausing(name: str) -> Intervention | None:
    """Return the order by which learning is paused; None where it goes on, or nothing has arrived yet."""
    return in_force(name).pause if tables.created(name) else None


class Orders:
    """What was ordered of the race, by the outcome after which it is obeyed.

    Parameters
    ----------
    name
        The dataset.
    obeyed, upto
        The numbers of the last order that was obeyed before, and of the last that counts; the newest by default.
    """

    def __init__(self, name: str, obeyed: int = 0, upto: int | None = None) -> None:
        table = Table(name, "interventions")
        self.last = table.cursor("intervene") if upto is None else upto
        self._waiting: dict[int, list[Intervention]] = {}
        new = pl.col("number").is_between(obeyed + 1, self.last) & pl.col("action").is_in([*PROMOTING, *_PINNING])
        for one in _rows(table, new) if self.last > obeyed else []:
            self._waiting.setdefault(one.outcome, []).append(one)

    def at(self, outcome: int) -> list[Intervention]:
        """Return the orders to obey when so many outcomes have been scored, in order; each is returned once."""
        return self._waiting.pop(outcome, [])


@contextmanager
def held(name: str) -> Iterator[None]:
    """Hold orders back: one that is given while the race commits would stand at a place that it has passed."""
    with tables.lock(name, ".interventions"):
        yield


@contextmanager
def none_since(name: str, orders: Orders) -> Iterator[None]:
    """Hold orders back while the race commits what it made of these.

    Raises
    ------
    ConflictError
        When another was given since these were read.
    """
    with held(name):
        if Table(name, "interventions").cursor("intervene") != orders.last:
            raise ConflictError(f"an order was given for {name} while its race was scored")
        yield


def pin_instead(name: str, version: int, instead: int | None, why: str) -> None:
    """Let the pin follow where its version was published again; one that was lifted meanwhile stays so."""
    with held(name):
        pin = in_force(name).pin
        if pin is not None and pin.version == version:
            record(name, "pin", pin.model, instead, f"{pin.reason} ({why})")


def record(name: str, action: str, model: str | None, version: int | None, reason: str) -> Intervention:
    """Append an order, at the place where the race stands; call it within :func:`held`."""
    table, standings = Table(name, "interventions"), Table(name, "standings")
    scored, seq = standings.cursor("matured"), standings.cursor("seq")
    one = Intervention(table.cursor("intervene") + 1, action, model, version, scored, seq, reason, now())
    table.append(pl.DataFrame([vars(one)]), {"intervene": one.number})
    return one
