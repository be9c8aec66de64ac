"""A tick: the stages in their order, for each dataset that is due."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.logging import get_run_logger

from millrace.errors import MillraceError
from millrace.interventions import pausing
from millrace.maintain import due as maintenance_due
from millrace.run import due as all_due
from millrace.run import pending, settled, ticked
from tasks.forms import ALL
from tasks.infer import infer
from tasks.ingest import ingest
from tasks.learn import check, fold, join, mature, models, publish, score
from tasks.maintain import maintain


def due(chosen: str) -> tuple[list[str], list[str]]:
    """Return the datasets to run, the chosen one or all that are due, and what is wrong with broken ones."""
    if chosen != ALL:
        return [chosen], []
    names, broken = all_due()
    return names, [str(error) for error in broken]


async def learn(dataset: str) -> list[str]:
    """Learn: a model that fails does not hold up the others, nor do the race and MLflow. Return what did not work."""
    check(dataset)
    paused = pausing(dataset)
    new = 0 if paused else await join(dataset)
    await mature(dataset)
    # Prefect's annotations forget that an async task's state is awaited, too.
    folds = [await fold(dataset, model, new, return_state=True) for model in ([] if paused else models(dataset))]  # type: ignore[misc]
    scored = await score(dataset, return_state=True)  # type: ignore[misc]
    published = await publish(dataset, return_state=True)  # type: ignore[misc]
    return [str(state.message) for state in [*folds, scored, published] if state.is_failed()]


async def tick(dataset: str) -> list[str]:
    """Make one tick, if there is anything to do. Return what did not work, so that other datasets go on."""
    if not pending(dataset):
        get_run_logger().info("%s: nothing new", dataset)
        return []
    try:
        await ingest(dataset)
        unsaid = await infer(dataset)
        unlearned = await learn(dataset)
        if not unlearned:
            settled(dataset)
        unkept = await maintain(dataset) if maintenance_due(dataset) else []
    except Exception as error:  # noqa: BLE001 - a task's failure is on record with the task; the other datasets go on
        return [f"{dataset}: {error}"]
    return [f"{dataset}: {problem}" for problem in unsaid + unlearned + unkept]


def note(datasets: Iterable[str]) -> None:
    """Note that these datasets have run in this stretch of their ``every``."""
    for dataset in datasets:
        ticked(dataset)


def succeed(problems: Iterable[str]) -> None:
    """Fail the flow's run if something did not work.

    Raises
    ------
    MillraceError
        With everything that did not work.
    """
    if found := list(problems):
        raise MillraceError("; ".join(found))
