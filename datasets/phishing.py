"""Is this web page a phishing page? 1,250 pages, shipped with River; made to arrive one a minute."""

from datetime import UTC, datetime, timedelta

import polars as pl
from river import linear_model, naive_bayes, preprocessing, tree
from river.base import Classifier

from millrace import Dataset, Labels, Schema

FEATURES = [
    "empty_server_form_handler", "popup_window", "https", "request_from_other_domain", "anchor_from_other_domain",
    "is_popular", "long_url", "age_of_domain", "ip_in_url",
]  # fmt: skip


def logistic() -> Classifier:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def bayes() -> Classifier:
    return naive_bayes.GaussianNB()


def hoeffding() -> Classifier:
    return tree.HoeffdingTreeClassifier(grace_period=50)


def history() -> pl.DataFrame:
    """A page a minute; a person looks at it within five hours, sooner or later by a fixed rule."""
    from river import datasets

    rows, start = [], datetime(2026, 1, 1, tzinfo=UTC)
    for i, (x, y) in enumerate(datasets.Phishing()):
        asked = start + timedelta(minutes=i)
        answered = asked + timedelta(minutes=1 + i * 7919 % 300)
        rows.append({"event_id": f"page-{i:04d}", "event_time": asked, **x, "label": bool(y), "label_time": answered})
    return pl.DataFrame(rows)


dataset = Dataset(
    task="binary",
    event=Schema(dict.fromkeys(FEATURES, pl.Float64)),
    label=pl.Boolean,
    features=[pl.col(*FEATURES)],
    models={"logistic": logistic, "bayes": bayes, "hoeffding": hoeffding},
    loss="log",
    metrics=["ROCAUC", "Accuracy"],
    every=timedelta(hours=1),
    cadence=timedelta(hours=1),
    labels=Labels(window=timedelta(days=1)),
    history=history,
)
