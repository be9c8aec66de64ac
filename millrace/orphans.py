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

from millrace import tracking
from millrace.clock import microseconds
from millrace.dataset import Dataset
from millrace.settings import settings
from millrace.tables import Table

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SOUGHT = timedelta(days=30)
"""How far back is searched, so that the cost does not grow with history."""
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Orphan:
    """A logged model that no checkpoint names, and its version's number; None where it was cut off before it had one."""

    model_id: str
    number: int | None


def remove(dataset: Dataset, end: datetime) -> tuple[int, int]:
    """Remove the orphans with their files, and end the runs that were left open.

    Parameters
    ----------
    dataset
        The dataset, loaded from its file.
    end
        What was made later may yet be recorded, and is left alone. So is what was there before the first version that a
        checkpoint names: it belongs to another log.

    Returns
    -------
    How many orphans were removed, and how many runs were ended.

    Raises
    ------
    RegistryError
        When MLflow cannot be reached, or refuses.
    """
    rows = Table(dataset.name, "checkpoints").read("sha256", "version", "at")
    published = rows.drop_nulls("version").sort("at")
    if not published.height:
        return 0, 0
    start = max(published["at"][0], end - _SOUGHT)
    name = settings().shared_name(dataset.name)
    with tracking.asking(f"look for orphans of {name}") as client:
        experiment = tracking.experiment(client.tracking_uri, name, dataset.description)
        found = list(_orphans(client, experiment, name, rows, start, end))
        for orphan in found:
            _remove(client, name, orphan)
        return len(found), _end_runs(client, experiment, dataset.name, start, end)


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


def _remove(client: MlflowClient, name: str, orphan: Orphan) -> None:
    """Remove the files first, and last what an orphan is found by, so that what is cut off is done again."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(client.get_logged_model(orphan.model_id).artifact_location).delete_artifacts()
    if orphan.number is not None:
        # The public call first asks for the registered model, with all versions there ever were.
        client._get_registry_client().delete_model_version(name, str(orphan.number))
    client.delete_logged_model(orphan.model_id)


def _end_runs(client: MlflowClient, experiment: str, dataset: str, start: datetime, end: datetime) -> int:
    """End the runs that nobody ends: a run is for one day, and is ended by the next of its model."""
    since, until = microseconds(start) // 1000, microseconds(end) // 1000
    where = (
        f"attributes.status = 'RUNNING' AND attributes.start_time >= {since} AND attributes.start_time < {until} "
        f"AND tags.dataset = '{dataset}'"
    )
    found = list(_pages(lambda token: client.search_runs([experiment], where, max_results=_AT_ONCE, page_token=token)))
    for run in found:
        client.set_terminated(run.info.run_id, "FINISHED")
    return len(found)


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
