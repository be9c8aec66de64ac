"""Who is champion, since when, and on what evidence?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace.clock import now
from millrace.dataset import PRIOR
from millrace.tables import Table


@dataclass(frozen=True)
class Promotion:
    """One change of champion: a row of the table ``promotions``."""

    number: int
    seq: int
    model: str
    before: str
    reason: str
    evidence: str
    clock: datetime
    at: datetime | None = None


def latest(dataset: str) -> Promotion | None:
    """Return the last promotion; None while the first champion, ``prior``, reigns."""
    table = Table(dataset, "promotions")
    number = table.cursor("promote")
    if not number:
        return None
    return Promotion(**table.read(where=pl.col("number") == number).row(-1, named=True))


def champion(dataset: str) -> str:
    """Return the champion's name."""
    promotion = latest(dataset)
    return promotion.model if promotion else PRIOR


def record(table: Table, promotions: list[Promotion]) -> None:
    """Append promotions that are not on record yet.

    Raises
    ------
    ConflictError
        When another process has promoted since the table was opened.
    """
    new = [promotion for promotion in promotions if promotion.number > table.cursor("promote")]
    if new:
        table.append(pl.DataFrame([{**vars(promotion), "at": now()} for promotion in new]), {"promote": new[-1].number})
