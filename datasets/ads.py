"""Will this click lead to a purchase? Nobody says no: who has not bought within seven days will not.

A simulated stream of advertisements, so that the truth is known. A click's true probability is a logistic function of its
device, its placement, its campaign and how often the visitor came before; 0.9% buy, after 12 hours in the mean (exponential);
of the others nothing is ever heard. What the policies of ``Labels(learn=…)`` make of it is measured in docs/delayed-labels.md.
"""

import math
import random
from datetime import UTC, datetime, timedelta

import polars as pl
from river import compose, linear_model, optim, preprocessing

from millrace import Column, Dataset, Labels, Schema

START, DAYS, WINDOW, DELAY = datetime(2026, 1, 1, tzinfo=UTC), 21, timedelta(days=7), timedelta(hours=12)
INTERCEPT = -5.44
DEVICES = {"phone": -0.3, "tablet": 0.0, "computer": 0.5}
PLACEMENTS = {"feed": -0.4, "search": 0.9, "banner": -0.8}
CAMPAIGNS = {"spring": 0.4, "sale": 0.7, "brand": -0.5, "retarget": 0.9, "video": -0.9, "news": -0.2}


def clicks(a_day: int, days: int = DAYS, seed: int = 20190916) -> pl.DataFrame:
    """Simulate clicks, in order of time.

    Parameters
    ----------
    a_day
        How many, at even distances.
    days
        For how long, from :data:`START`.
    seed
        Of the generator; the same gives the same stream.

    Returns
    -------
    DataFrame
        ``event_id``, ``event_time``, the raw columns, ``label`` and ``label_time`` (null where no purchase came within
        :data:`WINDOW`), and ``truth``, the probability by which it was drawn.
    """
    source, n = random.Random(seed), a_day * days  # noqa: S311 - a simulation, no secret
    drawn = [source.choices(list(effects), k=n) for effects in (DEVICES, PLACEMENTS, CAMPAIGNS)]
    visits = [int(source.expovariate(0.5)) for _ in range(n)]
    truth = [probability(*click) for click in zip(*drawn, visits, strict=True)]
    delays = [source.expovariate(1.0) * DELAY if source.random() < one else None for one in truth]
    frame = pl.DataFrame(dict(zip(["device", "placement", "campaign"], drawn, strict=True)) | {"visits": visits, "truth": truth})
    number, delay = pl.int_range(n), pl.Series(delays, dtype=pl.Duration("us"))
    at = START + number * timedelta(days=1) / a_day
    bought = delay <= WINDOW  # null where nothing was ever bought
    return frame.with_columns(
        event_id=pl.format("click-{}", number),
        event_time=at,
        label=pl.when(bought).then(True),
        label_time=pl.when(bought).then(at + delay),
    )


def probability(device: str, placement: str, campaign: str, visits: int) -> float:
    """The true probability that a click leads to a purchase."""
    effects = DEVICES[device] + PLACEMENTS[placement] + CAMPAIGNS[campaign] + 0.25 * math.log1p(visits)
    return 1 / (1 + math.exp(-INTERCEPT - effects))


def history() -> pl.DataFrame:
    return clicks(1_500).drop("truth")


def logistic():
    words = compose.Select("device", "placement", "campaign") | preprocessing.OneHotEncoder()
    numbers = compose.Select("visits") | preprocessing.StandardScaler()
    return (words + numbers) | linear_model.LogisticRegression(optim.SGD(0.01), intercept_lr=0.01)


dataset = Dataset(
    task="binary",
    event=Schema(
        {
            "device": Column(pl.String, known=list(DEVICES)),
            "placement": Column(pl.String, known=list(PLACEMENTS)),
            "campaign": Column(pl.String, known=list(CAMPAIGNS)),
            "visits": Column(pl.Int64, between=(0, None)),
        }
    ),
    label=pl.Boolean,
    features=[pl.col("device", "placement", "campaign"), pl.col("visits").cast(pl.Float64).log1p()],
    models={"logistic": logistic},
    loss="log",
    metrics=["ROCAUC", "LogLoss"],
    every=timedelta(hours=1),
    cadence=timedelta(hours=1),
    labels=Labels(window=WINDOW, default=False, learn="window"),
    history=history,
)
