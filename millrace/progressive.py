"""How good is a model, judged by what it said before it knew, when the answers come later than the questions?

Delayed progressive validation, in the order and to the last bit of River's own. The order is worked out beforehand from
two columns of times; so nothing is copied, and nothing waits in a queue::

    question 0   12:00   its answer comes at 12:30
    question 1   12:10   it is never answered
    question 2   12:30   the answer to 0 is told right before it; its own comes at 12:30, too: told right before question 3
    question 3   14:00   its answer comes at 15:00: told after the last question

Between two publications the model that serves does not change. So with a cadence every question that falls between
them is asked first, and the answers are learned after: whenever the one model is asked, it is the one that served.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from millrace import arguments
from millrace.errors import MillraceError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from river.metrics.base import Metric

NEVER = int(np.iinfo(np.int64).max)
"""The time of an answer that never comes."""


def times(column: pl.Series) -> NDArray[np.int64]:
    """Return a column of moments as microseconds since 1970 (UTC), in its order; null is :data:`NEVER`."""
    return column.dt.epoch("us").fill_null(NEVER).to_numpy()


def order(
    asked: NDArray[np.int64],
    answered: NDArray[np.int64],
    cadence: timedelta | None = None,
    of: NDArray[np.int64] | None = None,
    ranks: NDArray[np.int64] | None = None,
) -> list[int]:
    """Return in which order examples are asked about and learned: that of River's ``stream.simulate_qa``.

    Questions are asked as they stand. An answer is told right before the first later question that is asked at or after
    its time, and after the last question where there is none; at the same place in order of (time, question).

    Parameters
    ----------
    asked
        When each question is asked: microseconds since 1970, ascending.
    answered
        When its answer comes, likewise; :data:`NEVER` for a question only.
    cadence
        How often the model is published: at each multiple of it since 1970, before what is asked at that moment. An answer
        counts from the first publication at or after its time and after its question. Answers are told in the same order
        whatever the cadence. None: each counts at once.
    of
        Which question each answer is of, where some have two: of one question's answers at the same time that which stands
        last comes first. None: answer ``i`` is that of question ``i``.
    ranks
        In which order answers at the same time are told, whatever their questions: none before one of a lower rank. None: as
        River does.

    Returns
    -------
    list
        ``i`` where example ``i`` is asked about, ``~i`` (below zero) where it is learned.

    Raises
    ------
    MillraceError
        When the questions are not in order of time, or the cadence is not longer than nothing.

    Examples
    --------
    >>> asked, answered = np.array([0, 10, 30, 120]), np.array([30, NEVER, 30, 180])
    >>> order(asked, answered)
    [0, 1, -1, 2, -3, 3, -4]
    >>> order(asked, answered, cadence=timedelta(microseconds=60))
    [0, 1, 2, -1, -3, 3, -4]
    >>> order(asked[:2], np.array([30, 10, 0]), of=np.array([0, 1, 0]))
    [0, -3, 1, -2, -1]
    >>> order(asked[:3], np.array([30, 30, 30]), ranks=np.array([3, 1, 2]))
    [0, 1, -2, 2, -3, -1]
    """
    back = np.flatnonzero(asked[1:] < asked[:-1])
    if back.size:
        i = int(back[0])
        raise MillraceError(
            f"question {i + 1} is asked at {asked[i + 1]}, before question {i} at {asked[i]} (microseconds since 1970); "
            "sort by (event_time, arrival) first"
        )
    which, of, comes = _told(asked, answered, cadence, of, ranks)
    if cadence is None:
        places = np.maximum.accumulate(np.maximum(np.searchsorted(asked, comes), of + 1))
    else:
        places = np.searchsorted(asked, comes)
    answers = np.arange(which.size) + places  # behind so many answers and so many questions
    steps = np.empty(asked.size + which.size, np.int64)
    questions = np.ones(steps.size, bool)
    questions[answers] = False
    steps[answers] = ~which
    steps[questions] = np.arange(asked.size)
    return steps.tolist()


def refreshes(
    asked: NDArray[np.int64],
    answered: NDArray[np.int64],
    cadence: timedelta | None = None,
    of: NDArray[np.int64] | None = None,
    ranks: NDArray[np.int64] | None = None,
) -> int:
    """Count the publications that are asked about anything: those at or before the last question that know something new.

    Parameters
    ----------
    asked, answered, cadence, of, ranks
        As :func:`order` takes them; without a cadence the model that is asked is another after each answer.
    """
    _, _, comes = _told(asked, answered, cadence, of, ranks)
    moments = comes if cadence is None else np.unique(comes)
    return int(np.count_nonzero(moments <= asked[-1])) if asked.size else 0


def _told(
    asked: NDArray[np.int64],
    answered: NDArray[np.int64],
    cadence: timedelta | None,
    of: NDArray[np.int64] | None,
    ranks: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the answers in the order in which they are told, of which question each is, and from which moment on it counts."""
    of = np.arange(asked.size) if of is None else of
    comes = np.maximum(answered, asked[of])  # an answer does not precede its question
    ties = (-np.arange(of.size), of) if ranks is None else (ranks,)
    which = np.lexsort((*ties, comes))[: np.count_nonzero(answered != NEVER)]
    comes, of = comes[which], of[which]
    return which, of, comes if cadence is None else np.maximum.accumulate(_published(asked[of], comes, cadence))


def _published(asked: NDArray[np.int64], comes: NDArray[np.int64], cadence: timedelta) -> NDArray[np.int64]:
    """Return when the model is published that knows an answer for the first time."""
    every = cadence // timedelta(microseconds=1)
    if every <= 0:
        raise MillraceError(f"cadence {cadence!r} must be longer than nothing")
    return np.maximum(-(-comes // every), asked // every + 1) * every


def predictions(
    model: Any,
    ask: Callable[[Any], Any],
    xs: Sequence[Any],
    labels: Sequence[Any],
    event_times: Sequence[datetime],
    steps: Sequence[int],
    ask_many: Callable[[list[Any]], Sequence[Any]] | None = None,
    waiting: dict[int, Any] | None = None,
    weights: Sequence[float] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Ask a model about examples, and let it learn them, step by step.

    The learner itself is asked, as in River's own function: where asking changes a model, it is changed here, too. What
    the model raises is raised.

    Parameters
    ----------
    model
        What learns.
    ask
        How it is asked: its ``predict_proba_one``, say.
    xs, labels, event_times
        The examples, in order of their questions. The label of one that is never answered is not looked at, and times are
        looked at for models that take ``t`` alone.
    steps
        The :func:`order` of questions and answers.
    ask_many
        How it is asked about those at once between which it learns nothing, where that is faster; else one by one.
    waiting
        What was said in earlier steps of examples whose answers come in these; it holds those that wait after them.
    weights
        How much each example counts, for models that take ``w``; by default each counts 1.

    Yields
    ------
    tuple
        The example, by its place in `xs`, and what the model had said of it: when its answer comes, right before it is
        learned; None where it was not asked about.

    Examples
    --------
    >>> from millrace.loss import Loss
    >>> from millrace.prior import PriorClassifier
    >>> model, loss, labels = PriorClassifier([False, True]), Loss("brier"), [True, True, True]
    >>> said = predictions(model, model.predict_proba_one, [{}, {}, {}], labels, [], [0, 1, ~0, 2, ~1, ~2])
    >>> [round(loss.of(prediction, labels[i]), 2) for i, prediction in said]
    [0.5, 0.5, 0.12]
    """
    said: dict[int, Any] = {} if waiting is None else waiting
    learn_one, pop, names = model.learn_one, said.pop, arguments.takes(model)
    timed, weighted = "t" in names, weights is not None and "w" in names
    for at, step in enumerate(steps):
        if step >= 0:
            if ask_many is None:
                said[step] = ask(xs[step])
            elif step not in said:
                run = list(itertools.takewhile((0).__le__, map(steps.__getitem__, range(at, len(steps)))))
                said.update(zip(run, ask_many([xs[i] for i in run]), strict=True))
            continue
        i = ~step
        yield i, pop(i, None)
        if weighted and weights is not None and weights[i] != 1.0:
            learn_one(xs[i], labels[i], w=weights[i], **({"t": event_times[i]} if timed else {}))
        elif timed:
            learn_one(xs[i], labels[i], t=event_times[i])
        else:
            learn_one(xs[i], labels[i])


def score(
    model: Any,
    metric: Metric,
    xs: Sequence[Any],
    labels: Sequence[Any],
    event_times: Sequence[datetime],
    steps: Sequence[int],
) -> Metric:
    """Update one of River's metrics, or a sum of them, with all that a model says; return it.

    It is what ``river.evaluate.progressive_val_score(dataset, model, metric, moment=…, delay=…)`` returns, to the last bit:
    the model is asked for probabilities where the metric takes them, else for a label or a value, and an empty prediction
    is not scored.

    Parameters
    ----------
    metric
        A metric of ``river.metrics`` for classifiers or regressors.
    model, xs, labels, event_times, steps
        As :func:`predictions` takes them.

    Raises
    ------
    MillraceError
        When the metric does not fit the model.
    """
    from river.base import Classifier

    if not metric.works_with(model):
        raise MillraceError(f"metric {type(metric).__name__} does not fit a {type(model).__name__}; choose one for its task")
    takes_labels = not isinstance(model, Classifier) or metric.requires_labels
    ask, update = model.predict_one if takes_labels else model.predict_proba_one, metric.update
    for i, prediction in predictions(model, ask, xs, labels, event_times, steps):
        if prediction or prediction not in (None, {}):  # False and 0.0 are no empty predictions
            update(labels[i], prediction)
    return metric
