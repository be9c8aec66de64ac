"""What of a validation is shown, and in which words: by model and cadence, over all stretches together?"""

from __future__ import annotations

import itertools
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from millrace.clock import parse_duration
from millrace.dataset import PRIOR
from millrace.validation.canvas import COLOURS

if TYPE_CHECKING:
    from millrace.validation.kept import ValidateReport
    from millrace.validation.scores import Part, Score

_OF_MODELS = [name for name in COLOURS if name.startswith("model-")]
_MARKERS = "osD^vP"
_ANSWERS = {"arrival": "as they arrived", "labels": "at their label time", "none": "at once"}


class View:
    """A report by model and cadence, over all of its stretches together.

    Attributes
    ----------
    models, cadences
        Those that have a loss: the models as they were given, the most frequent cadence first.
    """

    def __init__(self, report: ValidateReport) -> None:
        self.report = report
        scores = [score for score in report.scores if score.loss is not None]
        self.models = list(dict.fromkeys(score.model for score in scores))
        self.cadences = sorted(dict.fromkeys(score.cadence for score in scores), key=lambda one: seconds(one) or 0.0)
        self._whole: dict[tuple[str, str], Score] = {}
        for score in report.scores:
            self._whole.setdefault((score.model, score.cadence), score)

    @property
    def title(self) -> str:
        """Which dataset, and which stretch of it."""
        scores = self.report.scores
        start, end = min(score.start for score in scores), max(score.end for score in scores)
        return f"{plain(self.report.dataset)}, {moment(start)} to {moment(end)} UTC"

    @property
    def facts(self) -> dict[str, str]:
        """What else was asked, in words, and of which log."""
        report = self.report
        beginning = {"cold": "cold, knowing nothing", "warm": "warm, knowing what they knew then"}
        stretches = len({(score.start, score.end) for score in report.scores})
        return {
            "answers": _ANSWERS.get(report.delay, f"{report.delay} after the question"),
            "start": beginning.get(report.start, f"from {report.start}"),
            **({"stretches": f"{stretches - 1}, each by itself, and all together"} if stretches > 1 else {}),
            "refreshed": ", ".join("each label" if seconds(one) is None else one for one in self.cadences) or "–",
            "compared with": f"{plain(report.against)}, on the same events",
            "log": f"arrival {report.arrival:,}, seq {report.seq:,}",
        }

    @property
    def finding(self) -> str:
        """What came of it, in a sentence."""
        scores = [score for cadence in self.cadences for score in self.at(cadence)]
        if not scores:
            return "No label came, so there is nothing to compare."
        best = min(scores, key=lambda score: score.loss or 0.0)
        told = f"{plain(best.model)}, refreshed {every(best.cadence)}, has the lowest loss: {number(best.loss)}"
        if best.gain is None or not best.gain.gain > 0:
            return f"{told}. Nothing did better than {plain(self.report.against)}."
        low, high = number(best.gain.low), number(best.gain.high)
        chance = "" if best.gain.low > 0 else ", so it may be chance"
        over = plain(best.gain.over)
        return f"{told}, {number(best.gain.gain)} less than {over} at the same cadence (95% interval {low} to {high}{chance})."

    def at(self, cadence: str) -> list[Score]:
        """Return the scores at a cadence that have a loss, in order of the models."""
        found = (self._whole.get((model, cadence)) for model in self.models)
        return [score for score in found if score is not None and score.loss is not None]

    def parts(self, cadence: str, kind: str) -> dict[Any, dict[str, Part]]:
        """Return the ``windows`` or the ``segments`` at a cadence: by what they are of, then by model."""
        found: dict[Any, dict[str, Part]] = {}
        for score in self.at(cadence):
            for part in getattr(score, kind):
                found.setdefault(part.of, {})[score.model] = part
        return found

    def losses(self, kind: str = "") -> dict[str, list[float]]:
        """Return all losses by model: of ``windows``, of ``segments``, or of the whole; those alone that have any."""
        found: dict[str, list[float]] = {}
        for score in itertools.chain.from_iterable(map(self.at, self.cadences)):
            parts = [part.loss for part in getattr(score, kind)] if kind else [score.loss or 0.0]
            if parts:
                found.setdefault(score.model, []).extend(parts)
        return found

    def frame(self, kind: str = "") -> tuple[float, float]:
        """Return where an axis of losses ends: a model that fails must not press all the others flat."""
        by = self.losses(kind)
        found = list(itertools.chain(*by.values()))
        if not kind:
            found += itertools.chain(*filter(None, map(interval, itertools.chain.from_iterable(map(self.at, self.cadences)))))
        low, high = min(found), max(found)
        most = 1.2 * max(by.get(self.report.against, ()), default=0.0)
        if low < most < high:
            high = most
        margin = 0.06 * (high - low) or 0.01
        return low - margin, high + margin

    def colour(self, model: str) -> str:
        """Return the name of a model's colour."""
        return "prior" if model == PRIOR else _OF_MODELS[self._place(model) % len(_OF_MODELS)]

    def look(self, model: str) -> dict[str, Any]:
        """Return how a model is drawn; ``prior`` thin and grey."""
        colour = COLOURS[self.colour(model)][0]
        if model == PRIOR:
            return {"color": colour, "linewidth": 1.0, "marker": "o", "zorder": 2.5}
        place = self._place(model)
        dash, marker = "--" if place // len(_OF_MODELS) % 2 else "-", _MARKERS[place % len(_MARKERS)]
        return {"color": colour, "linewidth": 1.7, "linestyle": dash, "marker": marker, "zorder": 3.0}

    def _place(self, model: str) -> int:
        return [one for one in self.models if one != PRIOR].index(model)


def seconds(cadence: str) -> float | None:
    """Return a cadence in seconds; None for each label."""
    from millrace.validate import EACH

    return None if cadence == EACH else parse_duration(cadence).total_seconds()


def interval(score: Score) -> tuple[float, float] | None:
    """Return the interval of the difference to the reference about the loss: the reference's loss less what is gained."""
    if score.gain is None or score.loss is None or math.isinf(score.gain.high - score.gain.low):
        return None
    return score.loss + score.gain.gain - score.gain.high, score.loss + score.gain.gain - score.gain.low


def plain(text: object, most: int = 28) -> str:
    """Return a name or a value as one short line, whatever is in it."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return (line if len(line) <= most else f"{line[: most - 1]}…") or "(empty)"


def number(value: float | None, signed: bool = False) -> str:
    """Write a loss, a metric or a gain; a dash where there is none.

    Examples
    --------
    >>> number(0.41784), number(-0.25, signed=True), number(1234.56), number(None)
    ('0.4178', '−0.2500', '1,234.6', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return format(value, f"{'+' if signed else ''}{',.1f' if abs(value) >= 100 else '.4f'}").replace("-", "−")


def moment(at: datetime) -> str:
    """Write a moment for people, in UTC: a date alone where it is midnight."""
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute, at.second) == (0, 0, 0) else f"{at:%Y-%m-%d %H:%M}"


def every(cadence: str) -> str:
    """Say a cadence in words."""
    return "each label" if seconds(cadence) is None else f"every {cadence}"


def said(score: Score) -> str:
    """Tell a score in a line."""
    told = f"{plain(score.model)} {number(score.loss)}"
    if score.gain is not None:
        low, high = number(score.gain.low, signed=True), number(score.gain.high, signed=True)
        told += f", {number(score.gain.gain, signed=True)} better than {plain(score.gain.over)} ({low} to {high})"
    return told
