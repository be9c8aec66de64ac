"""Does every dataset that comes with Millrace keep every promise?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import catalog, features, models, outbox, recall, state, task
from millrace.dataset import Dataset
from millrace.examples import as_examples
from millrace.feed import FeedReport, history, moments, put
from millrace.learner import Learner, learn_until_error
from millrace.run import pending, run
from millrace.status import status
from millrace.tables import Table
from tests.conftest import CHECKOUT

NAMES = sorted(path.stem for path in (CHECKOUT / "datasets").glob("*.py"))
SOME = 300
"""Rows of history in a test."""


@pytest.fixture(params=NAMES)
def dataset(request: pytest.FixtureRequest, bundled: Path) -> Dataset:
    found = catalog.load(request.param)
    if found.history is None:
        pytest.skip(f"{found.name} has no stored data to live through")
    return found


def some(dataset: Dataset) -> pl.DataFrame:
    """So many rows of history: the first, or, where answers are held for a window, some of all its time."""
    stored = history(dataset)
    return stored.head(SOME) if dataset.labels.policy == "arrival" else stored.gather_every(stored.height // SOME).head(SOME)


def final(dataset: Dataset) -> pl.DataFrame:
    """Those of them that have their answer, or the default, when all has arrived."""
    stored, labels = some(dataset), dataset.labels
    if labels.window is None or labels.policy == "arrival":
        return stored.filter(pl.col("label").is_not_null())
    clock = stored.select(pl.max_horizontal(pl.col("event_time", "label_time").max())).item()
    return stored.filter(pl.col("event_time") + labels.window < clock).with_columns(pl.col("label").fill_null(labels.default))


def examples(dataset: Dataset) -> list[Any]:
    """Some rows of history as a log would have them."""
    rows = final(dataset)
    x = features.compute(dataset, rows)
    columns = ("event_id", "event_time", "label", pl.lit(1.0).alias("weight"), x.to_struct("x"))
    return as_examples(rows.select(pl.int_range(1, rows.height + 1).alias("seq"), *columns))


def learned(dataset: Dataset, model: str, rows: list[Any]) -> Any:
    """A model of the dataset that has learned these examples."""
    estimator = models.build(dataset, model)
    assert learn_until_error(estimator, rows) == (len(rows), None), model
    return estimator


def live(dataset: Dataset, every: timedelta, ticks_of: int) -> dict[str, Any]:
    """Let some rows of history arrive, cut and grouped in this way; return what must not depend on it."""
    stored = some(dataset)
    for i, moment in enumerate(moments(stored, None, None, every), 1):
        put(dataset, stored, moment, moment + every, FeedReport(dataset.name))
        if i % ticks_of == 0:
            run(dataset.name)
    run(dataset.name)
    found = status(dataset.name)
    assert found.rows == found.events + found.labels + found.quarantined + found.duplicates
    assert found.events == stored.height
    assert found.quarantined == 0, found.reasons
    assert all(model.seq == found.examples for model in found.models.values())
    assert all(model.predictions == found.events for model in found.models.values())
    log = Table(dataset.name, "examples").read("seq", "event_id", "label", "x")
    return {"log": log.rows(), "states": {name: (model.seq, model.digest) for name, model in found.models.items()}}


def test_it_says_what_it_asks(dataset: Dataset) -> None:
    assert dataset.description.partition(".")[0].endswith("?") or "?" in dataset.description


def test_its_models_are_built_exact_and_go_on_after_a_round_trip(dataset: Dataset) -> None:
    rows = examples(dataset)
    for name in dataset.racing:
        whole = learned(dataset, name, rows)
        data = state.slim(models.build(dataset, name))
        for start in range(0, len(rows), 37):
            learner = Learner(data, dataset.task)
            learner.learn(rows[start : start + 37])
            data = learner.data
        parts = state.load(data)
        assert state.difference(whole, parts) is None, name
        xs = [x for *_, x in rows[:20]]
        assert task.predict(whole, dataset.task, xs) == task.predict(parts, dataset.task, xs)


def test_its_predictions_survive_the_table(dataset: Dataset) -> None:
    rows = examples(dataset)
    for name in dataset.racing:
        model = learned(dataset, name, rows)
        predictions, errors = task.predict(model, dataset.task, [x for *_, x in rows[:50]])
        assert not any(errors), name
        again = task.from_columns(dataset, pl.DataFrame(task.to_columns(dataset, predictions)))
        assert again == predictions


def test_its_loss_is_bounded(dataset: Dataset) -> None:
    loss = dataset.race_loss
    labels = final(dataset)["label"].unique().to_list()
    assert dataset.task == "regression" or len(labels) > 1
    for label in labels:
        assert loss.of(None if dataset.task == "regression" else {}, label) == loss.worst
        assert 0 <= loss.of(label if dataset.task == "regression" else {label: 1.0}, label) <= 1e-12


def test_it_lives_and_serves_each_event_once(dataset: Dataset) -> None:
    stored = some(dataset)
    window = dataset.labels.window or timedelta(days=1)
    live(dataset, min((stored["event_time"][-1] - stored["event_time"][0]) / 2, window / 2), ticks_of=8)
    assert not pending(dataset.name)
    served = [orjson.loads(line) for path in outbox.folder(dataset.name).iterdir() for line in path.read_bytes().splitlines()]
    assert sorted(row["event_id"] for row in served) == sorted(stored["event_id"])
    log = Table(dataset.name, "examples").read("event_id", "label")
    assert sorted(log.rows()) == sorted(final(dataset).select("event_id", "label").rows())
    assert log.height > SOME / 2


def test_the_champion_in_mlflow_says_what_was_served(dataset: Dataset) -> None:
    import mlflow

    live(dataset, timedelta(days=400), ticks_of=1)
    model = mlflow.pyfunc.load_model(f"models:/{dataset.name}@champion")
    rows = some(dataset).head(30)
    logged = rows.select("event_id").join(Table(dataset.name, "features").read(), on="event_id", maintain_order="left")
    x = logged["x"].struct.unnest()
    remembered = x.select(list(recall.of(dataset).schema) if dataset.remembers else [])
    answers = model.predict(rows.select("event_time", *dataset.event.columns).hstack(remembered).to_pandas())
    log = Table(dataset.name, "examples").read()
    champion = learned(dataset, status(dataset.name).champion or "prior", as_examples(log))
    expected, _ = task.predict(champion, dataset.task, features.rows(x))
    assert list(answers["prediction"]) == [task.most_probable(prediction) for prediction in expected]
