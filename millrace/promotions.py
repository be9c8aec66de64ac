"""Who is champion, since when, and on what evidence?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from millrace.casting import UTC_MICROSECONDS
from millrace.clock import now
from millrace.dataset import PRIOR
from millrace.errors import MillraceError
from millrace.tables import Table


@dataclass(frozen=True)
class Promotion:
    """One change of champion: a row of the table ``promotions``.

    ``seq`` is where the log ended, ``outcome`` the number of the outcome after which it was (None: by the rule before there were
    outcomes), ``clock`` the data's clock then.
    """

    number: int
    seq: int
    model: str
    before: str
    reason: str
    evidence: str
    clock: datetime | None
    at: datetime | None = None
    outcome: int | None = None

    @property
    def given(self) -> bool:
        """Whether the race cannot make it again: it was made by an earlier rule, or because a model had left the file."""
        return self.outcome is None or '"removed":' in self.evidence


def latest(dataset: str) -> Promotion | None:
    """Return the last promotion; None while the first champion, ``prior``, reigns.

    Raises
    ------
    MillraceError
        When it is not in its table.
    """
    table = Table(dataset, "promotions")
    number = table.cursor("promote")
    if not number:
        return None
    rows = table.read(where=pl.col("number") == number)
    if not rows.height:
        raise MillraceError(
            f"promotion {number} of {dataset} is not in the table promotions, which was changed by hand; to run the race again "
            f"over the log, run: millrace replay {dataset}"
        )
    return Promotion(**rows.row(-1, named=True))


def history(dataset: str) -> list[Promotion]:
    """Return all promotions, in order."""
    return [Promotion(**row) for row in Table(dataset, "promotions").read().iter_rows(named=True)]


def champion(dataset: str) -> str:
    """Return the champion's name."""
    promotion = latest(dataset)
    return promotion.model if promotion else PRIOR


def whole(dataset: str) -> bool:
    """Tell whether all promotions are on record."""
    table = Table(dataset, "promotions")
    return table.count() == table.cursor("promote")


def record(table: Table, promotions: list[Promotion]) -> None:
    """Append promotions that are newer than those on record; those that are there already are compared.

    Raises
    ------
    ConflictError
        When another process has promoted since the table was opened.
    MillraceError
        When another promotion is on record by the number of one of these.
    """
    head = table.cursor("promote")
    new = [promotion for promotion in promotions if promotion.number > head]
    again = {promotion.number: promotion for promotion in promotions if promotion.number <= head}
    rows = table.read(where=pl.col("number").is_in(list(again))).iter_rows(named=True) if again else ()
    for there in (Promotion(**row) for row in rows):
        one = again[there.number]
        if (there.outcome, there.model, there.before) != (one.outcome, one.model, one.before):
            raise MillraceError(
                f"promotion {one.number} of {table.path.parent.name} is {there.model} instead of {there.before} after outcome "
                f"{there.outcome} on record, and {one.model} instead of {one.before} after outcome {one.outcome} now that the "
                "race is taken up after a run that was cut off: put race, loss and models in the dataset's file back to what "
                f"they were until one tick has run; or, where {table.path} was changed by hand, restore it from a copy"
            )
    if new:
        table.append(_rows(new), {"promote": new[-1].number})


def complete(dataset: str, promotions: list[Promotion]) -> None:
    """Put those promotions back on record that are missing there."""
    table = Table(dataset, "promotions")
    there = set(table.read("number")["number"])
    missing = [promotion for promotion in promotions if promotion.number not in there]
    if missing:
        table.append(_rows(missing), {"promote": max(table.cursor("promote"), missing[-1].number)})


def _rows(promotions: list[Promotion]) -> pl.DataFrame:
    types = {"clock": UTC_MICROSECONDS, "outcome": pl.Int64()}
    return pl.DataFrame([{**vars(promotion), "at": now()} for promotion in promotions], schema_overrides=types)
