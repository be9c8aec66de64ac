"""Models that are not exact, and are to be found so: what a user may write without knowing."""

from __future__ import annotations

from typing import Any

from river import active, compat, compose, feature_selection, linear_model, preprocessing, sketch, stats
from river.base import Transformer
from sklearn.neural_network import MLPClassifier


class Mine(compose.Select):  # type: ignore[misc]
    """A class of one's own, of one that is not exact."""


class Seen(Transformer):  # type: ignore[misc]
    """Iterates a set."""

    def __init__(self) -> None:
        self.words: set[str] = set()

    def learn_one(self, x: dict[str, Any]) -> None:
        self.words.update(x["text"].split())

    def transform_one(self, x: dict[str, Any]) -> dict[str, Any]:
        return {word: float(word in x["text"]) for word in self.words} | {"n0": x["n0"]}


class ByAddress(Transformer):  # type: ignore[misc]
    """Knows its statistics by where they are in memory."""

    def __init__(self) -> None:
        self.means = [stats.Mean(), stats.Mean()]
        self.learned: dict[int, int] = {}

    def learn_one(self, x: dict[str, Any]) -> None:
        for mean in self.means:
            mean.update(x["n0"])
            self.learned[id(mean)] = self.learned.get(id(mean), 0) + 1

    def transform_one(self, x: dict[str, Any]) -> dict[str, Any]:
        return {"share": 1 / (1 + self.learned.get(id(self.means[0]), 0)), "n0": x["n0"]}


class Counted(Transformer):  # type: ignore[misc]
    """Counts words in a sketch."""

    def __init__(self) -> None:
        self.counter = sketch.Counter(epsilon=0.3, seed=1)

    def learn_one(self, x: dict[str, Any]) -> None:
        self.counter.update(x["text"])

    def transform_one(self, x: dict[str, Any]) -> dict[str, Any]:
        return {"count": float(self.counter[x["text"]])}


def own_subclass() -> Any:
    return Mine("n0", "n1", "n2", "n3") + (Mine("n3", "n1", "n0") | compose.Prefixer("x_")) | linear_model.LogisticRegression()


def own_set() -> Any:
    return Seen() | linear_model.LogisticRegression()


def own_addresses() -> Any:
    return ByAddress() | linear_model.LogisticRegression()


def counter() -> Any:
    return Counted() | linear_model.LogisticRegression()


def hashed(x: dict[str, Any]) -> dict[str, Any]:
    return {f"bucket{hash(x['text']) % 8}": 1.0, "n0": x["n0"]}


def hashing() -> Any:
    return compose.FuncTransformer(hashed) | linear_model.LogisticRegression()


def network() -> Any:
    numbers = compose.Select("n0", "n1") | preprocessing.StandardScaler()
    return numbers | compat.SKL2RiverClassifier(MLPClassifier(hidden_layer_sizes=(2,)), classes=[False, True])


def process_generator() -> Any:
    best = feature_selection.SelectKBest(stats.KolmogorovSmirnov(), k=2)
    return compose.SelectType(float) | best | linear_model.LogisticRegression()


def active_learning() -> Any:
    return compose.SelectType(float) | active.EntropySampler(linear_model.LogisticRegression(), seed=1)


MODELS = {
    "a class derived from compose.Select": own_subclass,
    "a class that iterates a set": own_set,
    "a class with addresses for keys": own_addresses,
    "a class with a sketch.Counter": counter,
    "a function that hashes": hashing,
    "a network of scikit-learn's without a seed": network,
    "a statistic that draws from the process's generator": process_generator,
    "active learning": active_learning,
}
