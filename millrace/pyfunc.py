"""What does a published model take, and how does it answer?

MLflow calls it a pyfunc: a frame of raw events in, a frame of predictions out. The columns are checked and
cast by the rules of ingestion, and the features computed by the dataset's own expressions, so an answer is
what a tick would say.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import polars as pl

from millrace import task as tasks
from millrace.schema import Column

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from millrace.dataset import Dataset

_LOG = logging.getLogger(__name__)


class RiverModel:
    """What MLflow's pyfunc wraps: a frame of events in, a frame of predictions out.

    Parameters
    ----------
    river_model
        The model.
    task
        ``binary``, ``multiclass``, ``regression`` or ``anomaly``.
    dataset
        The dataset whose raw columns are taken; None takes the columns of the model's ``x``.
    """

    def __init__(self, river_model: Any, task: str, dataset: Dataset | None) -> None:
        self.river_model = river_model
        self.task = task
        self.dataset = dataset

    def get_raw_model(self) -> Any:
        """Return the River model."""
        return self.river_model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict, in the order of the rows; no row's answer depends on the others.

        Parameters
        ----------
        model_input
            With a dataset ``event_time`` (aware, or text with its zone), the raw columns and, where a feature
            needs it, ``event_id``, checked and cast as by ingestion; a column that may be null may be left
            out; columns of memory must be there, as a tick logs
            them. Without a dataset the model's ``x``. Null and NaN are left out of what the model sees.
        params
            ``{"proba": False}`` leaves the probabilities out; the default gives them.

        Returns
        -------
        DataFrame
            ``prediction`` and, for a classification, a column ``proba_<class>`` for each class, with the
            input's index. Null where the model has nothing to say. Of anomalies ``prediction`` is the score, beside it
            ``anomaly`` where the model has a threshold.

        Raises
        ------
        MlflowException
            When a row would have been refused by ingestion; the message says which and why.
        """
        import pandas as pd

        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        ask = _scored if self.task == "anomaly" else tasks.predict
        predictions, errors = ask(self.river_model, self.task, self._rows(frame))
        failed = [(place, error) for place, error in enumerate(errors) if error is not None]
        if failed:
            place, error = failed[0]
            _LOG.warning("%d of %d rows have no prediction; row %d: %s", len(failed), len(frame), place, error)
        found: dict[str, list[Any]] = {"prediction": [tasks.most_probable(p) for p in predictions]}
        classify = getattr(getattr(self.river_model, "_last_step", self.river_model), "classify", None)
        if self.task == "anomaly" and classify:
            found["anomaly"] = [None if score is None else bool(classify(score)) for score in predictions]
        if self.task in ("binary", "multiclass") and (params or {}).get("proba", True):
            answers: list[Any] = [p or {} for p in predictions]
            classes = dict.fromkeys(label for answer in answers for label in answer)
            known = [False, True] if self.task == "binary" else sorted(classes, key=str)
            for label in known:
                found[f"proba_{label}"] = [answer.get(label, 0.0) if answer else None for answer in answers]
        return pd.DataFrame(found, index=frame.index)

    def _rows(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        from millrace import features

        if self.dataset is not None:
            remembered = list(_remembered(self.dataset))
            _check_remembered(self.dataset, [name for name in remembered if name not in frame])
            typed = _typed(self.dataset, frame)
            return features.rows(features.compute(self.dataset, typed).hstack(typed.select(remembered)))
        records: list[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return [{name: value for name, value in record.items() if value is not None} for record in records]


def _scored(model: Any, task: str, xs: list[dict[str, Any]]) -> tuple[list[Any], list[str | None]]:
    """Ask a detector of anomalies; as :func:`millrace.task.predict`."""
    scores: list[Any] = []
    errors: list[str | None] = []
    for x in xs:
        try:
            score, error = model.score_one(x), None
        except Exception as failure:  # noqa: BLE001 - whatever a model raises, the other rows are answered
            score, error = None, f"{type(failure).__name__}: {failure}"
        scores.append(score)
        errors.append(error)
    return scores, errors


def _columns(dataset: Dataset) -> dict[str, Column]:
    return {
        "event_id": Column(pl.String),
        "event_time": Column(pl.Datetime, null=False),
        **dataset.event.columns,
        **_remembered(dataset),
    }


def _remembered(dataset: Dataset) -> dict[str, Column]:
    """Return the columns of memory, which are given: a model does not know what happened before."""
    from millrace import recall

    return {name: Column(dtype) for name, dtype in recall.of(dataset).schema.items()} if dataset.remembers else {}


def _check_remembered(dataset: Dataset, absent: list[str]) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    if absent:
        raise MlflowException(
            f"{', '.join(map(repr, absent))} must be among the columns: memory depends on earlier events, which a model does not "
            f"know; what a tick logs of an event of {dataset.name!r} is in the column x of the table features",
            error_code=INVALID_PARAMETER_VALUE,
        )


def types(dataset: Dataset) -> dict[str, str]:
    """Return the raw columns that a dataset's models take, with the names of their types."""
    return {name: str(column.dtype) for name, column in _columns(dataset).items()}


def signature(model: Any, task: str | None, dataset: Dataset | None, example: Any) -> ModelSignature | None:
    """Return what MLflow shows and checks: a dataset's columns or an example's, and ``proba``."""
    from mlflow.models import ModelSignature
    from mlflow.models.signature import _infer_signature_from_input_example
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    params: Any = None
    if task in ("binary", "multiclass"):
        params = ParamSchema([ParamSpec("proba", DataType.boolean, True)])
    if dataset is not None:
        # MLflow refuses whole numbers for a double, nulls for a long and aware times for a datetime, and
        # makes False of a null in a boolean column. So what is not text goes through, and is cast by the
        # rules of ingestion.
        remembered = _remembered(dataset)
        inputs: list[Any] = [
            ColSpec(
                DataType.string if column.dtype == pl.String and name != "event_id" else AnyType(),
                name,
                required=name == "event_time" or name in remembered or not column.null,
            )
            for name, column in _columns(dataset).items()
        ]
        return ModelSignature(Schema(inputs), Schema(_answered(dataset)), params)
    if example is not None and model is not None and task is not None:
        found: Any = _infer_signature_from_input_example(example, RiverModel(model, task, None))
        return ModelSignature(found.inputs, found.outputs, params)
    return ModelSignature(params=params) if params is not None else None


def _answered(dataset: Dataset) -> list[Any]:
    from mlflow.types import ColSpec, DataType

    if dataset.task == "regression":
        return [ColSpec(DataType.double, "prediction", required=False)]
    dtype = dataset.label_column.dtype
    text = DataType.string if dtype == pl.String else DataType.long
    label = DataType.boolean if dtype == pl.Boolean else text
    found = [ColSpec(label, "prediction", required=False)]
    if dataset.task == "binary":
        found += [ColSpec(DataType.double, f"proba_{value}", required=False) for value in (False, True)]
    return found


def _typed(dataset: Dataset, frame: pd.DataFrame) -> pl.DataFrame:
    """Cast the columns as ingestion does, and refuse what it refuses."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    from millrace.casting import cast

    columns = _columns(dataset)
    given = pl.DataFrame({"raw": pl.DataFrame([_series(frame, name) for name in columns]).to_struct()}).with_row_index("position")
    result = cast(given.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias("missing")), columns)
    if result.bad.height:
        position, reasons = result.bad.select("position", "reasons").row(0)
        raise MlflowException(
            f"row {position}: {', '.join(reasons)} ({result.bad.height} of {len(frame)} rows are refused, as "
            f"they would be in a file of dataset {dataset.name!r}); correct them or leave them out",
            error_code=INVALID_PARAMETER_VALUE,
        )
    return result.good["value"].struct.unnest()


def _series(frame: pd.DataFrame, name: str) -> pl.Series:
    import pandas as pd
    import pyarrow as pa

    if name not in frame:
        return pl.Series(name, [None] * len(frame), dtype=pl.String)
    column = frame[name]
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        naive: pl.Series = pl.from_pandas(column.dt.tz_convert(None))
        return naive.dt.replace_time_zone("UTC").alias(name)
    try:
        found: pl.Series = pl.from_pandas(column).alias(name)
    except (pa.ArrowException, TypeError):  # values of several kinds: as text, which is cast like a file's
        texts = [None if pd.isna(value) else str(value) for value in column]
        found = pl.Series(name, texts, dtype=pl.String)
    return found
