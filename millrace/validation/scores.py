"""How well did a model do over a stretch of the log, and is it better than another?

What a model said of each event becomes a loss an event; from these come the mean, its course over time, its segments, and
the difference to another model on the same events, with an interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from millrace.clock import MICROSECOND, from_microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTHS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 7 * 24, 28 * 24, 364 * 24))
_WINDOWS = 60
"""At most so many windows, of the smallest width that gives no more."""
_SEGMENTS = 12
_BATCHES = 30
"""Schmeiser, *Batch size effects in the analysis of simulation output*, 1982: 10 to 30 batches, whatever the number of rows."""


@dataclass(frozen=True)
class Part:
    """The mean loss over the labelled events of a window of time (its beginning, UTC) or of a segment (its value)."""

    of: datetime | str
    labelled: int
    loss: float


@dataclass(frozen=True)
class Gain:
    """By how much the mean loss is lower than the reference's on the same events; the 95% interval of the difference."""

    over: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """What one model at one cadence said over one stretch.

    Parameters
    ----------
    model, cadence
        The model's name, and how often the served model was refreshed: ``label`` (at each), ``1h``, ``1d`` …
    start, end
        From when its events count, and its end (UTC, left out).
    events, labelled
        The events that were asked about and count, and those of them whose label came.
    empty, skipped
        Of the labelled ones, of how many the model said nothing (each costs the most); and how many it could not learn.
    loss
        The mean loss over the labelled events, in the dataset's own loss; None where there are none.
    metrics
        River's metrics by name.
    windows, segments
        The course of the loss over time, and by value of the column that was asked for.
    gain
        Against the reference; None for the reference itself.
    refreshes, seconds
        What this would cost: how often the served model is refreshed, and how long learning and refreshing take (measured).
    """

    model: str
    cadence: str
    start: datetime
    end: datetime
    events: int
    labelled: int
    empty: int
    skipped: int
    loss: float | None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    windows: Sequence[Part] = ()
    segments: Sequence[Part] = ()
    gain: Gain | None = None
    refreshes: int = 0
    seconds: float = 0.0


def course(losses: NDArray[np.float64], asked: NDArray[np.int64], start: datetime, end: datetime) -> list[Part]:
    """Return the mean loss over windows of time, of equal width; those without a labelled event are left out."""
    width = next((one for one in _WIDTHS if (end - start) / one <= _WINDOWS), _WIDTHS[-1]) // MICROSECOND
    known = ~np.isnan(losses)
    parts = []
    windows = asked[known] // width
    for window in np.unique(windows):
        inside = losses[known][windows == window]
        parts.append(Part(from_microseconds(int(window) * width), inside.size, float(inside.mean())))
    return parts


def segments(losses: NDArray[np.float64], of: NDArray[np.str_]) -> list[Part]:
    """Return the mean loss by segment, the largest first; the smallest of many are one."""
    known = ~np.isnan(losses)
    values, counts = np.unique(of[known], return_counts=True)
    shown = values[np.argsort(-counts, kind="stable")][:_SEGMENTS]
    parts = [_part(str(value), losses[known][of[known] == value]) for value in shown]
    rest = losses[known][~np.isin(of[known], shown)]
    return [*parts, _part("(others)", rest)] if rest.size else parts


def _part(of: str, losses: NDArray[np.float64]) -> Part:
    return Part(of, losses.size, float(losses.mean()))


def area(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve (Mann and Whitney's statistic); None where one of the two classes is not there.

    Examples
    --------
    >>> area(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    from scipy import stats

    count = int(positive.sum())
    if not 0 < count < positive.size:
        return None
    above = stats.rankdata(values)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (positive.size - count)))


def gain(losses: NDArray[np.float64], reference: NDArray[np.float64], over: str) -> Gain | None:
    """Return by how much the mean loss is lower than a reference's over the events that both have, with its 95% interval.

    Losses of neighbouring events are alike, and so are two models' on one event: so the differences are taken event by
    event, in order of time, and the interval is Student's over the means of thirty consecutive batches (Schmeiser, 1982).

    Returns
    -------
    Gain or None
        None where there is no event that both have; the interval is infinite where there are too few for batches.

    Examples
    --------
    >>> gain(np.full(300, 0.4), np.full(300, 0.5), "prior")
    Gain(over='prior', gain=0.1, low=0.1, high=0.1)
    """
    both = ~(np.isnan(losses) | np.isnan(reference))
    differences = reference[both] - losses[both]
    if not differences.size:
        return None
    mean = float(differences.mean())
    batches = min(_BATCHES, differences.size // 2)
    if batches < 2:
        return Gain(over, _rounded(mean), -math.inf, math.inf)
    from scipy import stats

    means = np.array([batch.mean() for batch in np.array_split(differences, batches)])
    reach = float(stats.t.ppf(0.975, batches - 1)) * float(means.std(ddof=1)) / math.sqrt(batches)
    return Gain(over, _rounded(mean), _rounded(mean - reach), _rounded(mean + reach))


def _rounded(value: float) -> float:
    """Leave out the digits that stand for nothing."""
    return round(value, 12) + 0.0
