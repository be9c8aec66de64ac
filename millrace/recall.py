"""What does a dataset's memory consist of, once it is built: which columns it gives, from which, by which definition?

River's parts are built here, taken apart where they are ``Agg``, and looked at with made-up events; nothing of River is
imported for a memory without them.
"""

from __future__ import annotations

import copy
import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from millrace import features, models, state
from millrace.arguments import takes
from millrace.clock import MICROSECOND, from_microseconds, write_duration
from millrace.dataset import Dataset
from millrace.errors import DatasetError, MillraceError, unknown
from millrace.memory import Aggregate, Memory, is_agg

_OF_NUMBERS = ("mean", "total", "low", "high")


@dataclass(frozen=True)
class Whole:
    """A transformer of River that is folded as one, without a key; ``names`` is what it gives."""

    function: Callable[[], Any]
    transformer: Any
    names: list[str]

    def __str__(self) -> str:
        return f"{type(self.transformer).__name__} of River, built by {self.function.__name__}(), over all events"

    def learn(self, transformer: Any, x: dict[str, Any], event_time: int) -> None:
        """Let a copy of the transformer learn one event; its time is passed on where it takes one."""
        if "t" in takes(transformer):
            transformer.learn_one(x, t=from_microseconds(event_time))
        else:
            transformer.learn_one(x)


@dataclass(frozen=True)
class Recall:
    """A memory that is built.

    Parameters
    ----------
    memory
        As the dataset's file declares it.
    groups
        The aggregates by their keys, in the order of the file.
    wholes
        River's transformers that are folded as one.
    schema
        The names and types of what it gives.
    fingerprint
        What tells its definition from another. What River computes has bits that depend on the environment, which is then
        part of it.
    """

    memory: Memory
    groups: dict[tuple[str, ...], list[Aggregate]] = field(default_factory=dict)
    wholes: list[Whole] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def definitions(self) -> dict[str, str]:
        """What each column says, in words."""
        said = {one.name: str(one) for group in self.groups.values() for one in group}
        said |= {name: str(whole) for whole in self.wholes for name in whole.names}
        return {name: said[name] for name in self.schema}


_BUILT: weakref.WeakKeyDictionary[Memory, Recall] = weakref.WeakKeyDictionary()


def of(dataset: Dataset) -> Recall:
    """Return a dataset's memory, built.

    Raises
    ------
    DatasetError
        When a part of River's cannot be built, learns from labels, or gives other names from event to event; or as
        :func:`check`.
    """
    memory = dataset.remembers
    if memory not in _BUILT:
        try:
            _BUILT[memory] = _build(dataset, memory)
        except MillraceError as error:
            raise DatasetError(f"{dataset.path}: {error}") from error
    return _BUILT[memory]


def check(dataset: Dataset) -> None:
    """Check what can be without building anything: the columns are there and of a type that suits, and no name is taken.

    Raises
    ------
    DatasetError
        When a part asks for what there is not, and memory knows no labels; the message says what there is.
    """
    given = [_of_agg(part) if is_agg(part) else part for part in dataset.remembers.declared]
    _check(dataset, [part for part in given if isinstance(part, Aggregate)])


def columns(dataset: Dataset) -> dict[str, Any]:
    """Return what keys and values may be taken from, with their types: a feature, else the raw column of that name."""
    return {**dataset.event.dtypes, **features.of_rows(dataset)}


def _build(dataset: Dataset, memory: Memory) -> Recall:
    parts = [one for part in memory.declared for one in _built(dataset, part)]
    schema, groups = _check(dataset, parts), dict[tuple[str, ...], list[Aggregate]]()
    for part in parts:
        if isinstance(part, Aggregate):
            groups.setdefault(part.keys, []).append(part)
    wholes = [part for part in parts if isinstance(part, Whole)]
    return Recall(memory, groups, wholes, schema, _fingerprint(dataset, memory, parts))


def _check(dataset: Dataset, parts: Sequence[Aggregate | Whole]) -> dict[str, Any]:
    """Check the parts, and return the types of what they give."""
    there, own, schema = columns(dataset), features.of_rows(dataset), dict[str, Any]()
    for part in parts:
        if isinstance(part, Whole):
            given: dict[str, Any] = dict.fromkeys(part.names, pl.Float64())
        else:
            dataset.remembers.check_period(part.name, part.period)
            given = {part.name: _dtype(dataset, part, there)}
        for name, dtype in given.items():
            if name in own or name in schema:
                what = "features" if name in own else "memory"
                raise DatasetError(f"memory: {name!r} is among {what} already; give it another name with .alias('…')")
            schema[name] = dtype
    return schema


def _dtype(dataset: Dataset, one: Aggregate, there: Mapping[str, Any]) -> Any:
    """Check one aggregate, and return the type of what it gives."""
    for column in [*one.keys, *([one.on] if one.on else [])]:
        if column not in there and column in ("label", dataset.labels.label):
            raise DatasetError(
                f"memory: {one.name}: {column!r} is the label, and memory knows none; what depends on labels belongs in a model, "
                "such as TargetAgg"
            )
        if column not in there:
            raise DatasetError(f"memory: {one.name}: {unknown('feature or raw column', column, there)}")
    dtype = there[one.on] if one.on else pl.Float64()
    is_number = dtype.is_numeric() or dtype == pl.Boolean
    if one.kind in _OF_NUMBERS and not is_number:
        raise DatasetError(f"memory: {one.name}: {one.on!r} is {dtype}, and {one.kind}() is of numbers")
    if one.kind == "distinct" and one.period is None:
        raise DatasetError(f"memory: distinct({one.on!r}) would keep every value for ever; write distinct({one.on!r}).last('7d')")
    if one.how is not None:
        return _of_river(one, "a" if dtype == pl.String else 1.0)
    if one.kind != "last_value":
        return pl.Float64()
    if not is_number and dtype != pl.String:
        raise DatasetError(f"memory: {one.name}: {one.on!r} is {dtype}; make a feature of it that is a number or text")
    return dtype if dtype in (pl.Int64, pl.String, pl.Boolean) else pl.Int64() if dtype.is_integer() else pl.Float64()


def _of_river(one: Aggregate, value: Any) -> Any:
    """Try a statistic of River's on a value, and return the type of what it gives."""
    how = copy.deepcopy(one.how)
    try:
        how.update(value)
        return pl.String() if isinstance(how.get(), str) else pl.Float64()
    except Exception as error:
        raise DatasetError(f"memory: {one.name}: {one.kind} cannot take {value!r}: {type(error).__name__}: {error}") from error


def _built(dataset: Dataset, part: Any) -> Sequence[Aggregate | Whole]:
    """Build what a function builds; a union of ``Agg`` is its parts."""
    if isinstance(part, Aggregate):
        return [part]
    if is_agg(part):
        return [_of_agg(part)]
    from river import base, compose

    from millrace import exact

    made = exact.build(part, part.__name__, what="part of memory")
    apart = list(made.transformers.values()) if isinstance(made, compose.TransformerUnion) else [made]
    if all(map(is_agg, apart)):
        return [_of_agg(one) for one in apart]
    if not isinstance(made, base.Transformer | compose.Pipeline):
        raise DatasetError(f"memory: {part.__name__}() builds {type(made).__name__}, which is no transformer")
    if getattr(made, "_supervised", False):
        raise DatasetError(f"memory: {part.__name__}() builds what learns from labels, and memory knows none; put it in a model")
    whole = Whole(part, made, [])
    whole.names.extend(_names(dataset, whole))
    return [whole]


def _of_agg(agg: Any) -> Aggregate:
    from river import utils

    timed = isinstance(agg.how, utils.TimeRolling)
    how, period = (agg.how.obj, agg.how.period) if timed else (agg.how, None)
    name = str(agg) + (f"_{write_duration(period)}" if period else "")
    return Aggregate(f"{type(how).__name__} of River", agg.on, tuple(agg.by or ()), period, name, how)


def _names(dataset: Dataset, whole: Whole) -> list[str]:
    """Return the names of what a transformer gives for made-up events: the same for each, but where something is null."""
    transformer, found, name = state.load(state.slim(whole.transformer)), list[str](), whole.function.__name__
    xs = features.rows(features.compute(dataset, features.made_up(dataset)))
    xs.sort(key=len, reverse=True)  # those without a null first
    for at, x in enumerate(xs):
        try:
            whole.learn(transformer, x, 1_600_000_000_000_000 + at * 60_000_000)
            given = sorted(transformer.transform_one(x))
        except Exception as error:
            if len(x) < len(xs[0]):  # live, such an event is told nothing by it, and that is said
                continue
            raise DatasetError(f"memory: {name}() cannot be asked: {type(error).__name__}: {error}") from error
        if at and (set(given) - set(found) or (given != found and len(x) == len(xs[0]))):
            odd = ", ".join(sorted(set(given) ^ set(found))[:3])
            raise DatasetError(
                f"memory: {name}() gives other names from event to event ({odd} …), and what is logged has the same columns for "
                "all; a transformer such as a one-hot encoder belongs in a model"
            )
        found = found or given
    return found


def _fingerprint(dataset: Dataset, memory: Memory, parts: Sequence[Aggregate | Whole]) -> str:
    """Fingerprint the parts, and the features that they look at.

    Where another version of Polars writes a feature down otherwise, memory is folded again, to be safe.
    """
    used, described = set[str](), list[object]()
    for part in parts:
        if isinstance(part, Aggregate):
            used |= {*part.keys, part.on or ""}
            period = None if part.period is None else part.period // MICROSECOND
            how = None if part.how is None else state.digest(part.how)
            described.append([part.kind, part.on, part.keys, period, part.name, how])
        else:
            used |= {*features.of_rows(dataset)}
            described.append([part.function.__name__, part.names, state.digest(part.transformer)])
    texts = {name: features.definition(dataset, one) for name, one in features.expressions(dataset).items()}
    of_river = any(isinstance(part, Whole) or part.how is not None for part in parts)
    idle = None if memory.idle is None else memory.idle // MICROSECOND
    looked_at = {name: texts[name] for name in sorted(used & {*texts})}
    definition = [described, looked_at, memory.itself, idle, models.environment() if of_river else None]
    return hashlib.sha256(orjson.dumps(definition)).hexdigest()
