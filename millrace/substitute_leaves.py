"""How does a leaf of a Hoeffding tree learn faster than River's, and the same?

It is River's leaf and stays so, in its class, its state and its pickles: only who teaches it is another. An adaptive
leaf weighs each example against what it has seen of every feature and label, twenty times for ten features; here
without a copy of its weights, without calls that only pass on, and with the same sums in the same order.
"""

from __future__ import annotations

import math
from typing import Any

from river.tree.nodes.htc_nodes import LeafNaiveBayesAdaptive
from river.tree.splitter import GaussianSplitter


def learn(leaf: Any, x: dict[Any, Any], y: Any, w: float, tree: Any) -> None:
    """Let a leaf of a classification tree learn an example, to the last bit as its own ``learn_one`` does."""
    if type(leaf) is not LeafNaiveBayesAdaptive or type(leaf.splitter) is not GaussianSplitter or leaf.splitters is None:
        leaf.learn_one(x, y, w=w, tree=tree)
        return
    if not leaf.stats or _likeliest(_shares(leaf.stats)) == y:
        leaf._mc_correct_weight += w
    votes = _votes(leaf, x)
    if votes and _likeliest(votes) == y:
        leaf._nb_correct_weight += w
    leaf.update_stats(y, w)
    _update_splitters(leaf, x, y, w, tree.nominal_attributes)


def _likeliest(votes: dict[Any, float]) -> Any:
    return max(votes, key=votes.__getitem__)


def _shares(weights: dict[Any, float]) -> dict[Any, float]:
    """Normalize as River does, by a factor: two weights may round to the same share, and the first of them wins."""
    total = sum(weights.values())
    factor = 1.0 if total == 0 or math.isnan(total) else 1 / total
    return {label: weight * factor for label, weight in weights.items()}


def _votes(leaf: Any, x: dict[Any, Any]) -> dict[Any, float]:
    """Predict by naive Bayes: River's ``do_naive_bayes_prediction``."""
    total = sum(leaf.stats.values())
    if total == 0:
        return {}
    seen = [
        (x[name], type(splitter) is GaussianSplitter, splitter._att_dist_per_class)
        for name, splitter in leaf.splitters.items()
        if name in x
    ]
    votes = {}
    for label, weight in leaf.stats.items():
        if not weight > 0:
            votes[label] = 0.0
            continue
        vote = math.log(weight / total)
        for value, numeric, by_label in seen:
            if not numeric:
                weights = by_label[label]  # a label that is new to it gets its place here, as with River
                if value in weights:
                    whole = sum(weights.values())
                    share = weights[value] / whole if whole else 0.0
                    if share > 0:
                        vote += math.log(share)
            elif label in by_label:
                density = by_label[label].log_pdf(value)
                if density > -math.inf:
                    vote += density
        votes[label] = vote
    best = max(votes.values())
    whole = best + math.log(sum([math.exp(vote - best) for vote in votes.values()]))
    return {label: math.exp(vote - whole) for label, vote in votes.items()}


def _update_splitters(leaf: Any, x: dict[Any, Any], y: Any, w: float, nominal: Any) -> None:
    """Count an example in: what is new to the leaf, or missing, by River's own method."""
    for name, value in x.items():
        splitter = leaf.splitters.get(name)
        if splitter is None or value is None or y not in splitter._att_dist_per_class:
            leaf.update_splitters({name: value}, y, w, nominal)
        elif type(splitter) is GaussianSplitter:
            if value < splitter._min_per_class[y]:
                splitter._min_per_class[y] = value
            if value > splitter._max_per_class[y]:
                splitter._max_per_class[y] = value
            splitter._att_dist_per_class[y]._var.update(value, w)
        else:
            splitter._att_values.add(value)
            weights = splitter._att_dist_per_class[y]
            weights[value] = weights[value] + w if value in weights else w
            splitter._total_weight_observed += w
