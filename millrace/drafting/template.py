"""How does a dataset's file read that nobody has written yet?

It is a beginning: declarative, short, and as a person would have written it, for it is a person's from now on.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

WIDTH = 118
"""A line of the file is no longer, where it can be broken."""

_LINEAR = {
    "binary": "linear_model.LogisticRegression(optim.SGD(0.01))",
    "multiclass": "linear_model.SoftmaxRegression(optim.SGD(0.01))",
    "regression": "preprocessing.TargetStandardScaler(line)",
}
_BEFORE = {"regression": "line = linear_model.LinearRegression(optim.SGD(0.01), clip_gradient=1)\n    "}
"""A squared error's gradient has no bound: one value far out, and the weights never come back."""
_TREE = "grace_period=50, delta=0.01, tau=0.1, binary_split=True, max_depth=10, leaf_prediction={leaf}, seed=1"
_BOOSTING = 'categorical_features="from_dtype", learning_rate={rate}, max_iter={trees}, max_leaf_nodes=15, random_state=1'
_METRICS = {"binary": ("ROCAUC", "Accuracy"), "multiclass": ("Accuracy", "MacroF1"), "regression": ("MAE", "RMSE")}


@dataclass(frozen=True)
class Draft:
    """What a dataset's file is to say.

    Parameters
    ----------
    asks
        The docstring's first line: what is asked, and when.
    found
        What was found in the table, a sentence each.
    task, label
        The task, and the label's type by its name in Polars.
    raw
        The raw columns, each with its type by its name in Polars.
    numbers, categories, calendar
        The features: raw columns, and what is taken from the event's time (``hour``, ``weekday``, ``month``).
    names, answers
        What files call the event's id and time, and the label's id, label and time, where it is not the usual word: the
        arguments of `Schema` and of `Labels`.
    cadence, refit, last
        How often models are published; how often the batch model is fitted, and on how many examples.
    window
        How long an event waits for its label; None as long as its id is known.
    scale
        Of a regression: the error that is as bad as it gets.
    flags
        Whether some of the numbers are booleans.
    expect
        Expectations, as they are written.
    """

    asks: str
    found: Sequence[str]
    task: str
    label: str
    raw: Mapping[str, str]
    numbers: Sequence[str]
    categories: Sequence[str]
    calendar: Sequence[str]
    names: Mapping[str, str]
    answers: Mapping[str, str]
    cadence: timedelta
    refit: timedelta
    last: int
    window: timedelta | None = None
    scale: float | None = None
    flags: bool = False
    expect: Sequence[str] = field(default=())

    @property
    def words(self) -> list[str]:
        """The features that are categories."""
        return [*self.categories, *self.calendar]

    @property
    def models(self) -> dict[str, str]:
        """The functions that build the models, by the names that the models have."""
        linear = "logistic" if self.task == "binary" else "softmax" if self.task == "multiclass" else "linear"
        before = _BEFORE.get(self.task, "")
        found = {linear: self._function(linear, f"{before}return {self._scaled} | {_LINEAR[self.task]}")}
        if self.words and self.task != "multiclass":
            body = "lately = compose.TransformerUnion(*map(running_mean, LATELY)) | preprocessing.StandardScaler()\n"
            body += f"    seen = {self._scaled} + lately\n    {before}return seen | {_LINEAR[self.task]}"
            says = "What the label was lately in the same category: it follows what changes."
            found["recent"] = self._function("recent", body, says)
        kind = "Regressor" if self.task == "regression" else "Classifier"
        leaf = quoted({"binary": "mc", "multiclass": "nba", "regression": "mean"}[self.task])
        body = f"tree.HoeffdingAdaptiveTree{kind}(\n        {_TREE.format(leaf=leaf)}\n    )"
        found["adaptive_tree"] = self._function("adaptive_tree", body)
        rate, trees = (0.1, 25) if self.task == "multiclass" else (0.05, 50)  # as many trees for each class
        body = f"trees = ensemble.HistGradientBoosting{kind}(\n        {_BOOSTING.format(rate=rate, trees=trees)}\n    )"
        body += f"\n    return Batch(trees, last={self.last:_}, every={_length(self.refit)})"
        says = f"What a batch model would do, fitted every {_spoken(self.refit)} on the last {self.last:,} examples."
        found["boosting"] = self._function("boosting", body, says)
        return found

    @property
    def _scaled(self) -> str:
        if self.numbers and self.words:
            return "scaled_and_one_hot()"
        return "preprocessing.StandardScaler()" if self.numbers else "preprocessing.OneHotEncoder()"

    def _function(self, name: str, body: str, says: str = "") -> str:
        kind = "Regressor" if self.task == "regression" else "Classifier"
        head = f"def {name}() -> {kind}:\n" + (f'    """{says}"""\n' if says else "")
        return head + (f"    {body}\n" if "return " in body else f"    return {body}\n")

    @property
    def text(self) -> str:
        """The file."""
        parts = [self._docstring(), self._imports(), self._constants()]
        functions = [*self._transformers(), *self.models.values()]
        return "\n".join(parts) + "\n\n" + "\n\n".join(functions) + "\n\n" + self._declaration()

    def _docstring(self) -> str:
        lines = [f'"""{_safe(self.asks)}', ""]
        for sentence in self.found:
            lines += textwrap.wrap(_safe(sentence), WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join([*lines, '"""', ""])

    def _imports(self) -> str:
        river = {"linear_model", "optim", "preprocessing", "tree"}
        river |= {"compose"} if self.numbers and self.words else set()
        river |= {"compose", "feature_extraction", "stats"} if "recent" in self.models else set()
        bases = ["Regressor" if self.task == "regression" else "Classifier"]
        bases += ["Transformer"] if "recent" in self.models else []
        ours = ["Batch", "Dataset", "Schema"] + (["Labels"] if self._labels else []) + (["expect"] if self.expect else [])
        lines = ["from datetime import timedelta", "", "import polars as pl", f"from river import {', '.join(sorted(river))}"]
        lines += [f"from river.base import {', '.join(bases)}", "from sklearn import ensemble", ""]
        lines += [f"from millrace import {', '.join(sorted(ours))}"]
        lines += ["from millrace.loss import Loss"] if self.scale else []
        return "\n".join([*lines, ""])

    def _constants(self) -> str:
        lately = self.words[:3] if "recent" in self.models else []
        given = {"NUMBERS": self.numbers, "CATEGORIES": self.categories, "CALENDAR": self.calendar, "LATELY": lately}
        return "".join(_listing(f"{name} = ", names) for name, names in given.items() if names)

    def _transformers(self) -> list[str]:
        found = []
        if self.numbers and self.words:
            words = ", ".join(["*CATEGORIES"] * bool(self.categories) + ["*CALENDAR"] * bool(self.calendar))
            found.append(
                "def scaled_and_one_hot() -> compose.TransformerUnion:\n"
                "    numbers = compose.Select(*NUMBERS) | preprocessing.StandardScaler()\n"
                f"    return numbers + (compose.Select({words}) | preprocessing.OneHotEncoder())\n"
            )
        if "recent" in self.models:
            found.append(
                "def running_mean(by: str) -> Transformer:\n"
                "    return feature_extraction.TargetAgg(by=by, how=stats.EWMean(0.02))\n"
            )
        return found

    @property
    def _labels(self) -> str:
        given = [f"window={_length(self.window)}"] if self.window else []
        return ", ".join([*given, *(f"{key}={quoted(name)}" for key, name in self.answers.items())])

    def _declaration(self) -> str:
        names = "".join(f"        {key}={quoted(name)},\n" for key, name in self.names.items())
        raw = "".join(f"            {quoted(name)}: pl.{dtype},\n" for name, dtype in self.raw.items())
        lines = [f'task="{self.task}"', f"event=Schema(\n        {{\n{raw}        }},\n{names}    )", f"label=pl.{self.label}"]
        lines.append(f"features=[\n{''.join(f'        {one},{chr(10)}' for one in self._features())}    ]")
        lines.append(f"models={{{', '.join(f'{quoted(name)}: {name}' for name in self.models)}}}")
        lines.append(f'loss=Loss("absolute", scale={self.scale:g})' if self.scale else 'loss="log"')
        lines.append(f"metrics=[{', '.join(map(quoted, _METRICS[self.task]))}]")
        lines += [f"{name}={_length(self.cadence)}" for name in ("every", "cadence")]
        lines += [f"labels=Labels({self._labels})"] if self._labels else []
        lines += [f"id_horizon={_length(self.window)}"] if self.window and self.window > timedelta(days=90) else []
        lines += [f"expect=[\n{''.join(f'        {one},{chr(10)}' for one in self.expect)}    ]"] if self.expect else []
        return "dataset = Dataset(\n" + "".join(f"    {line},\n" for line in lines) + ")\n"

    def _features(self) -> list[str]:
        found = []
        if self.numbers:
            found.append("pl.col(*NUMBERS)" + (".cast(pl.Float64)" if self.flags else ""))
        if self.categories:
            found.append('pl.col(*CATEGORIES).fill_null("missing")')
        return found + [f'pl.col("event_time").dt.{name}().cast(pl.String).alias("{name}")' for name in self.calendar]


def quoted(text: str) -> str:
    """Write a text as Python does, in double quotes where it can be."""
    return json.dumps(text, ensure_ascii=False) if '"' not in text else repr(text)


def _listing(head: str, names: Sequence[str]) -> str:
    """Write a tuple on one line, or on as few as it takes."""
    body = ", ".join(map(quoted, names)) + ("," if len(names) == 1 else "")
    if len(line := f"{head}({body})") <= WIDTH:
        return line + "\n"
    lines, row = [], "   "
    for name in names:
        if len(row) + len(quoted(name)) + 2 > WIDTH and row.strip():
            lines.append(row)
            row = "   "
        row += f" {quoted(name)},"
    return "\n".join([f"{head}(", *lines, row, ")  # fmt: skip", ""])


def _safe(text: str) -> str:
    """Make a text fit into a docstring, on one line."""
    return " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")


def _length(length: timedelta) -> str:
    count, unit = _counted(length)
    return f"timedelta({unit}={count:g})"


def _spoken(length: timedelta) -> str:
    count, unit = _counted(length)
    return unit.removesuffix("s") if count == 1 else f"{count:g} {unit}"


def _counted(length: timedelta) -> tuple[float, str]:
    seconds = length.total_seconds()
    unit, size = next(
        one for one in (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)) if seconds % one[1] == 0
    )
    return seconds / size, unit
