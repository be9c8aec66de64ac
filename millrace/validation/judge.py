"""What would a model have said of a stretch's events, before it knew, and what does each answer cost it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from millrace import arguments, collector, metrics, progressive, state, task
from millrace.dataset import Dataset
from millrace.learner import SUSPEND_AFTER
from millrace.validation import scores
from millrace.validation.questions import Questions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TELL_EVERY = 1_000


@dataclass
class Judged:
    """What one model at one cadence said of a stretch.

    Parameters
    ----------
    losses
        One a question, in their order; NaN where it does not count, or is not answered.
    metrics
        River's, over those that count, in order of the answers.
    empty
        Of those that count, how many predictions were empty.
    skipped
        The examples that it could not learn, in order: when each was asked about (UTC), and the error.
    failure
        The first error that asking raised; None where none did.
    suspended
        Whether it failed on so many in a row that it learned no more.
    refreshes, seconds
        How often the model that serves was another, and what learning took, with storing and loading it so often.
    """

    losses: NDArray[np.float64]
    metrics: dict[str, float | None]
    empty: int = 0
    skipped: list[tuple[datetime, str]] = field(default_factory=list)
    failure: str | None = None
    suspended: bool = False
    refreshes: int = 0
    seconds: float = 0.0


class _Failed(Exception):
    """What learning an example raised."""

    def __init__(self, i: int, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.i = i


class _Asked:
    """How models are asked; what one raises makes its prediction empty, and the first of it is remembered."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.failure: str | None = None
        self.seconds = 0.0

    def one(self, model: Any) -> Callable[[Any], Any]:
        """Return how a model is asked about one event."""
        ask = model.predict_one if self._kind == "regression" else model.predict_proba_one

        def asked(x: Any) -> Any:
            nonlocal ask
            started = perf_counter()
            try:
                try:
                    return ask(x)
                except NotImplementedError:  # some of River's classifiers know labels only
                    ask = task.certain(model)
                    return ask(x)
            except Exception as error:  # noqa: BLE001 - whatever a model raises is its own failure
                self._failed(error)
                return None
            finally:
                self.seconds += perf_counter() - started

        return asked

    def many(self, model: Any) -> Callable[[list[Any]], Any] | None:
        """Return how it is asked about many at once, where that is faster."""
        if not getattr(model, "many", False):
            return None
        ask = model.predict_many if self._kind == "regression" else model.predict_proba_many

        def asked(xs: list[Any]) -> Any:
            started = perf_counter()
            try:
                return ask(xs)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error)
                return [None] * len(xs)
            finally:
                self.seconds += perf_counter() - started

        return asked

    def _failed(self, error: Exception) -> None:
        self.failure = self.failure or f"{type(error).__name__}: {error}"


def judge(
    dataset: Dataset,
    questions: Questions,
    data: bytes,
    cadence: timedelta | None,
    tell: Callable[[int], None] = lambda done: None,
) -> Judged:
    """Ask a model each question and let it learn each answer, in order, and score what it said.

    An example on which ``learn_one`` raises is skipped as the live learner skips it: the model is as if it had never seen
    it. One that fails on too many in a row is suspended: it learns no more, and goes on answering by what it knew. (Live, an
    example after which a model answers NaN is skipped, too; here such a model answers nothing from then on.)

    Parameters
    ----------
    questions
        What is asked, and when it is answered.
    data
        The model's state at the beginning, as :func:`millrace.state.slim` writes it.
    cadence
        How often it is published; None: its every state.
    tell
        Is told how many questions were answered.
    """
    told = questions.asked, questions.answered, cadence, questions.of, questions.ranks
    steps = progressive.order(*told)
    asked = _Asked(dataset.task)
    said: list[tuple[int, Any]] = []
    skipped: list[tuple[datetime, str]] = []
    waiting: dict[int, Any] = {}
    at, failing = 0, 0
    started = perf_counter()
    with collector.spared():
        while failing < SUSPEND_AFTER:
            model = state.load(data)
            before = dict(waiting)
            try:
                said += _said(model, model, asked, questions, steps[at:], waiting, tell)
                break
            except _Failed as error:  # it may have left the model half changed
                model, waiting = state.load(data), before
                upto = steps.index(~error.i, at)
                learned = _said(model, model, asked, questions, steps[at:upto], waiting, tell)
                said += [*learned, (error.i, waiting.pop(error.i, None))]
                skipped.append((questions.times[error.i], str(error)))
                failing = 1 if learned else failing + 1
                data, at = state.slim(model), upto + 1
        else:
            said += _said(_Suspended(), state.load(data), asked, questions, steps[at:], waiting, tell)
    learning = perf_counter() - started - asked.seconds
    judged = _scored(dataset, questions, [one for one in said if one[0] < questions.asked.size])
    judged.skipped, judged.failure, judged.suspended = skipped, asked.failure, failing >= SUSPEND_AFTER
    judged.refreshes = progressive.refreshes(*told)
    started = perf_counter()
    state.load(state.slim(model))
    judged.seconds = learning + judged.refreshes * (perf_counter() - started)
    return judged


class _Suspended:
    """Stands in for a model that learns no more."""

    def learn_one(self, x: Any, y: Any) -> None:
        """Learn nothing."""


def _said(
    learner: Any,
    model: Any,
    asked: _Asked,
    questions: Questions,
    steps: list[int],
    waiting: dict[int, Any],
    tell: Callable[[int], None],
) -> list[tuple[int, Any]]:
    """Return what the model said of each question that is answered, in order of the answers, which the learner is told."""
    names = arguments.takes(learner)
    times = questions.times if "t" in names else []
    weights = questions.weights if "w" in names else None
    said: list[tuple[int, Any]] = []
    following = progressive.predictions(
        learner, asked.one(model), questions.xs, questions.labels, times, steps, asked.many(model), waiting, weights
    )
    try:
        for one in following:
            said.append(one)
            if len(said) == 1 or not len(said) % _TELL_EVERY:
                tell(len(said))
    except MemoryError:  # the machine's failure, not the model's
        raise
    except Exception as error:
        raise _Failed(said[-1][0], error) from error
    tell(len(said))
    return said


def _scored(dataset: Dataset, questions: Questions, said: list[tuple[int, Any]]) -> Judged:
    losses = np.full(questions.asked.size, math.nan)
    built, empty = metrics.build(dataset), 0
    of, counts, labels = dataset.race_loss.of, questions.counts.tolist(), questions.labels
    for i, answer in said:
        if not counts[i]:
            continue
        prediction = task.finite(answer)
        losses[i] = of(prediction, labels[i])
        if prediction in (None, {}):
            empty += 1
            continue
        for metric in built:
            metrics.update(metric, prediction, labels[i])
    return Judged(losses, metrics.values(built) | _exact(dataset, built, questions, said), empty)


def _exact(dataset: Dataset, built: list[Any], questions: Questions, said: list[tuple[int, Any]]) -> dict[str, float | None]:
    """Return the area under the ROC curve from all predictions; River's own sees ten thresholds."""
    if dataset.task != "binary" or "ROCAUC" not in {type(metric).__name__ for metric in built}:
        return {}
    shares = [
        (prediction.get(True, 0.0), questions.labels[i])
        for i, prediction in said
        if questions.counts[i] and isinstance(prediction, Mapping) and prediction
    ]
    given, positive = (np.array([pair[side] for pair in shares], kind) for side, kind in ((0, float), (1, bool)))
    return {"ROCAUC (exact)": scores.area(given, positive)}
