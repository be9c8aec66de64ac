"""Which versions stay in MLflow, and which does nobody need any more?

A dataset that publishes every minute makes thousands of versions a day. :class:`~millrace.dataset.Retention` says which
stay. Any other is a fold of the log, and can be made again: what it said is stored, its checkpoint stays on record, and the
table ``removals`` tells that it was removed. It is recorded first and removed after, so a run that was cut off is completed
by the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime

import orjson
import polars as pl

from millrace import interventions, remaining, removal, tracking
from millrace.clock import from_microseconds, now
from millrace.dataset import Dataset
from millrace.serving import versions_asked
from millrace.settings import settings
from millrace.tables import Table

_AT_ONCE = 500
_EVENTS_AT_ONCE = 100_000


@dataclass
class RetentionReport:
    """What was removed, or would be: the numbers of the ``versions``, how many there are of each of the ``models``, how many
    are ``kept``, and how many ``wait`` for the next run; ``deleted`` ones, by hand, were cleared away."""

    versions: list[int]
    models: dict[str, int]
    kept: int = 0
    wait: int = 0
    deleted: int = 0

    def __str__(self) -> str:
        of_each = ", ".join(f"{count:,} of {model}" for model, count in self.models.items())
        said = f"{len(self.versions):,} versions in MLflow" + (f" ({of_each}; from v{self.versions[0]} on)" if of_each else "")
        said += f", {self.deleted:,} deleted there by hand" if self.deleted else ""
        return f"{said}; {self.kept:,} kept" + (f", {self.wait:,} wait for the next run" if self.wait else "")


def apply(dataset: Dataset, dry_run: bool = False) -> RetentionReport:
    """Remove the versions that the dataset's retention does not keep, the oldest first; one process at a time.

    Costs a read of the checkpoints that remain and of the predictions within ``retention.predictions``, and about a millisecond
    a version; memory is that of a hundred thousand events. A run removes at most 5,000, through a server 1,000.

    Parameters
    ----------
    dry_run
        Only tell.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached, or refuses; what is recorded by then is removed at the next run.
    """
    name = settings().shared_name(dataset.name)
    with tracking.asking(f"remove versions of {name}") as client:
        table = Table(dataset.name, "removals")
        unfinished = table.read("number", "version", where=pl.col("number") > table.cursor("removed"))
        pin, deleted = interventions.in_force(dataset.name).pin, removal.deleted(client, name)
        pinned = {pin.version} if pin and pin.version is not None else set[int]()
        found, kept = _unneeded(dataset, removal.aliased(client, name) | pinned)
        new = found.head(removal.at_most(client))
        counts = new["model"].value_counts().sort("model")
        wait = found.height - new.height
        report = RetentionReport(new["version"].to_list(), dict(counts.iter_rows()), kept, wait, len(deleted))
        if dry_run:
            return report
        first = table.cursor("remove") + 1
        if new.height:
            numbered = new.with_columns(pl.int_range(first, first + new.height).alias("number"), pl.lit(now()).alias("at"))
            table.append(numbered.select("number", "version", "model", "seq", "at"), {"remove": first + new.height - 1})
            unfinished = pl.concat([unfinished, numbered.select("number", "version")])
        removal.remove(client, name, deleted)
        for part in unfinished.iter_slices(_AT_ONCE):
            removal.remove(client, name, part["version"].to_list())
            done = Table(dataset.name, "removals")
            done.append(done.read().clear(), {"removed": part["number"][-1]})
    return report


def _unneeded(dataset: Dataset, held: Set[int]) -> tuple[pl.DataFrame, int]:
    """Return the versions that nothing keeps (``version``, ``model``, ``seq``), the oldest first, and how many are kept."""
    rows = remaining.read(dataset.name).filter(pl.col("version").is_not_null() & ~pl.col("removed")).sort("version")
    rule, clock = dataset.retention, from_microseconds(Table(dataset.name, "files").cursor("clock"))
    automatic = rows.filter(pl.col("run_id").is_not_null())  # the others were made of the past by a person
    kept = {*held, *automatic.group_by(remaining.LINEAGE).tail(rule.newest)["version"]}
    for name, every in (("hourly", "1h"), ("daily", "1d")):
        since = automatic.filter(pl.col("clock") > rule.since(name, clock)).with_columns(pl.col("clock").dt.truncate(every))
        kept |= set(since.group_by(*remaining.LINEAGE, "clock").agg(pl.col("version").max())["version"])
    found = automatic.filter(~pl.col("version").is_in(list(kept)))
    if found.height:
        asked = set[int]().union(*_asked(dataset.name, rule.since("predictions", clock)))
        found = found.filter(~pl.col("version").is_in(list(asked)))
    return found.select("version", "model", "seq"), rows.height - found.height


def _asked(name: str, since: datetime) -> Iterator[set[int]]:
    """Yield the versions that predicted events since a moment of the data's clock, or that logged ones are yet to ask.

    Where the line-up that was logged could not be loaded any more, others predicted: so those that did are asked for there.
    """
    said, logged = Table(name, "predictions"), Table(name, "features")
    predicted = said.cursor("infer")
    waiting = logged.read("versions", where=pl.col("arrival") > predicted)["versions"].drop_nulls()
    yield {version.number for lineup in waiting.unique() for version in versions_asked(orjson.loads(lineup))}
    for upto in range(predicted, 0, -_EVENTS_AT_ONCE):
        rows = logged.read("arrival", "clock", where=pl.col("arrival").is_between(upto - _EVENTS_AT_ONCE + 1, upto))
        young = rows.filter(pl.col("clock") > since)["arrival"]
        if young.len():
            yield set(said.read("version", where=pl.col("arrival").is_between(young[0], upto))["version"].drop_nulls())
        if young.len() < rows.height:
            return
