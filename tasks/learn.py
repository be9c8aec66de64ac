"""Stage 3, learn: answers join their events, models fold them, the race is scored, versions are published."""

from __future__ import annotations

import functools

from prefect import task

import millrace.fold
import millrace.join
import millrace.metrics
import millrace.outcomes
import millrace.publish
import millrace.race
from millrace import catalog
from tasks.artifacts import show, tell
from tasks.progress import shown


def models(dataset: str) -> list[str]:
    """Return the names of the models that race on a dataset."""
    return catalog.load(dataset).racing


def check(dataset: str) -> None:
    """Refuse metrics that do not fit, before anything is learned."""
    millrace.metrics.check(catalog.load(dataset))


@task(task_run_name="join-{dataset}", retries=2, retry_delay_seconds=5)
async def join(dataset: str) -> int:
    """Append to the log what has become possible; return how many examples."""
    report = millrace.join.join(dataset)
    tell("join", report)
    return report.examples


@task(task_run_name="mature-{dataset}", retries=2, retry_delay_seconds=5)
async def mature(dataset: str) -> None:
    """Note the outcomes that nothing can change any more."""
    tell("mature", millrace.outcomes.mature(dataset))


@task(task_run_name="fold-{dataset}-{model}")
async def fold(dataset: str, model: str, new: int) -> None:
    """Bring one model to the head of the log, or nearer to it if it was behind before these new examples."""
    report = await shown("fold", dataset, functools.partial(millrace.fold.fold, dataset, model, new=new))
    tell(f"fold-{model}", report)


@task(task_run_name="score-{dataset}", retries=2, retry_delay_seconds=5)
async def score(dataset: str) -> None:
    """Score what was said, now that its answers are known, and promote."""
    await show("score", millrace.race.score(dataset))


@task(task_run_name="publish-{dataset}", retries=2, retry_delay_seconds=5)
async def publish(dataset: str) -> None:
    """Give MLflow the versions that are due, the aliases, and the metrics."""
    tell("publish", millrace.publish.publish(dataset))
