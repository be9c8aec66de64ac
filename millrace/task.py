"""What does a kind of prediction look like: how is a model asked, and how is its answer kept?

Whatever depends on the task (binary, multiclass, regression) is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from millrace.loss import Prediction

if TYPE_CHECKING:
    from river.base import Estimator

    from millrace.dataset import Dataset

Row = dict[str, Any]


def prior(dataset: Dataset) -> Estimator:
    """Build the model that every other must beat: each class's running share, or the running mean."""
    from millrace.prior import PriorClassifier, PriorRegressor

    if dataset.task == "regression":
        return PriorRegressor()
    return PriorClassifier([False, True] if dataset.task == "binary" else list(dataset.label_column.known or ()))


def columns(dataset: Dataset) -> dict[str, pl.DataType]:
    """Return the columns in which a dataset's predictions are kept.

    ``prediction`` is the value, or the most probable class (null: the model had nothing to say); for a classification
    ``classes`` and ``probabilities`` are lists side by side.
    """
    dtype = dataset.label_column.dtype
    if dataset.task == "regression":
        return {"prediction": pl.Float64()}
    return {"prediction": dtype, "classes": pl.List(dtype), "probabilities": pl.List(pl.Float64)}  # type: ignore[dict-item]


def predict(model: Any, task: str, xs: Sequence[Row]) -> tuple[list[Prediction], list[str | None]]:
    """Ask a model about a number of events, in their order.

    Asking may grow a model: ask a loaded copy, never one that learns.

    Returns
    -------
    list, list
        The predictions, and for each what was wrong with it (else None). A model that raises, or that answers NaN, has
        nothing to say of that event: its prediction is empty.
    """
    from millrace.batch import Batch

    if isinstance(model, Batch):  # one row alone costs a batch model milliseconds, many rows hardly more, to the same bits
        answers = model.predict_many(list(xs)) if task == "regression" else model.predict_proba_many(list(xs))
        return [_finite(answer) for answer in answers], [None] * len(xs)
    one = model.predict_one if task == "regression" else _probabilities(model)
    predictions: list[Prediction] = []
    errors: list[str | None] = []
    for x in xs:
        try:
            answer = one(x)
            prediction = _finite(answer)
            error = "the model answers NaN" if prediction is None and answer is not None else None
        except Exception as failure:  # noqa: BLE001 - whatever a model raises is its own failure, kept beside the event
            prediction, error = None, f"{type(failure).__name__}: {failure}"
        predictions.append(prediction)
        errors.append(error)
    return predictions, errors


def _probabilities(model: Any) -> Any:
    def answer(x: Row) -> dict[Any, float]:
        try:
            found: dict[Any, float] = model.predict_proba_one(x)
            return found
        except NotImplementedError:  # some of River's classifiers know labels only
            label = model.predict_one(x)
            return {} if label is None else {label: 1.0}

    return answer


def _finite(answer: Any) -> Prediction:
    if isinstance(answer, Mapping):
        return {label: float(p) for label, p in answer.items()} if all(map(math.isfinite, answer.values())) else None
    return float(answer) if answer is not None and math.isfinite(answer) else None


def most_probable(prediction: Prediction) -> Any:
    """Return the most probable class (the first of equals), or the value; None for an empty prediction.

    Examples
    --------
    >>> most_probable({False: 0.25, True: 0.75})
    True
    """
    if isinstance(prediction, Mapping):
        return max(prediction, key=prediction.__getitem__) if prediction else None
    return prediction


def to_columns(dataset: Dataset, predictions: Sequence[Prediction]) -> dict[str, pl.Series]:
    """Turn predictions into the columns in which they are kept."""
    dtypes = columns(dataset)
    found: dict[str, list[Any]] = {"prediction": [most_probable(p) for p in predictions]}
    if dataset.task != "regression":
        found["classes"] = [list(p or ()) for p in predictions]  # type: ignore[arg-type]
        found["probabilities"] = [list(p.values()) if isinstance(p, Mapping) else [] for p in predictions]
    return {name: pl.Series(name, found[name], dtype=dtype) for name, dtype in dtypes.items()}


def from_columns(dataset: Dataset, frame: pl.DataFrame) -> list[Prediction]:
    """Turn the columns back into predictions, in the frame's order."""
    if dataset.task == "regression":
        return frame["prediction"].to_list()
    return [dict(zip(classes, ps, strict=True)) for classes, ps in zip(frame["classes"], frame["probabilities"], strict=True)]
