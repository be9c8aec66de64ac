"""What will the average of the polls be? Asked with five pollsters' figures of the day, answered the day after."""

from datetime import UTC, datetime, timedelta

import polars as pl
from river import linear_model, neighbors, preprocessing, tree
from river.base import Regressor

from millrace import Column, Dataset, Labels, Schema
from millrace.loss import Loss

POLLSTERS = ["gallup", "ipsos", "morning_consult", "rasmussen", "you_gov"]


def linear() -> Regressor:
    return preprocessing.StandardScaler() | linear_model.LinearRegression(intercept_lr=0.1)


def neighbours() -> Regressor:
    return preprocessing.StandardScaler() | neighbors.KNNRegressor(n_neighbors=5, engine=neighbors.LazySearch(window_size=60))


def hoeffding() -> Regressor:
    return tree.HoeffdingAdaptiveTreeRegressor(grace_period=50, seed=1)


def history() -> pl.DataFrame:
    """A question each noon, from the poll's own date; the answer a day later."""
    from river import datasets

    rows = []
    for x, y in datasets.TrumpApproval():
        asked = datetime(1, 1, 1, 12, tzinfo=UTC) + timedelta(days=int(x["ordinal_date"]) - 1)
        raw = {name: float(x[name]) for name in POLLSTERS}
        id = f"{asked:%Y-%m-%d}"
        rows.append({"event_id": id, "event_time": asked, **raw, "label": float(y), "label_time": asked + timedelta(days=1)})
    return pl.DataFrame(rows)


dataset = Dataset(
    task="regression",
    event=Schema({name: Column(pl.Float64, between=(0, 100)) for name in POLLSTERS}),
    label=Column(pl.Float64, between=(0, 100)),
    features=[pl.col(*POLLSTERS)],
    models={"linear": linear, "neighbours": neighbours, "hoeffding": hoeffding},
    loss=Loss("absolute", scale=10),
    metrics=["MAE", "RMSE"],
    every=timedelta(days=1),
    cadence=timedelta(days=1),
    labels=Labels(window=timedelta(days=14)),
    history=history,
)
