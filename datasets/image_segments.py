"""What does this piece of an outdoor picture show? Seven classes, of which a model hears as they appear."""

from datetime import UTC, datetime, timedelta

import polars as pl
from river import forest, naive_bayes, preprocessing, tree
from river.base import Classifier

from millrace import Dataset, Labels, Schema

FEATURES = [
    "region-centroid-col", "region-centroid-row", "short-line-density-5", "short-line-density-2", "vedge-mean", "vegde-sd",
    "hedge-mean", "hedge-sd", "intensity-mean", "rawred-mean", "rawblue-mean", "rawgreen-mean", "exred-mean", "exblue-mean",
    "exgreen-mean", "value-mean", "saturation-mean", "hue-mean",
]  # fmt: skip


def bayes() -> Classifier:
    return preprocessing.StandardScaler() | naive_bayes.GaussianNB()


def hoeffding() -> Classifier:
    return tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1)


def trees() -> Classifier:
    return forest.ARFClassifier(n_models=3, seed=1)


def history() -> pl.DataFrame:
    """A picture a minute; a person names it within the hour, sooner or later by a fixed rule."""
    from river import datasets

    rows, start = [], datetime(2026, 1, 1, tzinfo=UTC)
    for i, (x, y) in enumerate(datasets.ImageSegments()):
        asked = start + timedelta(minutes=i)
        answered = asked + timedelta(minutes=1 + i * 7919 % 60)
        raw = {name: float(x[name]) for name in FEATURES}
        rows.append({"event_id": f"segment-{i:04d}", "event_time": asked, **raw, "label": y, "label_time": answered})
    return pl.DataFrame(rows)


dataset = Dataset(
    task="multiclass",
    event=Schema(dict.fromkeys(FEATURES, pl.Float64)),
    label=pl.String,
    features=[pl.col(*FEATURES)],
    models={"bayes": bayes, "hoeffding": hoeffding, "forest": trees},
    loss="log",
    metrics=["Accuracy", "MacroF1"],
    every=timedelta(hours=1),
    cadence=timedelta(hours=1),
    labels=Labels(window=timedelta(days=1)),
    history=history,
)
