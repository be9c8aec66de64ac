"""Will this flight arrive more than 15 minutes late? Asked at the scheduled departure, answered at the gate.

The departures from New York's airports in January 2013; ``data/make_flights.py`` tells where they come from, and
makes other months or the whole year.
"""

from datetime import timedelta

import polars as pl
from river import compose, feature_extraction, forest, linear_model, optim, preprocessing, stats
from river.base import Classifier, Transformer
from river.drift import NoDrift
from sklearn import ensemble

from millrace import Batch, Column, Dataset, Labels, Schema, count, expect

LOCAL = pl.col("event_time").dt.convert_time_zone("America/New_York")
NUMBERS = ("distance", "rain", "visib")
DEPARTURES = ("from_here_15m", "from_here_1h", "from_here_3h", "to_there_1h", "of_the_airline_1h")
CATEGORIES = ("carrier", "origin", "dest", "hour", "carrier_origin", "origin_hour")


def scaled_and_one_hot() -> compose.TransformerUnion:
    numbers = compose.Select(*NUMBERS) | preprocessing.StandardScaler()
    return numbers + (compose.Select(*CATEGORIES) | preprocessing.OneHotEncoder())


def late_lately(weight: float) -> compose.TransformerUnion:
    """How many were late lately of the same airline here, to the same place, at the same hour."""
    return running_mean("carrier_origin", weight) + running_mean("dest", weight) + running_mean("origin_hour", weight)


def running_mean(by: str, weight: float) -> Transformer:
    return feature_extraction.TargetAgg(by=by, how=stats.EWMean(weight))


def logistic() -> Classifier:
    return scaled_and_one_hot() | linear_model.LogisticRegression(optim.SGD(0.005))


def recent() -> Classifier:
    """What was late lately, and how many departures there were: the one depends on labels, the other is memory."""
    lately = late_lately(0.01) | preprocessing.StandardScaler()
    crowd = compose.Select(*DEPARTURES) | preprocessing.StandardScaler()
    return (scaled_and_one_hot() + lately + crowd) | linear_model.LogisticRegression(optim.SGD(0.005))


def trees() -> Classifier:
    """Ten trees on numbers alone. The running means follow the drift, so no tree is thrown away for it."""
    return (compose.Select(*NUMBERS, "clock") + late_lately(0.05)) | forest.ARFClassifier(
        n_models=10,
        max_depth=6,
        grace_period=400,
        leaf_prediction="mc",
        drift_detector=NoDrift(),
        warning_detector=NoDrift(),
        seed=1,
    )


def nightly() -> Classifier:
    """What a batch model would do, fitted at three in the morning on the last four weeks."""
    boosting = ensemble.HistGradientBoostingClassifier(
        categorical_features="from_dtype",
        learning_rate=0.05,
        max_iter=40,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        random_state=1,
    )
    return Batch(boosting, last=timedelta(days=28), every=timedelta(days=1), at=timedelta(hours=8))


dataset = Dataset(
    task="binary",
    event=Schema(
        {
            "carrier": pl.String,
            "origin": pl.String,
            "dest": pl.String,
            "distance": Column(pl.Float64, between=(0, 6000)),
            "precip": pl.Float64,
            "visib": pl.Float64,
        }
    ),
    label=pl.Boolean,
    features=[
        pl.col("carrier", "origin", "dest", "distance"),
        pl.col("visib").fill_null(10.0),  # an hour without an observation is taken for a fair one
        (pl.col("precip").fill_null(0.0) * 100).log1p().alias("rain"),
        LOCAL.dt.hour().cast(pl.String).alias("hour"),
        (LOCAL.dt.hour().cast(pl.Float64) + LOCAL.dt.minute().cast(pl.Float64) / 60).alias("clock"),
        pl.concat_str("carrier", "origin", separator="-").alias("carrier_origin"),
        pl.concat_str("origin", LOCAL.dt.hour().cast(pl.String), separator="-").alias("origin_hour"),
    ],
    memory=[
        count().by("origin").last("15m").alias("from_here_15m"),
        count().by("origin").last("1h").alias("from_here_1h"),
        count().by("origin").last("3h").alias("from_here_3h"),
        count().by("dest").last("1h").alias("to_there_1h"),
        count().by("carrier_origin").last("1h").alias("of_the_airline_1h"),
    ],
    models={"logistic": logistic, "recent": recent, "forest": trees, "nightly": nightly},
    loss="log",
    metrics=["ROCAUC", "Accuracy"],
    every=timedelta(hours=1),
    cadence=timedelta(hours=1),
    labels=Labels(window=timedelta(days=3)),
    expect=[expect.column_values_to_be_in_set("origin", ["EWR", "JFK", "LGA"])],
    history="data/flights.parquet",
)
