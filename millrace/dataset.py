"""What is one prediction problem?

A dataset is declared in one file; this is what that file fills in. Nothing heavy is imported and nothing is run
here: what is wrong with a declaration is said when the file is loaded, and the models are built when they are used.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from millrace.clock import declared_duration
from millrace.errors import DatasetError, unknown
from millrace.expect import Expectation
from millrace.labels import LABELS, Labels
from millrace.loss import Loss
from millrace.memory import NAME, Memory
from millrace.schema import Column, Dtype, Schema

if TYPE_CHECKING:
    from river.base import Estimator

TASKS = ("binary", "multiclass", "regression")
PRIOR = "prior"
"""The model that every race has, undeclared: the running share of each class, or the running mean."""


@dataclass(frozen=True)
class Race:
    """When a shadow becomes champion: its mean loss is lower, with evidence, over the labelled events that both predicted.

    Parameters
    ----------
    minimum
        So many of these events must be labelled first.
    cooldown
        So many further labels must pass after a promotion before the next.
    level
        The chance, at most, that in one reign a shadow is promoted that was no better, though it is looked at after every label
        (:mod:`millrace.reign` says what that covers). 1 asks for no evidence: the lower mean is enough.
    window
        The evidence also begins anew after so many labels, for a shadow that is better only lately; None: it never does.

    Examples
    --------
    >>> Race(level=5)
    Traceback (most recent call last):
    millrace.errors.DatasetError: race: level=5 must be above 0 and at most 1; 0.05 is 5%
    """

    minimum: int = 200
    cooldown: int = 200
    level: float = 0.05
    window: int | None = 10_000

    def __post_init__(self) -> None:
        for name in ("minimum", "cooldown", "window"):
            value = getattr(self, name)
            if (not isinstance(value, int) or isinstance(value, bool)) and not (name == "window" and value is None):
                never = " (or none: the evidence never begins anew)" if name == "window" else ""
                raise DatasetError(f"race: {name}={value} must be a whole number of labels, such as {name}=200{never}")
        if not isinstance(self.level, int | float):
            raise DatasetError(
                f"race: level={self.level} must be a number above 0 and at most 1; 0.05 is 5%, 1 asks for no evidence"
            )
        if self.minimum < 1 or self.cooldown < 0:
            raise DatasetError(f"race: minimum={self.minimum} must be 1 or more, cooldown={self.cooldown} 0 or more")
        if not 0 < self.level <= 1:
            raise DatasetError(f"race: level={self.level} must be above 0 and at most 1; 0.05 is 5%")
        if self.window is not None and self.window < self.minimum:
            raise DatasetError(
                f"race: window={self.window} is shorter than minimum={self.minimum} labels, so it would prove nothing; "
                f"window={self.minimum} or more, or None, would be right"
            )


@dataclass(frozen=True)
class Retention:
    """Which versions stay in MLflow, on the clock of the data; ``maintain`` removes the others.

    Always kept are what an alias points to, what is pinned, the newest of each model, and what a person made of the past. Any
    other can be built again from the log. A model counts apart for each of its definitions and environments. A length of time
    is a text with a unit, such as ``"30d"``, or a timedelta.

    Parameters
    ----------
    predictions
        Versions that predicted an event within so long a time.
    newest
        So many of each model.
    hourly, daily
        Of each model the last of every hour for so long, and of every day.
    """

    predictions: timedelta | str = "30d"
    newest: int = 10
    hourly: timedelta | str = "1d"
    daily: timedelta | str = "365d"

    def __post_init__(self) -> None:
        if not isinstance(self.newest, int) or self.newest < 1:
            raise DatasetError(f"retention: newest={self.newest!r} must be a whole number, 1 or more")
        for name in ("predictions", "hourly", "daily"):
            object.__setattr__(self, name, declared_duration(f"retention: {name}={getattr(self, name)!r}", getattr(self, name)))

    def since(self, name: str, clock: datetime) -> datetime:
        """Return where one of its lengths of time begins that ends at a moment."""
        length = getattr(self, name)
        assert isinstance(length, timedelta)
        return clock - length


@dataclass(frozen=True)
class Dataset:
    """One prediction problem, as its file declares it.

    Parameters
    ----------
    task
        ``binary``, ``multiclass`` or ``regression``.
    event
        The raw columns of an event.
    label
        The label's type, or a :class:`~millrace.schema.Column` with what it may be.
    features
        Polars expressions over the raw columns, ``event_id`` and ``event_time``: row by row, without state. Strings,
        booleans and numbers. A null is left out of what the models see.
    weight
        How much an example counts when it is learned, for models that take a weight: a Polars expression over the raw
        columns, ``event_time`` and ``label``, row by row, such as ``pl.col("amount") / 100``; by default each counts 1. One
        that is null, below zero or not finite counts 1, and is reported.
    models
        Functions that build a fresh model, by name.
    loss
        Bounded, one number an example, decides the race: ``log``, ``brier``, ``zero_one``, ``absolute``, ``squared``, or
        a :class:`~millrace.loss.Loss` with a scale.
    metrics
        River's metrics by name (``"ROCAUC"``), or instances, or a function that builds them; shown, they decide nothing.
    every
        How often the dataset is due when it is run on a schedule.
    cadence
        How often a model is published, on the clock of the data.
    labels, race
        How labels arrive, and when a shadow becomes champion.
    memory
        Features that depend on earlier events: a list such as ``[count().by("origin").last("1h")]``, or a
        :class:`~millrace.memory.Memory` of it with its options.
    retention
        Which versions stay in MLflow.
    expect
        Great Expectations' expectations of the raw columns, by name (:mod:`millrace.expect`).
    history
        Stored data to try things on: a Parquet file beside the dataset's file, or a function that returns a frame,
        with ``event_id``, ``event_time``, the raw columns, ``label`` (null: never answered) and ``label_time``.
    settle
        For writers that cannot rename into place: a file is taken when it has not changed for so long.
    future
        An event's time may be so far ahead of the moment at which its file was received.
    id_horizon
        Ids are unique within so long a time, on the clock of the data: an event of the same id within it is the same
        event again, a later one is another. None is for ever, and the index of ids then grows with every event.

    Raises
    ------
    DatasetError
        When the declaration cannot be right; the message says what would be.
    """

    task: str
    event: Schema
    label: Column | Dtype
    features: Sequence[pl.Expr]
    models: Mapping[str, Callable[[], Estimator]]
    loss: str | Loss
    metrics: Sequence[Any] | Callable[[], Sequence[Any]] = ()
    weight: pl.Expr | None = None
    every: timedelta = timedelta(hours=1)
    cadence: timedelta = timedelta(hours=1)
    labels: Labels = field(default_factory=Labels)
    race: Race = Race()
    memory: Memory | Sequence[Any] = ()
    retention: Retention = Retention()
    expect: Sequence[Expectation] = ()
    history: str | Path | Callable[[], pl.DataFrame] | None = None
    settle: timedelta | None = None
    future: timedelta = timedelta(days=1)
    id_horizon: timedelta | None = timedelta(days=90)
    name: str = field(default="", init=False)
    path: Path = field(default=Path(), init=False)
    text: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise DatasetError(f"task: {unknown('task', self.task, TASKS)}")
        object.__setattr__(self, "label", Column.of(self.label))
        object.__setattr__(self, "loss", Loss.of_task(self.loss, self.task))
        object.__setattr__(self, "memory", Memory.of(self.memory))
        self._check_label()
        self._check_models()
        for name in ("every", "cadence"):
            if getattr(self, name) <= timedelta(0):
                raise DatasetError(f"{name}: {getattr(self, name)!r} must be longer than nothing")
        self._check_horizon()
        if not self.features:
            raise DatasetError("features is empty; pass raw columns on with pl.col('name')")
        for expression in self.features:
            if not isinstance(expression, pl.Expr):
                raise DatasetError(f"features holds {expression!r}; write Polars expressions, such as pl.col({expression!r})")
        if self.weight is not None and not isinstance(self.weight, pl.Expr):
            raise DatasetError(f"weight is {self.weight!r}; write a Polars expression, such as pl.col('amount') / 100")
        for expectation in self.expect:
            if not isinstance(expectation, Expectation):
                raise DatasetError(f"expect holds {expectation!r}; write expect.column_values_to_not_be_null('name')")

    def _check_horizon(self) -> None:
        horizon, window = self.id_horizon, self.labels.window
        if horizon is not None and horizon <= timedelta(0):
            raise DatasetError(f"id_horizon: {horizon!r} must be longer than nothing; None is for ever")
        if horizon is not None and window is not None and window > horizon:
            raise DatasetError(
                f"labels: window={window!r} is longer than id_horizon={horizon!r}, after which an id is another event's; "
                f"a shorter window, or id_horizon={window!r} or more, would be right"
            )

    def _check_label(self) -> None:
        dtype = self.label_column.dtype
        if self.task == "binary" and dtype != pl.Boolean:
            raise DatasetError(f"label: a binary label is pl.Boolean, not {dtype}; say multiclass for more than two classes")
        if self.task == "regression" and not dtype.is_numeric():
            raise DatasetError(f"label: a regression's label is a number such as pl.Float64, not {dtype}")
        if self.task == "multiclass" and dtype not in (pl.String, pl.Int64, pl.Int32, pl.Boolean):
            raise DatasetError(f"label: a multiclass label is pl.String or pl.Int64, not {dtype}")
        if self.labels.learn == "provisional" and self.task != "binary":
            raise DatasetError(f"labels: learn='provisional' is for binary tasks, not {self.task}; 'window' is for all")
        if self.labels.default is not None:
            self._check_default()

    def _check_default(self) -> None:
        default, column = self.labels.default, self.label_column
        kinds: tuple[type, ...] = (bool,) if column.dtype == pl.Boolean else (str,) if column.dtype == pl.String else (int, float)
        right = isinstance(default, kinds) and isinstance(default, bool) == (kinds == (bool,))
        if not right or (column.dtype.is_integer() and default != int(default)):
            raise DatasetError(f"labels: default={default!r} is no label: a label is {column.dtype}")
        if column.known is not None and default not in column.known:
            raise DatasetError(f"labels: default={default!r} is no label: known= has {', '.join(map(repr, column.known))}")
        low, high = column.between or (None, None)
        if (low is not None and default < low) or (high is not None and default > high):
            raise DatasetError(f"labels: default={default!r} is no label: between={column.between!r}")

    def _check_models(self) -> None:
        if not self.models:
            raise DatasetError("models is empty; give at least one function that builds a model, by name")
        for name, build in self.models.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", name):
                raise DatasetError(f"model {name!r}: a name is of lowercase letters, digits, - and _, and begins with a letter")
            if name in (PRIOR, NAME, LABELS, "champion", "latest") or re.fullmatch(r"v\d+", name):
                raise DatasetError(
                    f"model {name!r}: the name is taken (prior, memory, labels, champion, latest, v1 …); choose another"
                )
            if not callable(build) or not inspect.isfunction(build) or build.__name__ == "<lambda>":
                raise DatasetError(f"model {name!r}: {build!r} is not a function of this file that builds a fresh model")

    def found(self, name: str, path: Path, text: str) -> None:
        """Tell a dataset, once it is declared, where its file was found and what stands in it."""
        for attribute, value in {"name": name, "path": path, "text": text}.items():
            object.__setattr__(self, attribute, value)

    @property
    def label_column(self) -> Column:
        """What a label may be."""
        assert isinstance(self.label, Column)
        return self.label

    @property
    def remembers(self) -> Memory:
        """The memory; it is false where none is declared."""
        assert isinstance(self.memory, Memory)
        return self.memory

    @property
    def race_loss(self) -> Loss:
        """The loss that decides the race."""
        assert isinstance(self.loss, Loss)
        return self.loss

    @property
    def racing(self) -> list[str]:
        """The names of all models of the race, ``prior`` first."""
        return [PRIOR, *self.models]

    @property
    def description(self) -> str:
        """The first line of the file's docstring."""
        found = re.match(r'\s*[rR]?("""|\'\'\'|")(.*?)("""|\'\'\'|"|\n)', self.text, re.DOTALL)
        return found[2].strip() if found else ""
