"""What does a table of history ask, and which of its columns should models see?

What was found is said, each as a sentence: a person who disagrees changes a line of the dataset's file.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from millrace.casting import cast
from millrace.dataset import TASKS
from millrace.drafting.dates import parse
from millrace.drafting.leak import leak
from millrace.drafting.sheet import Sheet
from millrace.errors import UsageError, unknown
from millrace.schema import Column, Dtype

CLASSES = 50
"""A label of more different texts is none of classes."""
_FEW = 10
"""A label of so few different whole numbers is taken for classes."""
CATEGORIES = 200
"""A text of more different values is no feature: scikit-learn's boosting takes 255."""
_ENOUGH = 20
_WORDS = 3
_DATE = "a date: its distance to the event's time would be a feature"


@dataclass(frozen=True)
class Answer:
    """The label: the task, a value a row (null: never answered), its type in the dataset's file, and how it was taken."""

    task: str
    values: pl.Series
    dtype: Dtype
    said: str


@dataclass(frozen=True)
class Raw:
    """A raw column: its values as they are kept, the kind of feature (``number``, ``category``; None: left out) and why it is
    left out, or should be where nothing else is left."""

    values: pl.Series
    kind: str | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """The column's name."""
        return self.values.name


def answer(sheet: Sheet, name: str, task: str | None) -> Answer:
    """Find out what kind of prediction a label asks for.

    Raises
    ------
    UsageError
        When there is no such column or task, no label, one value alone, or too many classes.
    """
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    values, where = sheet.column(name), f"{sheet.path}: the label {name!r}"
    values = values.cast(pl.String) if values.dtype in (pl.Date, pl.Datetime) else values
    known = values.drop_nulls()
    distinct = known.unique().sort()
    if not known.len():
        raise UsageError(f"{where} has no values; name the column of the answers by --label")
    if distinct.len() == 1:
        raise UsageError(
            f"{where} is {distinct[0]!r} in all {known.len():,} rows that have one: there is nothing to learn; rows of the other "
            "kind are missing, or another column is the label"
        )
    if task == "binary" and distinct.len() > 2:
        raise UsageError(f"{where} has {distinct.len():,} different values, and a binary one has two; say --task multiclass")
    if distinct.len() == 2 and task in (None, "binary"):
        return _binary(values, distinct)
    if values.dtype == pl.Float64:
        return _number(values, distinct, where, task)
    if task == "regression" or (values.dtype == pl.String and distinct.len() > CLASSES):
        raise _no_classes(sheet, values, distinct.len(), where)
    shown = ", ".join(map(repr, distinct.head(5).to_list()))
    return Answer("multiclass", values.cast(pl.String), pl.String, f"one of {distinct.len()} classes: {shown}{_more(distinct)}")


def _more(distinct: pl.Series) -> str:
    return " …" if distinct.len() > 5 else ""


def _binary(values: pl.Series, distinct: pl.Series) -> Answer:
    """Map two values to false and true: by their meaning, or the rarer is true."""
    if values.dtype == pl.Boolean:
        return Answer("binary", values, pl.Boolean, "true or false")
    shown = _shown(distinct)
    truths = _truths(shown)
    by_meaning = not truths.null_count() and truths.n_unique() == 2
    if by_meaning:
        true = shown[int(truths.arg_max() or 0)]
    elif values.dtype.is_numeric():
        true = shown[1]
    else:
        true = shown[0] if 2 * (values == distinct[0]).sum() < values.drop_nulls().len() else shown[1]
    false = next(word for word in shown if word != true)
    said = f"{true!r} is true, {false!r} is false"
    if not by_meaning:
        said += f" ({'the larger' if values.dtype.is_numeric() else 'the rarer'} was taken for true; files of labels to come "
        said += "say true or false)"
    return Answer("binary", (_shown(values) == true).alias(values.name), pl.Boolean, said)


def _shown(values: pl.Series) -> pl.Series:
    """Return values as text, whole numbers without a point."""
    if values.dtype == pl.Float64 and bool((values == values.floor()).all()):
        return values.cast(pl.Int64).cast(pl.String)
    return values.cast(pl.String)


def _truths(words: pl.Series) -> pl.Series:
    """Return what files of labels may say for true and false as such, null for all else."""
    missing = pl.Series("missing", [[]] * words.len(), dtype=pl.List(pl.String))
    rows = pl.DataFrame([pl.DataFrame({"word": words}).to_struct("raw"), missing]).with_row_index()
    found = cast(rows, {"word": Column(pl.Boolean)}).good
    values = found.select("index", pl.col("value").struct.field("word"))
    return rows.select("index").join(values, on="index", how="left", maintain_order="left")["word"]


def _number(values: pl.Series, distinct: pl.Series, where: str, task: str | None) -> Answer:
    whole = bool((distinct == distinct.floor()).all())
    if task == "multiclass" and not whole:
        raise UsageError(
            f"{where} is of numbers with a fraction, such as {distinct[0]!r}, and so of no classes; say --task regression"
        )
    if task == "multiclass" or (task is None and whole and distinct.len() <= _FEW):
        shown = ", ".join(f"{value:.0f}" for value in distinct.head(5).to_list())
        said = f"one of {distinct.len()} classes: {shown}{_more(distinct)} (to predict it as a number: --task regression)"
        return Answer("multiclass", values.cast(pl.Int64), pl.Int64, said)
    return Answer("regression", values, pl.Float64, f"a number from {distinct[0]:g} to {distinct[-1]:g}")


def _no_classes(sheet: Sheet, values: pl.Series, count: int, where: str) -> UsageError:
    numbers = values.cast(pl.String).cast(pl.Float64, strict=False)
    odd = (values.is_not_null() & numbers.is_null()).arg_true()
    first = f"line {sheet.lines[odd[0]]}" if odd.len() else "line 1"
    if 2 * odd.len() < values.drop_nulls().len():
        return UsageError(
            f"{where} is numbers, but {values[odd[0]]!r} in {first} is none, nor are {odd.len() - 1:,} more; mend them"
        )
    return UsageError(
        f"{where} has {count:,} different texts, such as {values[odd[0]]!r} in {first}: too many for classes (at most "
        f"{CLASSES}), and no numbers; name another column, or join rare classes into one"
    )


def columns(sheet: Sheet, names: list[str], label: pl.Series) -> list[Raw]:
    """Sort a table's columns into numbers, categories and what models should not see.

    Parameters
    ----------
    names
        The columns that are neither id, label nor time.
    label
        The label as it is predicted; what knows it is left out, unless nothing else is left.
    """
    found = [_sorted(sheet.column(name)) for name in names]
    seen = [raw for raw in found if raw.kind]
    known = {raw.name: evidence for raw in seen if (evidence := leak(_feature(raw), label))}
    alone = len(known) == len(seen)
    why = "it alone predicts the label nearly perfectly ({}), as what is written down after the answer does"
    return [
        Raw(raw.values, raw.kind if alone else None, why.format(known[raw.name])) if raw.name in known else raw for raw in found
    ]


def _feature(raw: Raw) -> pl.Series:
    return raw.values.cast(pl.Float64) if raw.kind == "number" else raw.values.fill_null("missing")


def _sorted(values: pl.Series) -> Raw:
    known = values.drop_nulls()
    distinct = known.n_unique()
    if values.dtype in (pl.Date, pl.Datetime):
        return Raw(values if values.dtype == pl.Date else parse(values)[0].alias(values.name), None, _DATE)
    if not distinct:
        return Raw(values, None, "without any value")
    if distinct == 1:
        return Raw(values, None, f"always {_shown(known)[0]!r}")
    if values.dtype == pl.Boolean:
        return Raw(values, "number")
    if values.dtype == pl.Float64:
        return Raw(values, None, "the numbers of the rows") if _counts(known, distinct) else Raw(values, "number")
    return _text(values, known, distinct)


def _counts(known: pl.Series, distinct: int) -> bool:
    """Tell whether numbers are those of rows: whole, each once, without a gap."""
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
    return distinct == known.len() >= _ENOUGH and high - low == distinct - 1 and bool((known == known.floor()).all())


def _text(values: pl.Series, known: pl.Series, distinct: int) -> Raw:
    many = known.len() >= _ENOUGH and 2 * distinct > known.len()
    if (many or distinct > CATEGORIES) and float(known.str.count_matches(r"\S+").mean()) > _WORDS:  # type: ignore[arg-type]
        return Raw(values, None, "free text")
    if _dates(known.head(100)):
        return Raw(values, None, _DATE)
    if many:
        return Raw(values, None, "nearly all values are different: names or ids, which do not come again")
    if distinct > CATEGORIES:
        return Raw(values, None, f"{distinct:,} different values, more than the {CATEGORIES} that a category may have here")
    return Raw(values, "category")


def _dates(sample: pl.Series) -> bool:
    try:
        return not parse(sample)[0].null_count()
    except UsageError:  # dates, of which nobody can tell day and month
        return True
