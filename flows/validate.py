"""Judge models of one dataset, or ideas, over any stretch of its log."""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect import flow

from tasks.forms import DatasetName
from tasks.run import succeed
from tasks.validate import validate as judge


@flow(flow_run_name="validate-{dataset}")
async def validate(
    dataset: DatasetName,
    models: tuple[str, ...] = (),
    first: datetime | None = None,
    last: datetime | None = None,
    delay: str = "arrival",
    cadences: tuple[str, ...] = (),
    start: str = "cold",
    stretches: int = 1,
    unscored: timedelta = timedelta(0),
    by: str | None = None,
    against: str = "prior",
    what_if: bool = False,
) -> None:
    """Judge models by progressive validation: asked in order, told each answer when it would have come.

    Args:
        dataset: The dataset.
        models: Its models by name, or ideas (ideas.py:deeper_tree); all of the race by default.
        first: Events from this moment; the first by default.
        last: To (and without) this moment; the last by default.
        delay: When answers come: arrival, labels, none, or so long after the question: 2h.
        cadences: How often the model is published: 1h, 1d, label (for each); several give the cadence curve.
        start: What models know at first: cold, warm (what was known then), or a version: v12.
        stretches: Judge so many stretches of equal length apart, and together.
        unscored: So much time at the beginning is learned and does not count.
        by: The loss by the values of this feature or raw column.
        against: The model to compare with.
        what_if: With the features of the what-if log.
    """
    asked = {"first": first, "last": last, "delay": delay, "start": start, "stretches": stretches, "unscored": unscored}
    succeed(await judge(dataset, models, {**asked, "cadences": cadences, "by": by, "against": against, "what_if": what_if}))
