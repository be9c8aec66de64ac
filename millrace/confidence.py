"""By how much do two models' losses differ on average, at whatever moment it is asked?

A confidence sequence: its intervals hold for all moments at once, so they may be looked at after every label, and acted upon
at any. Behind each bound is a capital that grows while bets are won. Of differences x in [-1, 1], one who each time stakes the
part b of a capital has after n of them

    K(b) = Π (1 + b·x)

times as much. Let m be the mean of what was to be expected of each x, given all before it. Since 1 + b·x is expected to be at
most exp(b·E[x]), K(b) · exp(-b·n·m) is never expected to grow, and neither is its mean over several b that are fixed
beforehand; so the chance that it ever passes 1 / level is at most ``level`` (Ville's inequality). The m at which it has not
passed are the interval. Nothing else is assumed: the differences need be neither independent nor of one distribution, and what
is expected may drift.

Sources: the betting of Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting* (JRSS-B 86, 2024), but
with a mixture of fixed bets in place of predictable ones. So it holds for a mean that varies, as does the empirical-Bernstein
sequence of Howard, Ramdas, McAuliffe & Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence sequences* (Annals of
Statistics 49, 2021), by which Choe & Ramdas, *Comparing sequential forecasters* (Operations Research 72, 2024), answer this same
question. With the same bets it is never wider than the latter around 0: log(1 + b·x) is at least b·x + x²·(log(1 - b) + b).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BETS = (0.9, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
"""The parts of a capital that are staked; each is within a factor of √2 of the best for some size of difference."""
_HALVINGS = 50


@dataclass
class Confidence:
    """What is known of the mean of differences in [-1, 1].

    Parameters
    ----------
    number, total
        How many there were, and their sum.
    above, below
        The logarithm of the capital of each bet that they are above 0 on average, and that they are below.

    Examples
    --------
    >>> known = Confidence()
    >>> for difference in [0.3, 0.1, -0.1, 0.3] * 25:
    ...     known.add(difference)
    >>> lower, upper = known.interval(level=0.05)
    >>> round(known.mean, 3), round(lower, 3), round(upper, 3)
    (0.15, 0.078, 0.228)
    >>> known.is_above(level=0.05)
    True
    """

    number: int = 0
    total: float = 0.0
    above: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    below: list[float] = field(default_factory=lambda: [0.0] * len(BETS))

    def add(self, difference: float) -> None:
        """Take in one more difference."""
        self.number += 1
        self.total += difference
        self.above = [capital + math.log1p(bet * difference) for capital, bet in zip(self.above, BETS, strict=True)]
        self.below = [capital + math.log1p(-bet * difference) for capital, bet in zip(self.below, BETS, strict=True)]

    @property
    def mean(self) -> float:
        """The mean so far; 0 of none."""
        return self.total / self.number if self.number else 0.0

    def is_above(self, level: float) -> bool:
        """Tell whether the lower bound is above 0."""
        return max(self.above) > -math.log(level) and self._wealth(self.above, 0.0) > -math.log(level)

    def interval(self, level: float) -> tuple[float, float]:
        """Return a lower bound of the mean and an upper one; each is ever wrong with a chance of at most ``level``."""
        return self._bound(self.above, level), -self._bound(self.below, level)

    def _bound(self, capitals: list[float], level: float) -> float:
        low, high = -1.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._wealth(capitals, middle) > -math.log(level):
                low = middle
            else:
                high = middle
        return low

    def _wealth(self, capitals: list[float], mean: float) -> float:
        """Return the logarithm of what the bets have made together against a mean that is supposed."""
        each = [capital - bet * self.number * mean for capital, bet in zip(capitals, BETS, strict=True)]
        most = max(each)
        return most + math.log(math.fsum(math.exp(one - most) for one in each) / len(each))
