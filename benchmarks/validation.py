"""What does it cost to judge a model with delayed labels, at several cadences, beside bare loops that know each at once?"""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.figures import Figure, timed
from benchmarks.learning import in_memory
from benchmarks.place import events, flights, land_by_day, place
from millrace import catalog, features, metrics, progressive
from millrace.dataset import Dataset
from millrace.run import run
from millrace.tables import Table
from millrace.validate import validate

NUMBERS = ("distance", "rain", "visib", "clock")
ROUNDS = 5
"""Measurements a repeat: one takes a fraction of a second, and what is to be seen is a few hundredths of it."""


def validation(repeat: int) -> list[Figure]:
    """Judge two models on a month's flights, answered when they arrived: Millrace, River's own function, a bare loop.

    Millrace's time includes working out the order. All have the features as dicts in memory, and LogLoss as metric.
    """
    from river import linear_model, preprocessing, tree

    models: dict[str, Callable[[], Any]] = {
        "scaler and logistic regression": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        "Hoeffding tree": tree.HoeffdingTreeClassifier,
    }
    month = Month()
    figures = []
    for name, build in models.items():
        runs = [month.judged(build) for _ in range(ROUNDS * repeat)]
        for who, at in (("validate a month with delayed labels", 0), ("the same by River's own function", 1)):
            ratio = statistics.median(run[at] / run[2] for run in runs)
            seconds = statistics.median(run[at] for run in runs)
            figures.append(Figure(f"{who}: {name}", f"{seconds:.2f} s", "bare loop, labels at once", ratio))
    return figures


CADENCES = ("label", "1h", "6h", "1d", "3d", "7d")


def curve(repeat: int) -> list[Figure]:
    """Judge one model at six cadences over a month that was lived through, by two processes and by one; draw nothing."""

    def once() -> tuple[float, float, float]:
        with place() as name:
            land_by_day(name, flights())
            run(name)
            dataset = catalog.load(name)
            rows = in_memory(Table(name, "examples").read())
            bare = sum(timed(functools.partial(_bare, dataset, rows)) for _ in CADENCES)
            judge = functools.partial(validate, name, "logistic", against="logistic", cadences=CADENCES, keep=False)
            beside = timed(judge)
            with patch("millrace.parallel.WORTH_PROCESSES", 10**9):
                alone = timed(judge)
            return beside, alone, bare

    runs = [once() for _ in range(repeat)]
    beside, alone, bare = (statistics.median(times) for times in zip(*runs, strict=True))
    peer = "six bare loops that predict, score and learn"
    return [
        Figure("a cadence curve of 6 points, a month, all processors", f"{beside:.2f} s", peer, beside / bare),
        Figure("the same by one process", f"{alone:.2f} s", peer, alone / bare),
    ]


def _bare(dataset: Dataset, rows: list[tuple[Any, dict[str, Any]]]) -> None:
    model, measured = dataset.models["logistic"](), metrics.build(dataset)
    for label, x in rows:
        prediction = model.predict_proba_one(x)
        dataset.race_loss.of(prediction, label)
        for metric in measured:
            metrics.update(metric, prediction, label)
        model.learn_one(x, label)


def waiting(repeat: int) -> list[Figure]:
    """From enter until ``millrace validate`` says what it loads, and until the first answer is scored."""
    told = "lambda model, done, total: done and print(done, flush=True)"
    asked = f"validate('flights', 'logistic', cadences=['1h'], keep=False, progress={told})"
    script = f"from millrace.validate import validate\nif __name__ == '__main__': {asked}"
    with place() as name:
        land_by_day(name, flights())
        run(name)
        line = [str(Path(sys.executable).with_name("millrace")), "validate", name, "logistic"]
        says = statistics.median(_first_line(line) for _ in range(repeat))
        scores = statistics.median(_first_line([sys.executable, "-c", script]) for _ in range(repeat))
    return [
        Figure("validate, from enter to a line that says what is loading", f"{says:.2f} s", "–", None),
        Figure("validate, from enter to the first scored answer", f"{scores:.2f} s", "–", None),
    ]


def _first_line(command: list[str]) -> float:
    """Return how long a command takes to its first line."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        seconds = time.perf_counter() - start
        process.kill()
    return seconds


class Month:
    """January's flights in memory; 606 of 27,004 are never answered."""

    def __init__(self) -> None:
        rows = flights()
        with place() as name:
            x = features.compute(catalog.load(name), events(rows))
        self.xs = features.rows(x.select(NUMBERS))
        self.labels = rows["label"].to_list()
        self.asked, self.answered = rows["event_time"], rows["label_time"]
        self.event_times = self.asked.to_list()
        self.delays = (self.answered - self.asked).fill_null(timedelta(days=3)).to_list()

    def judged(self, build: Callable[[], Any]) -> tuple[float, float, float]:
        """Judge a model in three ways; return the times, of which two come to the same number."""
        from river.metrics import LogLoss

        ways = (self.by_millrace, self.by_river, self.bare)
        metrics = [LogLoss() for _ in ways]
        models = [build() for _ in ways]
        ours, rivers, bare = (
            worked(functools.partial(way, model, metric)) for way, model, metric in zip(ways, models, metrics, strict=True)
        )
        assert metrics[0].get() == metrics[1].get(), metrics
        return ours, rivers, bare

    def by_millrace(self, model: Any, metric: Any) -> None:
        """Ask and learn in the order worked out beforehand."""
        steps = progressive.order(progressive.times(self.asked), progressive.times(self.answered))
        progressive.score(model, metric, self.xs, self.labels, self.event_times, steps)

    def by_river(self, model: Any, metric: Any) -> None:
        """Ask and learn in River's own loop; the times come from the side, or the model would see them."""
        from river.evaluate import progressive_val_score

        moments, delays = iter(self.event_times), iter(self.delays)
        dataset = zip(self.xs, self.labels, strict=True)
        progressive_val_score(dataset, model, metric, moment=lambda _x: next(moments), delay=lambda _x, _y: next(delays))

    def bare(self, model: Any, metric: Any) -> None:
        """Ask, score, learn, as if each label were known at once."""
        predict, update, learn = model.predict_proba_one, metric.update, model.learn_one
        for x, label in zip(self.xs, self.labels, strict=True):
            prediction = predict(x)
            if label is not None:
                if prediction:
                    update(label, prediction)
                learn(x, label)


def worked(function: Callable[[], Any]) -> float:
    """Return how many seconds the processor worked: nothing here waits, and others' work on the machine is not counted."""
    start = time.process_time()
    function()
    return time.process_time() - start
