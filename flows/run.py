"""Make one tick of every dataset that is due: ingest, infer, learn."""

from __future__ import annotations

from prefect import flow

from tasks.forms import ALL, DatasetNameOrAll
from tasks.run import due, note, succeed, tick


@flow(flow_run_name="run-{dataset}")
async def run(dataset: DatasetNameOrAll = ALL) -> None:
    """Ingest what is new, predict it, and learn what has been answered.

    Args:
        dataset: One dataset, now; or all whose `every` has passed since they last ran.
    """
    datasets, broken = due(dataset)
    problems = [problem for name in datasets for problem in await tick(name)]
    note(datasets)
    succeed(broken + problems)
