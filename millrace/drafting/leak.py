"""Does a column know the label?

A column that alone predicts nearly perfectly is mostly the answer in other words: what was written down after the answer
was known, such as the day of a cancellation. A model that sees it learns nothing that holds in production.
"""

from __future__ import annotations

import polars as pl

from millrace.validation import scores

AREA = 0.99
"""The area under the ROC curve from which a number is taken to know a label of two classes."""
EXPLAINED = 0.99
"""Of the errors that the most common class would make, so many are gone once a category is known."""
RANKS = 0.999
"""The rank correlation, or the share of the variance, from which a column is taken to know a number."""
_BINS = 50
_ENOUGH = 30


def leak(column: pl.Series, label: pl.Series) -> str | None:
    """Tell how well a column alone predicts the label, where that is nearly perfect.

    Parameters
    ----------
    column
        Numbers, or categories as text.
    label
        Booleans, classes (text or whole numbers) or numbers (floats), a row each; rows without either do not count.

    Returns
    -------
    str or None
        The evidence in words; None where it does not, or where fewer than thirty rows have both.

    Examples
    --------
    >>> leak(pl.Series(range(100)), pl.Series([i >= 60 for i in range(100)]))
    'ROC AUC 1.0000'
    """
    both = pl.DataFrame({"x": column, "y": label}).drop_nulls()
    if both.height < _ENOUGH or both["x"].n_unique() < 2 or both["y"].n_unique() < 2:
        return None
    numeric = both.schema["x"].is_numeric()
    if label.dtype == pl.Boolean and numeric:
        area = _area(both)
        return f"ROC AUC {area:.4f}" if area >= AREA else None
    if label.dtype.is_float():
        share = abs(_correlation(both)) if numeric else _variance(both)
        return f"{'rank correlation' if numeric else 'share of the variance'} {share:.4f}" if share >= RANKS else None
    known = _explained(_binned(both) if numeric else both)
    return f"{known:.1%} of the errors of the most common class are gone" if known >= EXPLAINED else None


def _area(both: pl.DataFrame) -> float:
    """Return the area under the ROC curve, in the better of the two directions; both classes are there."""
    area = scores.area(both["x"].to_numpy(), both["y"].to_numpy()) or 0.0
    return max(area, 1 - area)


def _correlation(both: pl.DataFrame) -> float:
    return float(both.select(pl.corr("x", "y", method="spearman")).item())


def _variance(both: pl.DataFrame) -> float:
    """Return how much of the label's variance lies between the categories that have two rows or more."""
    groups = both.filter(pl.len().over("x") > 1)
    if groups.height < both.height / 2:
        return 0.0
    within = groups.select((pl.col("y") - pl.col("y").mean().over("x")).pow(2).mean()).item()
    return 1.0 - float(within / groups["y"].var(ddof=0)) if groups["y"].n_unique() > 1 else 0.0


def _binned(both: pl.DataFrame) -> pl.DataFrame:
    if both["x"].n_unique() <= _BINS:
        return both
    return both.with_columns((pl.col("x").rank("min") * _BINS // both.height).alias("x"))


def _explained(both: pl.DataFrame) -> float:
    """Return Goodman and Kruskal's lambda, in which a category that is seen once explains nothing."""
    counts = both.group_by("x", "y").len()
    groups = counts.group_by("x").agg(pl.col("len").max().alias("most"), pl.col("len").sum().alias("all"))
    right = groups.filter(pl.col("all") > 1)["most"].sum()
    common = int(both["y"].value_counts()["count"].max())  # type: ignore[arg-type]
    return float(right - common) / (both.height - common)
