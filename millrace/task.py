"""What does a kind of prediction look like: how is a model asked, and how is its answer kept?

Whatever depends on the task (binary, multiclass, regression) is here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
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
    if getattr(model, "many", False):  # one row alone costs a batch model milliseconds, many rows hardly more, to the same bits
        answers = model.predict_many(list(xs)) if task == "regression" else model.predict_proba_many(list(xs))
        return [finite(answer) for answer in answers], [None] * len(xs)
    one = model.predict_one if task == "regression" else model.predict_proba_one
    predictions: list[Prediction] = []
    errors: list[str | None] = []
    for x in xs:
        try:
            try:
                answer = one(x)
            except NotImplementedError:  # some of River's classifiers know labels only
                one = certain(model)
                answer = one(x)
            prediction = finite(answer)
            error = "the model answers NaN" if prediction is None and answer is not None else None
        except Exception as failure:  # noqa: BLE001 - whatever a model raises is its own failure, kept beside the event
            prediction, error = None, f"{type(failure).__name__}: {failure}"
        predictions.append(prediction)
        errors.append(error)
    return predictions, errors


def certain(model: Any) -> Callable[[Row], dict[Any, float]]:
    """Return how a classifier is asked that knows labels only: it is certain of the one that it says."""
    return lambda x: {} if (label := model.predict_one(x)) is None else {label: 1.0}


def finite(answer: Any) -> Prediction:
    """Return what a model answered as a prediction: None where it is not finite.

    Examples
    --------
    >>> finite({True: float("nan"), False: 0.5}), finite(2)
    (None, 2.0)
    """
    if isinstance(answer, Mapping):  # a sum is finite, if all are
        return dict(answer) if math.isfinite(sum(answer.values())) else None
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
    value = pl.Series("prediction", [most_probable(p) for p in predictions], dtype=dtypes["prediction"])
    if dataset.task == "regression":
        return {"prediction": value}
    given = [p if isinstance(p, Mapping) else {} for p in predictions]
    # Lists are made from flat columns: polars makes one of Python's lists some ten times as slowly.
    rows = [i for i, p in enumerate(given) for _ in p]
    classes = pl.Series([label for p in given for label in p], dtype=dataset.label_column.dtype)
    probabilities = pl.Series([share for p in given for share in p.values()], dtype=pl.Float64)
    lists = pl.DataFrame({"row": pl.Series(rows, dtype=pl.Int64), "classes": classes, "probabilities": probabilities})
    lists = lists.group_by("row", maintain_order=True).agg("classes", "probabilities")
    every = pl.DataFrame({"row": pl.int_range(len(given), eager=True)}).join(lists, on="row", how="left", maintain_order="left")
    return {"prediction": value, **{name: every[name].fill_null([]).cast(dtypes[name]) for name in ("classes", "probabilities")}}


def from_columns(dataset: Dataset, frame: pl.DataFrame) -> list[Prediction]:
    """Turn the columns back into predictions, in the frame's order."""
    if dataset.task == "regression":
        return frame["prediction"].to_list()
    # Flat columns again: each list is so many of the next pairs.
    lengths = frame["classes"].list.len().fill_null(0).to_list()
    flat = (frame[name].explode(empty_as_null=False, keep_nulls=False).to_list() for name in ("classes", "probabilities"))
    pairs = zip(*flat, strict=True)
    return [dict(itertools.islice(pairs, length)) for length in lengths]
