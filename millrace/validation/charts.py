"""What does a validation look like: the loss over time, by cadence and by segment, a colour a model?"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace.clock import microseconds
from millrace.validation import canvas
from millrace.validation.canvas import INK, NARROW, PAPER, RULE, WIDE, Drawing
from millrace.validation.view import View, every, interval, moment, number, plain, said, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    from millrace.validation.kept import ValidateReport
    from millrace.validation.scores import Part

_DATES: dict[str, Any] = {
    "tz": UTC,
    "formats": ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
    "zero_formats": ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"],
    "show_offset": False,
}
_AT_ONCE = 3
"""So many panels beside each other, where there is room."""


@dataclass(frozen=True)
class Chart:
    """A chart of a page: its title, a sentence on how to read it, and SVG for wide and for narrow screens."""

    title: str
    caption: str
    wide: str
    narrow: str


def draw(report: ValidateReport) -> bytes:
    """Draw a report as a PNG; the same report gives the same bytes."""
    with canvas.matplotlib():
        view = View(report)
        facts = [" ".join(fact).replace(" ", "\u00a0") for fact in view.facts.items()]  # a line breaks between two, not within
        return canvas.png(view.title, textwrap.wrap(" · ".join(facts), 150), _drawings(view))


def charts(report: ValidateReport) -> list[Chart]:
    """Draw a report as the charts of a page (see :func:`millrace.validation.canvas.svg`)."""
    with canvas.matplotlib():
        return [
            Chart(one.title, one.caption, canvas.svg(one, WIDE, f"wide {i}"), canvas.svg(one, NARROW, f"narrow {i}"))
            for i, one in enumerate(_drawings(View(report)))
        ]


def _drawings(view: View) -> list[Drawing]:
    loss, count = f"{view.report.loss.capitalize()} loss", len(view.cadences)
    bars = f"Lower is better. Bars: 95% interval of the difference to {plain(view.report.against)} on the same events."
    found = []
    if windows := view.losses("windows"):
        above = " ▲ lies above the frame." if max(itertools.chain(*windows.values())) > view.frame("windows")[1] else ""
        height = partial(_height, count, 2.7 if count == 1 else 1.9)
        found.append(Drawing(f"{loss} over time", f"Lower is better.{above}", height, partial(_course, view)))
    if count > 1:
        caption = f"{bars}\nBelow each cadence: how often the served model would have been refreshed."
        found.append(Drawing(f"{loss} by cadence", caption, lambda width: 3.3, partial(_curve, view)))
    elif count:
        found.append(Drawing(f"{loss} by model", bars, lambda width: 0.4 + 0.28 * len(view.models), partial(_ranking, view)))
    if view.losses("segments"):
        rows = max(len(view.parts(cadence, "segments")) for cadence in view.cadences)
        height = partial(_height, count, 0.6 + 0.26 * rows)
        title = f"{loss} by {plain(view.report.by)}"
        found.append(Drawing(title, "Lower is better.", height, partial(_segments, view)))
    return found or [Drawing("No label came", "There is no loss to draw.", lambda width: 0.3, lambda figure, width: None)]


def _columns(count: int, width: float) -> int:
    return math.ceil(count / math.ceil(count / _AT_ONCE)) if width == WIDE else 1


def _height(count: int, height: float, width: float) -> float:
    return height * math.ceil(count / _columns(count, width))


def _panels(view: View, figure: FigureBase, width: float) -> Iterator[tuple[str, Axes, bool]]:
    """Yield each cadence with its panel, and whether there is nothing to the right of it."""
    count = len(view.cadences)
    columns = _columns(count, width)
    grid = figure.subplots(math.ceil(count / columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for i, (cadence, axes) in enumerate(zip(view.cadences, grid.flat, strict=False)):
        axes.tick_params(labelbottom=True)
        if count > 1:
            axes.set_title(every(cadence))
        yield cadence, axes, i % columns == columns - 1 or i == count - 1


def _course(view: View, figure: FigureBase, width: float) -> None:
    from matplotlib.dates import DAILY, HOURLY, MINUTELY, MONTHLY, AutoDateLocator, ConciseDateFormatter

    low, high = view.frame("windows")
    begins = sorted({score.start for score in view.report.scores})[1:]
    for cadence, axes, last in _panels(view, figure, width):
        windows = view.parts(cadence, "windows")
        starts = sorted(_day(of) for of in windows)
        step = min((b - a for a, b in itertools.pairwise(starts)), default=1.0)
        axes.set_ylim(low, high)
        axes.set_xlim(starts[0] - step / 2, starts[-1] + step / 2)
        axes.grid(axis="y")
        most = 10 if len(view.cadences) == 1 and width == WIDE else 5
        locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=most)  # type: ignore[no-untyped-call]
        # So few ticks are wide apart: with matplotlib's own intervals some lengths of time have none that fits.
        for unit, widest in {MINUTELY: 60, HOURLY: 24, DAILY: 31, MONTHLY: 12}.items():
            locator.intervald[unit] = [*locator.intervald[unit], widest]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, **_DATES))  # type: ignore[no-untyped-call]
        for begin in begins:
            axes.axvline(_day(begin), color=RULE, linewidth=1, zorder=1)
        ends = {}
        for score in view.at(cadence):
            look = view.look(score.model) | {"marker": ""}
            times, losses = [_day(part.of) for part in score.windows], [part.loss for part in score.windows]
            axes.plot(times, losses, **look)
            for at in (at for at, loss in zip(times, losses, strict=True) if loss > high):
                axes.plot(at, high, **look | {"marker": "^", "markersize": 4, "clip_on": False})
            if losses:
                ends[score.model] = losses[-1]
        for of, parts in windows.items():
            at = _day(of)
            canvas.tell(axes, "x", at - step / 2, at + step / 2, _told(f"from {moment(of)} UTC", parts))
        if last:
            _names(view, axes, ends, width)


def _day(at: datetime | str) -> float:
    """Return a moment as Matplotlib counts it, in days since 1970."""
    assert isinstance(at, datetime)
    return microseconds(at) / 86_400_000_000


def _told(of: str, parts: dict[str, Part]) -> list[str]:
    labelled = max(part.labelled for part in parts.values())
    return [f"{of}, {labelled:,} labels", *(f"{plain(model)} {number(part.loss)}" for model, part in parts.items())]


def _names(view: View, axes: Axes, ends: dict[str, float], width: float) -> None:
    """Write each model's name where its line ends; names that would touch are moved apart."""
    from matplotlib.figure import SubFigure

    low, high = axes.get_ylim()
    figure = axes.figure.figure if isinstance(axes.figure, SubFigure) else axes.figure
    inches = axes.get_window_extent().height / figure.dpi
    places = canvas.apart([min(end, high) for end in ends.values()], 0.17 * (high - low) / inches)
    for model, place in zip(ends, places, strict=True):
        name = plain(model, 24 if width == WIDE else 12)
        axes.text(1.015, place, name, color=view.look(model)["color"], va="center_baseline", transform=axes.get_yaxis_transform())


def _curve(view: View, figure: FigureBase, width: float) -> None:
    axes = figure.subplots()
    places = _places(view)
    span = places[view.cadences[-1]] - places[view.cadences[0]]
    lines: dict[str, list[tuple[float, float]]] = {}
    for score in itertools.chain.from_iterable(map(view.at, view.cadences)):
        # bars beside each other can be told apart
        at = places[score.cadence] + (view.models.index(score.model) - (len(view.models) - 1) / 2) * 0.008 * span
        lines.setdefault(score.model, []).append((at, score.loss or 0.0))
        if bar := interval(score):
            axes.plot([at, at], bar, color=view.look(score.model)["color"], linewidth=1.2, alpha=0.6, zorder=2)
    for model, line in lines.items():
        look: dict[str, Any] = view.look(model) | {"markersize": 5, "markeredgecolor": PAPER, "markeredgewidth": 0.8}
        axes.plot([at for at, _ in line], [loss for _, loss in line], **look)
    axes.set_ylim(*view.frame())
    axes.set_xlim(places[view.cadences[0]] - 0.06 * span, places[view.cadences[-1]] + 0.04 * span)
    axes.grid(axis="y")
    ticks = []
    edges = [-math.inf, *((a + b) / 2 for a, b in itertools.pairwise(places.values())), math.inf]
    for cadence, low, high in zip(view.cadences, edges, edges[1:], strict=False):
        scores = view.at(cadence)
        ticks.append(f"{'each label' if seconds(cadence) is None else cadence}\n{max(one.refreshes for one in scores):,}×")
        told = [f"{said(one)}; {one.seconds:,.1f} s of learning and refreshing" for one in scores]
        left, right = axes.get_xlim()
        canvas.tell(axes, "x", max(low, left), min(high, right), [every(cadence), *told])
    axes.set_xticks(list(places.values()), ticks)
    _names(view, axes, {model: line[-1][1] for model, line in lines.items()}, width)


def _places(view: View) -> dict[str, float]:
    """Return where each cadence is on an axis of logarithms; each label at the mean time between two labels."""
    score = view.at(view.cadences[0])[0]
    each = (score.end - score.start).total_seconds() / score.labelled
    each = min(each, *((seconds(cadence) or math.inf) / 3 for cadence in view.cadences)) or 1e-6
    return {cadence: math.log10(seconds(cadence) or each) for cadence in view.cadences}


def _ranking(view: View, figure: FigureBase, width: float) -> None:
    axes = figure.subplots()
    scores = sorted(view.at(view.cadences[0]), key=lambda one: one.loss or 0.0)
    low, high = view.frame()
    for row, score in enumerate(scores):
        look = view.look(score.model) | {"clip_on": False}
        assert score.loss is not None
        if score.model == view.report.against:
            axes.axvline(score.loss, color=look["color"], linewidth=1, zorder=1)
        if bar := interval(score):
            axes.plot(bar, [row, row], color=look["color"], linewidth=1.7, alpha=0.6)
        axes.plot(min(score.loss, high), row, **look | {"markersize": 6, "marker": ">" if score.loss > high else look["marker"]})
        axes.text(1.015, row, number(score.loss), va="center_baseline", color=INK, transform=axes.get_yaxis_transform())
        canvas.tell(axes, "y", row - 0.5, row + 0.5, [said(score)])
    axes.set_xlim(low, high)
    names = [plain(score.model, 24 if width == WIDE else 12) for score in scores]
    _rows(axes, names)
    for text, score in zip(axes.get_yticklabels(), scores, strict=True):
        text.set_color(view.look(score.model)["color"])


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="both")
    axes.spines["bottom"].set_visible(False)


def _segments(view: View, figure: FigureBase, width: float) -> None:
    from matplotlib.lines import Line2D

    low, high = view.frame("segments")
    for cadence, axes, _ in _panels(view, figure, width):
        segments = view.parts(cadence, "segments")
        for row, (of, parts) in enumerate(segments.items()):
            for model, part in parts.items():
                look: dict[str, Any] = view.look(model) | {"markersize": 6, "markeredgecolor": PAPER, "markeredgewidth": 0.8}
                axes.plot(min(part.loss, high), row, **look | ({"marker": ">"} if part.loss > high else {}))
            canvas.tell(axes, "y", row - 0.5, row + 0.5, _told(plain(of), parts))
        axes.set_xlim(low, high)
        _rows(axes, [plain(of, 24 if width == WIDE else 14) for of in segments])
    looks = {model: view.look(model) for model in view.models}
    keys = [Line2D([], [], **look | {"linestyle": "", "markersize": 6}) for look in looks.values()]
    names = [plain(model, 24 if width == WIDE else 12) for model in looks]
    figure.legend(
        keys,
        names,
        loc="outside upper left",
        ncols=5 if width == WIDE else 3,
        frameon=False,
        labelcolor="linecolor",
        handletextpad=0,
    )
