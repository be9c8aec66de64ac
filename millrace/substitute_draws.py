"""What takes the place of River's classes that draw random numbers when they are asked, so that they are exact?

Asked about a feature or a category that they have not learned, they draw its weights, and keep them: an answer depends
on the questions before it. The classes here draw when they learn; when they are asked, they draw and keep nothing.
"""

# mypy: disallow-subclassing-any=False
from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

from river import facto, feature_selection, preprocessing

from millrace.substitutes import substitute


class Aside(dict[Any, Any]):
    """Reads from a default dictionary, and writes what it draws beside it."""

    def __init__(self, under: collections.defaultdict[Any, Any], drawing: Callable[[], None]) -> None:
        self.under, self.drawing = under, drawing

    def __missing__(self, key: Any) -> Any:
        if key in self.under:
            value = self.under[key]
        else:
            self.drawing()
            value = self.under.default_factory()  # type: ignore[misc]
        self[key] = Aside(value, self.drawing) if isinstance(value, collections.defaultdict) else value
        return self[key]


@contextlib.contextmanager
def aside(part: Any, dictionary: str, owner: Any, generator: str) -> Iterator[None]:
    """Let a dictionary be read, and what it lacks be drawn, by a copy of its owner's generator, and forgotten."""
    under, kept = getattr(part, dictionary), getattr(owner, generator, None)

    def drawing() -> None:  # most questions draw nothing, and a copy takes a while
        if kept is not None and getattr(owner, generator) is kept:
            setattr(owner, generator, copy.deepcopy(kept))

    setattr(part, dictionary, Aside(under, drawing))
    try:
        yield
    finally:
        setattr(part, dictionary, under)
        if kept is not None:
            setattr(owner, generator, kept)


def _asked(method: Any) -> Any:
    """Make the method by which a factorization machine is asked."""

    def ask(self: Any, x: dict[Any, Any]) -> Any:
        with aside(self, "latents", self.latent_initializer, "_rng"):
            return method(self, x)

    return ask


@substitute
class FMClassifier(facto.FMClassifier):
    """A factorization machine."""

    predict_proba_one = _asked(facto.FMClassifier.predict_proba_one)


@substitute
class FMRegressor(facto.FMRegressor):
    """A factorization machine."""

    predict_one = _asked(facto.FMRegressor.predict_one)


@substitute
class FFMClassifier(facto.FFMClassifier):
    """A field-aware factorization machine."""

    predict_proba_one = _asked(facto.FFMClassifier.predict_proba_one)


@substitute
class FFMRegressor(facto.FFMRegressor):
    """A field-aware factorization machine."""

    predict_one = _asked(facto.FFMRegressor.predict_one)


@substitute
class FwFMClassifier(facto.FwFMClassifier):
    """A field-weighted factorization machine."""

    predict_proba_one = _asked(facto.FwFMClassifier.predict_proba_one)


@substitute
class FwFMRegressor(facto.FwFMRegressor):
    """A field-weighted factorization machine."""

    predict_one = _asked(facto.FwFMRegressor.predict_one)


@substitute
class HOFMClassifier(facto.HOFMClassifier):
    """A higher-order factorization machine."""

    predict_proba_one = _asked(facto.HOFMClassifier.predict_proba_one)


@substitute
class HOFMRegressor(facto.HOFMRegressor):
    """A higher-order factorization machine."""

    predict_one = _asked(facto.HOFMRegressor.predict_one)


@substitute
class GaussianRandomProjector(preprocessing.GaussianRandomProjector):
    """Draws the weights of a feature when it learns it."""

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Draw the weights of new features."""
        super().transform_one(x)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Project ``x``; new features have weights for this once."""
        with aside(self, "_projection_matrix", self, "_rng"):
            return super().transform_one(x)  # type: ignore[no-any-return]


@substitute
class SparseRandomProjector(preprocessing.SparseRandomProjector):
    """Draws the weights of a feature when it learns it."""

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Draw the weights of new features."""
        super().transform_one(x)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Project ``x``; new features have weights for this once."""
        with aside(self, "_projection_matrix", self, "_rng"):
            return super().transform_one(x)  # type: ignore[no-any-return]


@substitute
class PoissonInclusion(feature_selection.PoissonInclusion):
    """Draws whether a feature is included when it learns, and not when it is asked."""

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Draw for each feature that is not included."""
        super().transform_one(x)

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the features of ``x`` that are included."""
        return {name: value for name, value in x.items() if name in self.included}


@substitute
class LDA(preprocessing.LDA):
    """Samples a document's components, when it is asked, as if nothing had been asked before."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Give the document's components."""
        other: Any = copy.copy(self)
        other.rng = copy.deepcopy(other.rng)
        other.word_to_index, other.index_to_word = dict(other.word_to_index), dict(other.index_to_word)
        return super(LDA, other).transform_one(x)  # type: ignore[no-any-return]
