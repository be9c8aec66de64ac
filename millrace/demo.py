"""What happens in the demo, and how far has it come?

January 2013's flights arrive: three weeks day by day, then two days hour by hour. A step whose files were taken in is
not done again, so a demo that was stopped goes on, and one that is done says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from millrace import catalog, landing, race, tables
from millrace.feed import FeedReport, history, put
from millrace.promotions import champion
from millrace.tables import Table

DATASET = "flights"
_START = datetime(2013, 1, 1, tzinfo=UTC)
_DAYS = 21
_HOURS = 48


@dataclass(frozen=True)
class Step:
    """A stretch of simulated time whose files arrive together."""

    start: datetime
    every: timedelta

    @property
    def end(self) -> datetime:
        """The simulated moment after this step."""
        return self.start + self.every


def plan() -> list[Step]:
    """Return all steps of the demo, in order."""
    days = [Step(_START + timedelta(days=i), timedelta(days=1)) for i in range(_DAYS)]
    return days + [Step(days[-1].end + timedelta(hours=i), timedelta(hours=1)) for i in range(_HOURS)]


def steps() -> list[Step]:
    """Return the steps that are still to be done."""
    stored = history(catalog.load(DATASET))
    times = set(stored["event_time"].dt.truncate("1h")) | set(stored["label_time"].drop_nulls().dt.truncate("1h"))
    taken = _taken()
    return [
        step
        for step in plan()
        if _has_rows(step, times) and not taken & {f"{kind}-{step.start:%Y-%m-%dT%H%M}" for kind in landing.KINDS}
    ]


def _has_rows(step: Step, times: set[datetime]) -> bool:
    return any(step.start + timedelta(hours=i) in times for i in range(step.every // timedelta(hours=1)))


def _taken() -> set[str]:
    if not tables.created(DATASET):
        return set()
    return {name.partition(".")[0] for name in Table(DATASET, "files").read("name")["name"]}


def arrive(step: Step) -> None:
    """Put a step's files into the landing folder."""
    dataset = catalog.load(DATASET)
    put(dataset, history(dataset), step.start, step.end, FeedReport(DATASET))


def standing() -> Iterator[tuple[str, float]]:
    """Yield the champion and its loss, once there is one."""
    best = champion(DATASET)
    for row in race.standings(DATASET):
        if row["model"] == best and row["loss"] is not None:
            yield best, row["loss"]
