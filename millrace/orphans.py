"""What did a run that was cut off leave in MLflow?

It publishes first and records after: between the two a version is an orphan, that no checkpoint names. An orphan is told
by the sha256 of its state, which a checkpoint without a version does name; what others put there is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from millrace import remaining, removal, tracking
from millrace.clock import from_microseconds, microseconds
from millrace.dataset import Dataset
from millrace.settings import settings
from millrace.tables import Table

if TYPE_CHECKING:
    from mlflow import MlflowClient

_AT_ONCE = 1_000
_NOTED = timedelta(hours=6)
"""It is noted how far was searched when it is so much further, so that the cost does not grow with history."""


@dataclass(frozen=True)
class Orphan:
    """A logged model that no checkpoint names, and its version's number; None where it was cut off before it had one."""

    model_id: str
    number: int | None


def remove(dataset: Dataset, end: datetime, dry_run: bool = False) -> tuple[int, int]:
    """Remove the orphans with their files, and end the runs that nothing goes on with.

    Where it ended is noted, and the next begins there.

    Parameters
    ----------
    dataset
        The dataset, loaded from its file.
    end
        What was made later may yet be recorded, and is left alone. So is what was there before the first version that a
        checkpoint names: it belongs to another log.
    dry_run
        Only tell.

    Returns
    -------
    How many orphans were removed, and how many runs were ended; or would be.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached, or refuses.
    """
    table, rows = Table(dataset.name, "removals"), remaining.read(dataset.name)
    published = rows.drop_nulls("version")
    if not published.height:
        return 0, 0
    start = max(published["at"][0], from_microseconds(table.cursor("orphans")))
    name = settings().shared_name(dataset.name)
    with tracking.asking(f"look for orphans of {name}") as client:
        experiment = tracking.experiment(client.tracking_uri, name, dataset.description)
        found = list(_orphans(client, experiment, name, rows, start, end))
        racing = published.drop_nulls("run_id").filter(pl.col("model").is_in(dataset.racing))
        needed = set(racing.unique("model", keep="last", maintain_order=True)["run_id"])
        runs = _open_runs(client, experiment, dataset.name, needed, end)
        if not dry_run:
            numbers = [orphan.number for orphan in found if orphan.number is not None]
            removal.remove(client, name, numbers, [orphan.model_id for orphan in found])
            for run_id in runs:
                client.set_terminated(run_id, "FINISHED")
            if end - start > _NOTED:
                table.append(table.read().clear(), {"orphans": microseconds(end)})
        return len(found), len(runs)


def _orphans(
    client: MlflowClient, experiment: str, name: str, rows: pl.DataFrame, start: datetime, end: datetime
) -> Iterator[Orphan]:
    states, named = set(rows["sha256"]), set(rows["version"].drop_nulls())
    # Versions are numbered a moment after their models are made; a day more is enough for those made beside each other.
    earlier = rows.filter(pl.col("at") < start - timedelta(days=1))["version"].drop_nulls().to_list()
    where = f"name = '{name}' AND version_number > {max(earlier, default=0)}"
    versions = {
        str(one.source).removeprefix("models:/"): one
        for one in _pages(lambda token: client.search_model_versions(where, _AT_ONCE, page_token=token))
    }
    made = f"creation_timestamp >= {microseconds(start) // 1000} AND creation_timestamp < {microseconds(end) // 1000}"
    for logged in _pages(
        lambda token: client.search_logged_models([experiment], made, max_results=_AT_ONCE, page_token=token),
    ):
        version = versions.get(logged.model_id)
        number = None if version is None else int(version.version)
        if logged.tags.get("sha256") in states and number not in named and not (version and version.aliases):
            yield Orphan(logged.model_id, number)


def _open_runs(client: MlflowClient, experiment: str, dataset: str, needed: set[str], end: datetime) -> list[str]:
    """Return the runs that nobody ends: a crash left them, or their model was removed from the dataset's file."""
    where = (
        f"attributes.status = 'RUNNING' AND attributes.start_time < {microseconds(end) // 1000} AND tags.dataset = '{dataset}'"
    )
    found = _pages(lambda token: client.search_runs([experiment], where, max_results=_AT_ONCE, page_token=token))
    return [run.info.run_id for run in found if run.info.run_id not in needed]


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
