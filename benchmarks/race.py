"""How often is a shadow promoted that is no better, and how soon one that is, when it is looked at after every label?

Simulated: probability forecasts of what happens a quarter of the time, by two models that share some of their errors, as two
models of the same events do. The evidence is that of :mod:`millrace.confidence`, for a thousand streams at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.place import CHECKOUT
from millrace.confidence import BETS
from millrace.dataset import Race
from millrace.loss import SMALLEST, Loss
from millrace.validation import canvas

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Floats = NDArray[np.float64]

STREAMS, LABELS = 1_000, 10_000
NEVER = 2**31
PICTURE = CHECKOUT / "docs" / "pictures" / "promotions.png"
ERROR = 0.5
"""How far a model's log odds are from what both can know, as a standard deviation: of the champion, and of an equal shadow."""


@dataclass(frozen=True)
class Streams:
    """The champion's losses and a shadow's, a row a label and a column a stream.

    Parameters
    ----------
    expected
        The champion's loss minus the shadow's that was to be expected, given all before the label.
    worst
        The bound of the losses.
    """

    what: str
    champion: Floats
    shadow: Floats
    expected: Floats
    worst: float

    @property
    def gain(self) -> float:
        """By how much the shadow's mean loss is lower, in parts of the champion's."""
        return float(1 - self.shadow.mean() / self.champion.mean())

    @property
    def differences(self) -> Floats:
        """The differences, in parts of the worst loss."""
        return (self.champion - self.shadow) / self.worst


def forecasts(what: str, error: float, seed: int, streams: int = STREAMS, labels: int = LABELS, lasts: int = 1) -> Streams:
    """Return the log losses of a champion and of a shadow.

    Parameters
    ----------
    error
        The champion's own error; the shadow's is :data:`ERROR`.
    lasts
        For so many labels an error stays the same: a version that predicts until the next is published.
    """
    random, shape = np.random.default_rng(seed), (labels, streams)
    stretches = (-(-labels // lasts), streams)
    known = random.normal(-1.3, 1.0, shape)
    chance = 1 / (1 + np.exp(-known))
    happened = random.random(shape) < chance
    known += random.normal(0, 0.3, shape)  # an error that both make

    def losses(own: float) -> tuple[Floats, Floats]:
        odds = known + np.repeat(random.normal(0, own, stretches), lasts, axis=0)[:labels]
        yes, no = (-np.log(np.maximum(1 / (1 + np.exp(sign * odds)), SMALLEST)) for sign in (-1, 1))
        return np.where(happened, yes, no), chance * yes + (1 - chance) * no

    (champion, expected), (shadow, of_shadow) = losses(error), losses(ERROR)
    return Streams(what, champion, shadow, expected - of_shadow, Loss("log").worst)


def guesses(seed: int, streams: int = STREAMS, labels: int = LABELS) -> Streams:
    """Return the losses of two that guess a fair coin: of all that is bounded, what strays the farthest."""
    right = np.random.default_rng(seed).random((2, labels, streams)) < 0.5
    nothing = np.zeros((labels, streams))
    return Streams("two that guess a coin, zero-one loss", right[0].astype(float), right[1].astype(float), nothing, 1.0)


def promoted(differences: Floats, rule: Race) -> NDArray[np.int64]:
    """Return after which label of each stream the rule promotes the only shadow; :data:`NEVER` where it does not."""
    labels, streams = differences.shape
    bets, found = np.array(BETS), np.full(streams, NEVER, dtype=np.int64)
    reign, window = np.zeros((streams, len(bets))), np.zeros((streams, len(bets)))
    windows, since = 0, 0
    for number in range(labels):
        if rule.window and number >= rule.window * (windows + 1):
            window[:], windows, since = 0, windows + 1, number
        won = np.log1p(bets * differences[number][:, None])
        reign += won
        window += won
        share = 2  # of the only shadow: half of the level
        looks = [(reign, number + 1, 2 * share)]
        if windows:
            looks.append((window, number + 1 - since, (windows + 1) * (windows + 2) * share))
        for capitals, seen, part in looks:
            if seen >= rule.minimum:
                most = capitals.max(axis=1)
                wealth = most + np.log(np.exp(capitals - most[:, None]).mean(axis=1))
                found[(found == NEVER) & (wealth > np.log(part / rule.level))] = number + 1
    return found


def in_vain(streams: Streams, when: NDArray[np.int64]) -> float:
    """Return the share of the streams with a promotion of a shadow that was no better until then, in what was to be expected."""
    before = np.cumsum(streams.expected, axis=0)
    hit = np.flatnonzero(when < NEVER)
    return float((before[when[hit] - 1, hit] <= 1e-9).sum()) / len(when)


def by_mean(differences: Floats, minimum: int) -> NDArray[np.int64]:
    """Return after which label the lower mean alone would have promoted."""
    lower = np.cumsum(differences, axis=0)[minimum - 1 :] > 0
    return np.where(lower.any(axis=0), lower.argmax(axis=0) + minimum, NEVER)


def race(repeat: int) -> list[Figure]:
    """Simulate, draw the picture of the documentation, and return what came out; it is the same at each repeat."""
    rule, brisk = Race(), Race(window=1_000)
    level = f"the level, {rule.level:.0%}"
    equal = forecasts("two equal models, log loss", ERROR, seed=1)
    figures, lines = [], dict[str, NDArray[np.int64]]()
    for streams in (equal, forecasts("the same, errors last for 100 labels", ERROR, seed=2, lasts=100), guesses(seed=3)):
        for one in (rule, brisk):
            when = promoted(streams.differences, one)
            share = in_vain(streams, when)
            what = f"promoted in vain: {streams.what}, window {one.window:,}"
            value = f"{share:.1%} of {STREAMS:,} ({(when < NEVER).mean():.1%} promoted at all)"
            figures.append(Figure(what, value, level, share / rule.level))
    lines["equal, the lower mean alone"] = by_mean(equal.differences, rule.minimum)
    share = in_vain(equal, lines["equal, the lower mean alone"])
    value = f"{share:.1%} of {STREAMS:,} ({(lines['equal, the lower mean alone'] < NEVER).mean():.1%} promoted at all)"
    figures.append(Figure("promoted in vain: two equal models, by the lower mean alone", value, level, share / rule.level))
    lines["equal, with evidence"] = promoted(equal.differences, rule)
    for error, seed in ((0.775, 4), (0.62, 5)):
        better = forecasts("better", error, seed)
        when = promoted(better.differences, rule)
        name = f"{better.gain:.1%} better"
        figures.append(
            Figure(
                f"found: {name} in log loss, half of the streams",
                f"{np.median(when):,.0f} labels",
                "4,000 labels",
                float(np.median(when)) / 4_000,
            )
        )
        lines[name] = when
    PICTURE.write_bytes(_picture(lines, rule))
    return figures


def _picture(lines: dict[str, NDArray[np.int64]], rule: Race) -> bytes:
    drawing = canvas.Drawing(
        "Streams with a promotion, in percent",
        f"Two equal models are promoted in vain where evidence is not asked for. Dotted: the declared level, {rule.level:.0%}.",
        lambda width: 3.2,
        partial(_paint, lines, rule),
    )
    facts = [f"{STREAMS:,} simulated streams each · log loss · looked at after every label from the {rule.minimum}th on"]
    with canvas.matplotlib():
        return canvas.png("When is a shadow promoted?", facts, [drawing])


def _paint(lines: dict[str, NDArray[np.int64]], rule: Race, figure: FigureBase, width: float) -> None:
    axes = figure.subplots()
    at = np.arange(0, LABELS + 1, 50)
    colours = ("prior", "model-2", "model-1", "model-3")
    ends = {}
    for (name, when), colour in zip(lines.items(), colours, strict=True):
        shares = [100 * float((when <= label).mean()) for label in at]
        axes.plot(at, shares, color=canvas.COLOURS[colour][0], linewidth=1.6)
        ends[name] = (shares[-1], canvas.COLOURS[colour][0])
    axes.axhline(100 * rule.level, color=canvas.QUIET, linewidth=0.9, linestyle=":")
    axes.set_ylim(-1, 103)
    axes.set_xlim(0, LABELS)
    axes.set_xticks(range(0, LABELS + 1, 2_000), [f"{label:,}" for label in range(0, LABELS + 1, 2_000)])
    axes.set_xlabel("labels")
    axes.grid(axis="y")
    places = canvas.apart([end for end, _ in ends.values()], 7)
    for (name, (_, colour)), place in zip(ends.items(), places, strict=True):
        axes.text(1.015, place, name, color=colour, va="center_baseline", transform=axes.get_yaxis_transform())
