"""What would one say who has never seen an event?

The model that every other must beat, at hand in every race. Classes that are declared have a share from the start (the
Krichevsky-Trofimov estimator, half a label each), so that the base rate is never without an answer where one can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from river import dummy, stats


class PriorClassifier(dummy.PriorClassifier):  # type: ignore[misc]
    """Each class's running share of the labels.

    Parameters
    ----------
    classes
        The classes that are known beforehand; others join when they are first seen.

    References
    ----------
    R. Krichevsky, V. Trofimov, *The performance of universal encoding*, IEEE Transactions on Information Theory, 1981.

    Examples
    --------
    >>> model = PriorClassifier([False, True])
    >>> model.predict_proba_one({})
    {False: 0.5, True: 0.5}
    >>> model.learn_one({}, True)
    >>> model.predict_proba_one({})
    {False: 0.25, True: 0.75}
    """

    def __init__(self, classes: Sequence[Any] = ()) -> None:
        super().__init__()
        self.classes = list(classes)
        self.counts.update(dict.fromkeys(classes, 0))

    def predict_proba_one(self, x: object, **kwargs: object) -> dict[Any, float]:
        """Return the share of each class, whatever the event."""
        total = self.n + len(self.counts) / 2
        return {label: (count + 0.5) / total for label, count in self.counts.items()}


class PriorRegressor(dummy.StatisticRegressor):  # type: ignore[misc]
    """The running mean of the labels."""

    def __init__(self) -> None:
        super().__init__(stats.Mean())
