"""How long do answers take, and does it depend on what they say?

Where it does, the answers so far are no fair sample: a click that is reported at once, and a silence that means no click
after a week, make every event of the last days a click. A model that learns answers as they arrive believes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from millrace import tables
from millrace.clock import MICROSECOND, write_about
from millrace.dataset import Dataset
from millrace.errors import DatasetError
from millrace.waiting import WaitingRoom

RECENT = 50_000
"""So many of the last answers, and of the last events whose windows have closed, are measured."""
ENOUGH = 100
"""With fewer answers nothing is said of a class."""
_APART = 0.1
"""Two classes' delays differ, if the shares that are answered after some time differ by more than this."""
_CHANCE = 1.95
"""Kolmogorov and Smirnov's bound: their distance exceeds this, over the root of nm/(n + m), once in a thousand by chance."""
_FAIR = 0.9
"""The share of the one class that is answered may be this much of the other's."""

_ANSWERS = """
SELECT l.event, l.value, l.time - e.time FROM label l CROSS JOIN event e ON e.arrival = l.event
WHERE l.time >= e.time AND e.time < ? ORDER BY l.arrival DESC LIMIT ?
"""
_CLOSED = "SELECT labelled FROM event WHERE time < ? ORDER BY {} DESC LIMIT ?"
_FOR_EVER = 2**62
_Seconds = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Delay:
    """How long the answers of one class took (of a number: those of a quarter of the values).

    ``median`` and ``late`` (nine of ten answers came within it) are seconds; None without an answer. ``answered`` is the share of
    this class's events of the last ``Delays.stretch`` that have their answer at any one time; None where it is not known.
    """

    of: str
    answers: int
    median: float | None
    late: float | None
    answered: float | None

    def __str__(self) -> str:
        if self.median is None or self.late is None:
            return f"{self.of}: no answers"
        median, late = write_about(self.median), write_about(self.late)
        return f"{self.of}: {self.answers:,} answers, median {median}, nine of ten within {late}"


@dataclass(frozen=True)
class Delays:
    """How long answers take.

    ``source`` tells where it was measured: ``arrived``, ``history`` (the dataset's stored data), or ``nothing``. ``unanswered``
    is the share of events that never got an answer, among those whose window has closed. ``stretch`` (seconds) is the window,
    or else what 99% of the answers took at most. ``distance`` is the largest of Kolmogorov and Smirnov between a class and
    the others. ``differ`` and ``unsafe`` (why; else None) are judged by the rules of :func:`measure`.
    """

    source: str
    answers: int = 0
    unanswered: float | None = None
    stretch: float | None = None
    classes: list[Delay] = field(default_factory=list)
    distance: float | None = None
    differ: bool = False
    unsafe: str | None = None

    def __str__(self) -> str:
        said = "; ".join(map(str, self.classes)) or "no answers yet"
        return said + ("" if self.unanswered is None else f"; never answered: {self.unanswered:.1%} of the events")


def measure(dataset: Dataset, stored: bool = False) -> Delays:
    """Measure the delay of the last answers by class, and judge whether they can be learned as they arrive.

    A delay is the label's time after its event's. Measured are the first labels of events among the last 50,000 labels that
    arrived, late ones too, of events whose windows have closed (for while they are open only the quick ones are there); until
    100 of these are, of all. How many events are never answered is measured on the last 50,000 that have closed. With a
    ``default``, an event that stays without a label is an answer of this class at the close of its window, in what is judged.

    Delays **differ** when the distance of Kolmogorov and Smirnov between a class and the others, 100 answers each at least, is
    above 0.1, and above what chance gives once in a thousand.

    Learning at **arrival** is **unsafe** when they differ so much that it shows over a window: at any one time, of a class's
    events of the last window (length ``W``) the share ``1 - E[min(delay, W)] / W`` is answered. Where the smallest of these
    shares is below 0.9 of the largest, the odds in what was learned of these events are off by more than a tenth. (By this rule a
    difference that is short beside the window does no harm: that late flights land later than others.) It is unsafe, too, when
    one class never has a label of its own: while windows are open, a model sees nothing but the other.

    Parameters
    ----------
    stored
        Where no label has arrived, measure the dataset's ``history``.

    Raises
    ------
    UsageError, DatasetError
        When the dataset's history cannot be read.
    """
    found, unanswered, source = _arrived(dataset)
    if not found.height and stored and dataset.history is not None:
        found, unanswered, source = _of_history(dataset)
    if not found.height:
        return Delays("nothing", unanswered=unanswered)
    seconds, values, natural = found["delay"].to_numpy() / 1e6, found["value"], np.ones(found.height, dtype=bool)
    window, default = dataset.labels.window, dataset.labels.default
    stretch = window.total_seconds() if window else float(np.quantile(seconds, 0.99))
    if default is not None and unanswered and unanswered < 1:
        silent = round(found.height * unanswered / (1 - unanswered))
        seconds, natural = np.append(seconds, np.full(silent, stretch)), np.append(natural, np.zeros(silent, dtype=bool))
        values = values.append(pl.Series([_text(default)] * silent, dtype=pl.String))
    masks = _groups(dataset, values)
    groups = {name: np.sort(seconds[mask]) for name, mask in masks.items()}
    classes = [_delay(name, seconds[mask & natural], groups[name], stretch) for name, mask in masks.items()]
    distance, differ = _compare(groups)
    shares = {one.of: one.answered for one in classes if one.answered is not None and groups[one.of].size >= ENOUGH}
    unsafe = _silent(dataset, classes, unanswered) or (_unfair(shares, stretch) if differ else None)
    return Delays(source, found.height, unanswered, stretch, classes, distance, differ, unsafe)


def undecided(dataset: Dataset) -> DatasetError:
    """Return the error of a default that is not said when to learn: the delay of each class, and what to choose."""
    found, default = measure(dataset, stored=True), dataset.labels.default
    where = {"arrived": f"The last {found.answers:,} answers", "history": f"The {found.answers:,} answers of its history"}
    measured = f"{where[found.source]}: {found}." if found.source in where else "No answer has arrived yet to measure delays by."
    if found.unsafe:
        advice = f"Here {found.unsafe}: {remedy(dataset)}"
    elif found.source == "nothing" or min((one.answers for one in found.classes), default=0) < ENOUGH:
        advice = f"{remedy(dataset)}; learn='arrival' is right only where the delay says nothing about the answer"
    else:
        advice = f"Here it hardly does: learn='arrival' learns soonest; {remedy(dataset)}"
    return DatasetError(
        f"labels: default={default!r} must say when it is learned, for where answers of one class take longer than others, those "
        f"that came first mislead. {measured} {advice}"
    )


def remedy(dataset: Dataset) -> str:
    """Say which label policies do not depend on the delay."""
    window = dataset.labels.window
    length = write_about(window.total_seconds()) if window else "as long as a window that you give"
    held = f"learn='window' holds each answer {length}"
    both = f"{held}, until all of its event's time are there"
    if dataset.task != "binary":
        return both
    return f"{both}; learn='provisional' learns the default at once, and a contrary answer when it comes"


def _arrived(dataset: Dataset) -> tuple[pl.DataFrame, float | None, str]:
    if not tables.created(dataset.name):
        return pl.DataFrame(), None, "nothing"
    with WaitingRoom(dataset.name) as room:
        clock, window = room.clock(), dataset.labels.window
        found = _answers(room, clock - window // MICROSECOND) if clock is not None and window else pl.DataFrame()
        if found.height < ENOUGH:
            found = _answers(room, _FOR_EVER)
        if clock is None or (window is None and not found.height):
            return found, None, "arrived"
        open_for = window // MICROSECOND if window else int(found["delay"].quantile(0.99) or 0)
        last = _CLOSED.format("time" if window else "arrival")  # times are indexed where windows close
        events = room.select(last, clock - open_for, RECENT, columns={"labelled": pl.Int64})["labelled"]
        return found, None if events.is_empty() else 1 - int(events.sum()) / events.len(), "arrived"


def _answers(room: WaitingRoom, before: int) -> pl.DataFrame:
    """Return the first labels of events before a moment, among the last labels; newest first."""
    found = room.select(_ANSWERS, before, RECENT, columns={"event": pl.Int64, "value": pl.String, "delay": pl.Int64})
    return found.unique("event", keep="last", maintain_order=True)


def _of_history(dataset: Dataset) -> tuple[pl.DataFrame, float | None, str]:
    from millrace.feed import history

    delay = (pl.col("label_time") - pl.col("event_time")).dt.total_microseconds().alias("delay")
    stored = history(dataset).select(pl.col("label").cast(pl.String).alias("value"), delay).tail(RECENT)
    answered = stored.drop_nulls().filter(pl.col("delay") >= 0)
    return answered, 1 - answered.height / max(stored.height, 1), "history"


def _groups(dataset: Dataset, values: pl.Series) -> dict[str, np.ndarray[Any, Any]]:
    """Return which answers are of which class, or of which quarter of the values; by the name that is shown."""
    if dataset.task == "regression":
        numbers = values.cast(pl.Float64).to_numpy()
        ends = np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))
        place = np.searchsorted(ends[1:-1], numbers, side="left")
        names = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(ends)] or [f"{ends[0]:.4g}"]
        return {name: place == i for i, name in enumerate(names)}
    if dataset.task == "binary" or dataset.label_column.dtype == pl.Boolean:
        return {str(value): (values == str(value).lower()).to_numpy() for value in (False, True)}
    default = dataset.labels.default
    names = sorted({*values.unique().to_list(), *([] if default is None else [_text(default)])})
    return {name: (values == name).to_numpy() for name in names}


def _text(label: Any) -> str:
    """Return a label as the index of ids has it."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def _delay(name: str, answers: _Seconds, delays: _Seconds, stretch: float) -> Delay:
    median, late = (float(np.quantile(answers, share)) for share in (0.5, 0.9)) if answers.size else (None, None)
    answered = float(1 - np.minimum(delays, stretch).mean() / stretch) if delays.size and stretch else None
    return Delay(name, answers.size, median, late, answered)


def _compare(groups: dict[str, _Seconds]) -> tuple[float | None, bool]:
    """Return the largest distance between a class and the others, and whether one is larger than chance and 0.1."""
    largest, differ = None, False
    for name, one in groups.items():
        others: Sequence[_Seconds] = [delays for other, delays in groups.items() if other != name]
        rest = np.sort(np.concatenate(others)) if others else np.array([])
        if min(one.size, rest.size) < ENOUGH:
            continue
        at = np.unique(np.concatenate([one, rest]))
        shares = [np.searchsorted(delays, at, side="right") / delays.size for delays in (one, rest)]
        distance = float(np.abs(shares[0] - shares[1]).max())
        chance = _CHANCE * float(np.sqrt((one.size + rest.size) / (one.size * rest.size)))
        largest = max(distance, largest or 0.0)
        differ = differ or distance > max(_APART, chance)
    return largest, differ


def _silent(dataset: Dataset, classes: list[Delay], unanswered: float | None) -> str | None:
    """Say that a class never has a label of its own."""
    if sum(one.answers for one in classes) < ENOUGH:
        return None
    default = dataset.labels.default
    for one in classes:
        told_by_silence = one.answered is not None or one.of == str(default) or (dataset.task == "binary" and unanswered)
        if not one.answers and told_by_silence:
            return f"no label ever said {one.of}: it is told by silence alone"
    return None


def _unfair(shares: dict[str, float], stretch: float) -> str | None:
    """Say that classes are answered unequally over a window."""
    if len(shares) < 2 or min(shares.values()) >= _FAIR * max(shares.values()):
        return None
    ends = sorted(shares, key=shares.__getitem__)
    most, least = (f"{shares[name]:.1%} of {name}" for name in (ends[-1], ends[0]))
    return f"of the events of the last {write_about(stretch)}, {most} and {least} are answered"
