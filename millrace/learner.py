"""How does a model learn a stretch of the log, and what of the examples that it cannot learn?

One on which ``learn_one`` raises, or after which the model no longer answers, is skipped, and the model is as if it had
never seen it::

    state 0 ── a b c ── raises at c:  back to state 0, learn a b, keep state 2, skip c, go on with d
    state 0 ── a … z ── answers NaN:  back to state 0, halve a … z until the example is found, skip it, go on after it
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from millrace import arguments, state, task
from millrace.clock import from_microseconds
from millrace.examples import Example

SUSPEND_AFTER = 100
"""Examples in a row that a model cannot learn, before it is suspended."""
_ASKED = 8
"""Examples at the end of a stretch that a copy of the model is asked about."""

Skip = dict[str, Any]
"""``seq``, ``event_id``, ``error``: what is on record of an example that was skipped."""


class Learner:
    """A model that learns examples in order, and can go back.

    Parameters
    ----------
    data
        The model's state, as :func:`millrace.state.slim` wrote it.
    kind
        The task: binary, multiclass or regression.
    failing
        How many examples it had skipped in a row before.

    Attributes
    ----------
    estimator, data
        The model after what it has learned, and the same as bytes.
    skipped
        The examples that it could not learn, in order.
    """

    def __init__(self, data: bytes, kind: str, failing: int = 0) -> None:
        self.data = data
        self.estimator = state.load(data)
        self._stored = False
        self.failing = failing
        self.skipped: list[Skip] = []
        self._kind = kind

    @property
    def suspended(self) -> bool:
        """Whether the model failed on so many examples in a row that it learns no more."""
        return self.failing >= SUSPEND_AFTER

    def learn(self, examples: Sequence[Example]) -> int:
        """Learn examples in order, and return how many were dealt with: fewer than given where it was suspended.

        What makes a model fail is the same however the log is cut into stretches, if the model, once it answers NaN, goes
        on doing so, as one with a NaN in it does. A failure that heals within a stretch is not seen.
        """
        at, width = 0, len(examples)
        while at < len(examples) and not self.suspended:
            stretch = examples[at : at + width]
            if self._stored:  # to learn on with one that was taken apart is slower than to load it first
                self.estimator, self._stored = state.load(self.data), False
            learned, error = learn_until_error(self.estimator, stretch)
            if error is not None:  # it may have left the model half changed
                self.estimator = state.load(self.data)
                learn_until_error(self.estimator, stretch[:learned])
            data, self._stored = state.slim(self.estimator), True
            fault = self._fault(data, stretch[:learned])
            if fault is None:
                self.data = data
            else:
                error, width = fault, 0
                learned = self._before_fault(stretch[:learned])
            at, width = at + learned, max(1, 2 * width)
            if learned:
                self.failing = 0
            if error is not None:
                seq, event_id, *_ = examples[at]
                self.skipped.append({"seq": seq, "event_id": event_id, "error": error})
                self.failing += 1
                at += 1
        return at

    def _fault(self, data: bytes, stretch: Sequence[Example]) -> str | None:
        """Ask a copy of the model about the last of a stretch; return what is wrong that was not before it."""
        if not stretch:
            return None
        xs = [x for *_, x in stretch[-_ASKED:]]
        _, errors = task.predict(state.load(data), self._kind, xs)
        if not any(errors):
            return None
        _, before = task.predict(state.load(self.data), self._kind, xs)
        found = [error for error, earlier in zip(errors, before, strict=True) if error and not earlier]
        return f"after it, {found[0]}" if found else None

    def _before_fault(self, stretch: Sequence[Example]) -> int:
        """Go to the state before the example after which the model fails; return its place in the stretch."""
        good, low, high = self.data, 0, len(stretch)
        while high - low > 1:
            middle = (low + high) // 2
            tried = state.load(good)
            learn_until_error(tried, stretch[low:middle])
            data = state.slim(tried)
            if self._fault(data, stretch) is None:
                good, low = data, middle
            else:
                high = middle
        self.data, self.estimator = good, state.load(good)
        return low


def learn_until_error(estimator: Any, examples: Sequence[Example]) -> tuple[int, str | None]:
    """Learn examples in order; return how many were learned, and the error that the next one raised, if one did."""
    names, at = arguments.takes(estimator), 0
    learn_one = estimator.learn_one
    try:
        if "w" in names and any(example[4] != 1.0 for example in examples):
            for at, example in enumerate(examples):  # noqa: B007 - where it fails
                *_, label, _, x = example
                learn_one(x, label, **given(names, example))
        elif "t" in names:
            for at, (_, _, event_time, label, _, x) in enumerate(examples):  # noqa: B007 - as above
                learn_one(x, label, t=from_microseconds(event_time))
        else:
            for at, (_, _, _, label, _, x) in enumerate(examples):  # noqa: B007 - as above
                learn_one(x, label)
    except MemoryError:  # the machine's failure, not the model's
        raise
    except Exception as error:  # noqa: BLE001 - whatever a model raises, it skips the example, and says so
        return at, f"{type(error).__name__}: {error}"
    return len(examples), None


def given(names: Collection[str], example: Example) -> dict[str, Any]:
    """Return what of an example's time and weight a model is given; of weight 1 it is given none, so as River learns it.

    Parameters
    ----------
    names
        What the model takes, as :func:`millrace.arguments.takes` tells it.
    """
    _, _, event_time, _, weight, _ = example
    found: dict[str, Any] = {"t": from_microseconds(event_time)} if "t" in names else {}
    return {**found, "w": weight} if "w" in names and weight != 1.0 else found
