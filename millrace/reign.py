"""Should another model be champion, and on what evidence?

A reign begins with the outcome at which a champion was promoted. From there each shadow is compared with it over the outcomes
that both had predicted, one after the other: the difference of their bounded losses, champion's minus shadow's. A shadow is
promoted when the lower bound of the mean difference (:mod:`millrace.confidence`) is above 0, for the whole reign or for the
present window.

What the level covers: in one reign, with a chance of at most ``level``, a shadow is ever promoted that was not better than the
champion on average over the outcomes that its promotion names. That is a union bound over shares that make up the level,
however many shadows come: each of the k with which the reign begins has 1/(k + 1) of it, and the j-th of all, where it joins
later, 1/(j·(j + 1)) (those that join at one outcome in the order of their names); a share is never changed. Each is divided
in turn among the whole reign (1/2) and its windows (1/6, 1/12, 1/20 …, which make up the other half), of which one is looked
at at a time. A next reign has a level of its own, and evidence of its own: that of the last has chosen the champion.

"Was better" is about what was to be expected of each outcome given all outcomes before it. So labels that come in batches,
losses that depend on each other, or a world that drifts do not matter, as long as what a model said was said before the label
was there. What it does not cover is the future, and an order of outcomes that has to do with what they are: where bad news
comes first, declare a window for the labels, after which an outcome counts, whichever it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from millrace.confidence import Confidence
from millrace.dataset import PRIOR, Dataset, Race


@dataclass
class Pair:
    """A champion's losses minus a shadow's: over the reign, and over the window that is not yet full.

    ``share`` is the shadow's part of the level.
    """

    share: float
    reign: Confidence = field(default_factory=Confidence)
    window: Confidence = field(default_factory=Confidence)
    windows: int = 0

    def add(self, difference: float, length: int | None) -> None:
        """Take in one more difference, in parts of the worst loss; a window that is full gives way to the next."""
        if length and self.reign.number >= length * (self.windows + 1):
            self.window, self.windows = Confidence(), self.windows + 1
        self.reign.add(difference)
        if self.windows:  # until then it is the reign
            self.window.add(difference)

    def looks(self, level: float) -> list[tuple[str, Confidence, float]]:
        """Return what is looked at: its name, what is known of it, and its part of a level."""
        level *= self.share
        found = [("reign", self.reign, level / 2)]
        if self.windows:
            found.append(("window", self.window, level / ((self.windows + 1) * (self.windows + 2))))
        return found

    def lately(self, minimum: int) -> tuple[str, Confidence] | None:
        """Return what is known of the present window, or of the reign until there is a second; None of one that is too short."""
        over, known = ("window", self.window) if self.windows else ("reign", self.reign)
        return (over, known) if known.number >= minimum else None


@dataclass(frozen=True)
class Verdict:
    """How a shadow stands against the champion, over the same labelled events.

    Parameters
    ----------
    model
        The shadow.
    over
        ``reign``, or ``window`` where the evidence is of the present window alone.
    labels
        How many events both had predicted.
    difference
        The champion's mean loss minus the shadow's.
    lower, upper
        Between what the mean difference lies; each bound holds at the shadow's share of the level, for all moments at once.
    lacks
        What is missing for a promotion; empty for nothing.
    """

    model: str
    over: str
    labels: int
    difference: float
    lower: float
    upper: float
    lacks: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f"{self.model}: mean loss {'lower' if self.difference > 0 else 'higher'} by {abs(self.difference):.4f}"
        shown += f" ({self.lower:+.4f} to {self.upper:+.4f}) over {self.labels:,} labelled events of the {self.over}"
        return f"{shown}; " + (f"lacks {', '.join(self.lacks)}" if self.lacks else "would be promoted")

    def evidence(self, dataset: Dataset, shadows: int) -> str:
        """Return the row's evidence, as JSON."""
        figures = {"difference": self.difference, "lower": self.lower, "upper": self.upper}
        kept = {name: float(f"{value:.9g}") for name, value in figures.items()}  # what differs after that is the C library's
        rule = {"level": dataset.race.level, "shadows": shadows, "loss": dataset.race_loss.name, "window": dataset.race.window}
        return orjson.dumps({"labels": self.labels, **kept, "over": self.over, **rule}).decode()

    def reason(self, dataset: Dataset, shadows: int) -> str:
        """Return a sentence that says why it was promoted."""
        said = f"mean {dataset.race_loss.name} loss lower by {self.difference:.3g} "
        if dataset.race.level < 1:
            said += f"(at least {self.lower:.2g} at level {dataset.race.level:g}"
            said += f", shared by {shadows} shadows) " if shadows > 1 else ") "
        return said + f"over the same {self.labels:,} labelled events" + (" of a window" if self.over == "window" else "")


@dataclass
class Reign:
    """What is known since a champion was promoted.

    Parameters
    ----------
    champion, before
        Who reigns, and who did before.
    since
        The data's clock when it began; None for the first.
    place
        The arrival of what came last when it began.
    outcomes
        How many outcomes were scored in it.
    worse_since
        The data's clock since which the champion has been no better than ``prior``; None while it is.
    judged
        By what that was last judged: ``reign`` or ``window``, how many labels, and by how much the champion's mean loss was above
        that of ``prior``. It stands until a new window is long enough.
    """

    champion: str = PRIOR
    before: str | None = None
    since: datetime | None = None
    place: int = 0
    outcomes: int = 0
    pairs: dict[str, Pair] = field(default_factory=dict)
    worse_since: datetime | None = None
    judged: tuple[str, int, float] | None = None

    def see(self, dataset: Dataset, losses: Mapping[str, float], clock: datetime | None) -> None:
        """Compare the models over one outcome more."""
        self.outcomes += 1
        if self.champion not in losses:
            return
        shadows = [model for model in losses if model != self.champion]
        self._join(sorted(model for model in shadows if model not in self.pairs))
        for model in shadows:
            difference = (losses[self.champion] - losses[model]) / dataset.race_loss.worst
            self.pairs[model].add(difference, dataset.race.window)
        if PRIOR in shadows and (look := self.pairs[PRIOR].lately(dataset.race.minimum)) is not None:
            over, known = look
            self.worse_since = (self.worse_since or clock) if known.mean >= 0 else None
            self.judged = over, known.number, known.mean * dataset.race_loss.worst

    def _join(self, models: list[str]) -> None:
        """Give shadows that are compared for the first time their shares of the level."""
        begins = 0 if self.pairs else len(models)
        for model in models:
            place = len(self.pairs) + 1
            self.pairs[model] = Pair(1 / (begins + 1) if begins else 1 / (place * (place + 1)))

    def challenger(self, dataset: Dataset) -> Verdict | None:
        """Return the shadow that should be champion instead, the one with the highest lower bound; None for nobody."""
        if self._rests(dataset.race):
            return None
        ready = [
            model
            for model, pair in self.pairs.items()
            if model in dataset.racing
            and any(
                look.number >= dataset.race.minimum and _proves(look, dataset.race, level)
                for _, look, level in pair.looks(dataset.race.level)
            )
        ]
        found = (one for one in self.verdicts(dataset, ready) if not one.lacks)
        return max(found, key=lambda one: (one.lower, one.model), default=None)

    def verdicts(self, dataset: Dataset, models: Iterable[str] | None = None, over: str | None = None) -> list[Verdict]:
        """Return how shadows stand, the nearest to a promotion first.

        Parameters
        ----------
        models
            Some of them; None: all.
        over
            ``reign`` or ``window``; None: that of both which proves more.
        """
        found = []
        for model in self.pairs if models is None else models:
            looks = self.pairs[model].looks(dataset.race.level)
            looks = [look for look in looks if over in (None, look[0])]
            both = [self._verdict(dataset, model, *look) for look in looks]
            found.append(max(both, key=lambda one: (-len(one.lacks), one.lower)))
        return sorted(found, key=lambda one: (len(one.lacks), -one.lower, one.model))

    def _verdict(self, dataset: Dataset, model: str, over: str, look: Confidence, level: float) -> Verdict:
        rule, worst, lacks = dataset.race, dataset.race_loss.worst, []
        lower, upper = look.interval(level)
        if model not in dataset.racing:
            lacks.append("its place in the dataset's file")
        if look.number < rule.minimum:
            lacks.append(f"{rule.minimum - look.number:,} labels of the minimum of {rule.minimum:,}")
        if self._rests(rule):
            lacks.append(f"{rule.cooldown - self.outcomes:,} labels of the cool-down of {rule.cooldown:,}")
        if not _proves(look, rule, level):
            lacks.append("evidence")
        return Verdict(model, over, look.number, look.mean * worst, lower * worst, upper * worst, tuple(lacks))

    def _rests(self, rule: Race) -> bool:
        return self.before is not None and self.outcomes < rule.cooldown

    def heir(self, dataset: Dataset) -> str:
        """Return who stands in for a champion that is no longer in the file: the best of the others, by their means."""
        found = {
            model: pair.reign.mean
            for model, pair in self.pairs.items()
            if model in dataset.racing and pair.reign.number >= dataset.race.minimum
        }
        return max(found, key=lambda model: (found[model], model), default=PRIOR)


@dataclass
class WouldReport:
    """How the shadows stand against the champion after the outcomes that were scored, and who would be promoted now.

    ``heir`` is who takes over with the next outcome from a champion that is no longer in the dataset's file; else None.
    """

    dataset: str
    champion: str
    outcome: int
    pinned: bool = False
    shadows: list[Verdict] = field(default_factory=list)
    heir: str | None = None

    @property
    def promoted(self) -> str | None:
        """Who would be promoted; None for nobody."""
        if self.heir:
            return self.heir
        ready = [] if self.pinned else [one for one in self.shadows if not one.lacks]
        return max(ready, key=lambda one: (one.lower, one.model)).model if ready else None

    def __str__(self) -> str:
        would = f"{self.promoted} would take over" if self.promoted else "nobody would take over"
        would += f" with the next outcome: {self.champion!r} is no longer in the dataset's file" if self.heir else ""
        said = f"{self.dataset}: champion {self.champion} after {self.outcome:,} outcomes; {would}"
        return "\n".join([said + (", while it is pinned" if self.pinned else ""), *(f"  {one}" for one in self.shadows)])

    def as_json(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps({**vars(self), "promoted": self.promoted}, option=orjson.OPT_INDENT_2)


def _proves(look: Confidence, rule: Race, level: float) -> bool:
    return look.mean > 0 if rule.level == 1 else look.is_above(level)
