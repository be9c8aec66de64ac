"""How are predictions measured by River's metrics, which are shown and decide nothing?"""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from millrace import task
from millrace.dataset import Dataset
from millrace.errors import DatasetError, unknown
from millrace.loss import Prediction

_CHECKED: set[tuple[Any, str]] = set()
"""The files' texts whose metrics were built in this process."""


def check(dataset: Dataset) -> None:
    """Refuse metrics that cannot be, before anything is learned or predicted; once for each text of the dataset's file.

    It loads River, so it is called where models are about to be built or asked.

    Raises
    ------
    DatasetError
        As :func:`build`.
    """
    if (dataset.path, dataset.text) not in _CHECKED:
        build(dataset)
        _CHECKED.add((dataset.path, dataset.text))


def build(dataset: Dataset) -> list[Any]:
    """Build a dataset's metrics, fresh.

    Raises
    ------
    DatasetError
        When one does not exist, or does not fit the task; the message names those that would.
    """
    from river import metrics as of_river

    declared = dataset.metrics() if callable(dataset.metrics) else dataset.metrics
    model = task.prior(dataset)
    built = []
    for metric in declared:
        if isinstance(metric, str):
            found = getattr(of_river, metric, None) if metric in of_river.__all__ else None
            if not isinstance(found, type):
                raise DatasetError(f"{dataset.path}: metrics: {unknown('metric', metric, _fitting(model))}")
            metric = found()
        if not isinstance(metric, of_river.base.Metric):
            raise DatasetError(f"{dataset.path}: metrics: {metric!r} is neither a name nor a metric of River, such as 'Accuracy'")
        metric = copy.deepcopy(metric)
        if not metric.works_with(model):
            name, fitting = type(metric).__name__, _fitting(model)
            near = difflib.get_close_matches(name, fitting, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DatasetError(
                f"{dataset.path}: metrics: {name!r} does not fit a {dataset.task} task; {hint}available: {', '.join(fitting)}"
            )
        built.append(metric)
    return built


def _fitting(model: Any) -> list[str]:
    """Return the names of River's metrics that fit a task, by its simplest model."""
    from river import metrics as of_river

    fitting = []
    for name in sorted(set(of_river.__all__)):
        with contextlib.suppress(Exception):  # what is no metric, or is not built without arguments
            if getattr(of_river, name)().works_with(model):
                fitting.append(name)
    return fitting


def values(metrics: Sequence[Any], failed: Mapping[str, str] | None = None) -> dict[str, float | None]:
    """Return the values of River's metrics by name; None for what is no number, or has ``failed``.

    Those that have no value are left out.
    """
    found: dict[str, float | None] = dict.fromkeys(failed or {})
    for metric in metrics:
        if type(metric).__name__ in found:
            continue
        with contextlib.suppress(NotImplementedError):  # a confusion matrix, a report
            value = metric.get()
            found[type(metric).__name__] = float(value) if isinstance(value, int | float) else None
    return found


def confusion(metrics: Sequence[Any]) -> dict[str, dict[str, int]] | None:
    """Return how often which class was said of which label, if ``ConfusionMatrix`` is among the metrics.

    Returns
    -------
    dict or None
        By label, and then by the class that was said; both in the order of their names, without zeros.
    """
    from river.metrics import ConfusionMatrix

    for metric in metrics:
        if type(metric) is ConfusionMatrix:
            rows = {str(label): {str(said): int(n) for said, n in row.items() if n} for label, row in metric.data.items()}
            return {label: dict(sorted(row.items())) for label, row in sorted(rows.items()) if row}
    return None


def update_each(metrics: Sequence[Any], failed: dict[str, str], prediction: Prediction, label: Any) -> None:
    """Update metrics that are only shown: one that cannot take a label goes no further, and holds up nothing.

    ``failed`` tells by name which could not, and why; it is added to. A prediction that says nothing is left out.
    """
    if prediction is None or prediction == {}:
        return
    for metric in metrics:
        name = type(metric).__name__
        if name not in failed:
            try:
                update(metric, prediction, label)
            except Exception as error:  # noqa: BLE001 - it decides nothing, so it holds up nothing
                failed[name] = f"{type(error).__name__}: {error}"


def update(metric: Any, prediction: Prediction, label: Any) -> None:
    """Update a metric with what it asks for: labels, or probabilities."""
    if isinstance(prediction, Mapping):
        metric.update(label, task.most_probable(prediction) if metric.requires_labels else prediction)
    else:
        metric.update(label, prediction)
