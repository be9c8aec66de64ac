"""Which state does a model have at a place of the log, and which of its states can be loaded for inference?

A state is a file beside the tables, named by its sha256, written whole before the row that names it. A row with a
version says that this state is in MLflow. What belongs together (the same model, definition and environment) is a
lineage: another environment begins anew from the log, and never unpickles in hope.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from millrace import durable, tables
from millrace.casting import UTC_MICROSECONDS
from millrace.clock import now
from millrace.errors import MillraceError, UsageError, writing
from millrace.learner import SUSPEND_AFTER, Skip
from millrace.tables import Table


@dataclass(frozen=True)
class Checkpoint:
    """A model at a ``seq``: the columns of the table ``checkpoints``.

    Parameters
    ----------
    skipped
        The examples that it could not learn since its ``parent``: ``seq``, ``event_id``, ``error``.
    skips
        How many it could not learn since ``seq`` 0.
    failing
        How many of these in a row, up to here; from :data:`millrace.learner.SUSPEND_AFTER` on, it learns no more.
    parent
        The sha256 of the state that was folded on; None at ``seq`` 0.
    version, run_id
        In MLflow. A version without a run was made of a past state: inference loads it only where a person has pinned it.
    """

    model: str
    fingerprint: str
    environment: str
    seq: int
    sha256: str
    digest: str
    bytes: int
    skipped: list[Skip] = field(default_factory=list)
    skips: int = 0
    failing: int = 0
    parent: str | None = None
    clock: datetime | None = None
    version: int | None = None
    run_id: str | None = None
    at: datetime | None = None

    @property
    def lineage(self) -> str:
        """The name under which a fold's cursor is kept."""
        return lineage(self.model, self.fingerprint, self.environment)

    @property
    def suspended(self) -> bool:
        """Whether the model failed on so many examples in a row that it learns no more."""
        return self.failing >= SUSPEND_AFTER


def lineage(model: str, fingerprint: str, environment: str) -> str:
    """Return the name of a model's lineage: its definition in an environment."""
    return f"fold/{model}/{fingerprint[:16]}-{_short(environment)}"


def _of(model: str, fingerprint: str, environment: str) -> pl.Expr:
    """Return the condition that chooses a lineage's rows."""
    return (pl.col("model") == model) & (pl.col("fingerprint") == fingerprint) & (pl.col("environment") == environment)


def latest(table: Table, model: str, fingerprint: str, environment: str) -> Checkpoint | None:
    """Return where the fold of a model stands, or None before it began."""
    name = lineage(model, fingerprint, environment)
    if not table.cursor(f"{name}/began"):
        return None
    here = pl.col("seq") == table.cursor(name)
    rows = table.read(where=_of(model, fingerprint, environment) & here & pl.col("version").is_null()).sort("at")
    return _last(table, rows, model, table.cursor(name))


def history(table: Table, model: str, fingerprint: str, environment: str) -> list[Checkpoint]:
    """Return all checkpoints of a lineage in order, of each seq the one recorded last."""
    rows = table.read(where=_of(model, fingerprint, environment) & pl.col("version").is_null())
    kept = rows.sort("seq", "at").unique("seq", keep="last", maintain_order=True)
    return [Checkpoint(**row) for row in kept.iter_rows(named=True)]


def kept(dataset: str, model: str, fingerprint: str, environment: str, upto: int) -> tuple[Checkpoint, bytes] | None:
    """Return a lineage's last checkpoint up to a place of the log whose state can be read, and the state; None for none."""
    for one in reversed(history(Table(dataset, "checkpoints"), model, fingerprint, environment)):
        if one.seq <= upto:
            try:
                return one, read_state(dataset, one.sha256, model)
            except MillraceError:  # removed by maintenance: an older one is as good
                continue
    return None


def skipped(table: Table, stands: Checkpoint, last: int) -> list[Skip]:
    """Return the last few of the examples that a model could not learn, up to where it stands, in order."""
    some = (pl.col("skips") > 0) & (pl.col("seq") <= stands.seq)
    rows = table.read("skipped", where=_of(stands.model, stands.fingerprint, stands.environment) & some)
    found = {skip["seq"]: dict(skip) for skips in rows["skipped"].to_list() for skip in skips or ()}
    return [found[seq] for seq in sorted(found)[-last:]]


def newest(table: Table, models: Sequence[str]) -> dict[str, Checkpoint]:
    """Return where each model stands in the lineage that was folded last; a model that has not begun is left out."""
    return _at(table, {model: table.cursor(f"newest/{model}") - 1 for model in models}, pl.col("version").is_null(), "at")


def published(table: Table, models: Sequence[str]) -> dict[str, Checkpoint]:
    """Return the newest state of each model that is a version in MLflow; a model that has none is left out."""
    of_the_fold = pl.col("version").is_not_null() & pl.col("run_id").is_not_null()
    return _at(table, {model: table.cursor(f"publish/{model}") - 1 for model in models}, of_the_fold, "version")


def loadable(table: Table, models: Sequence[str], environment: str) -> dict[str, Checkpoint]:
    """Return the newest state of each model that is a version in MLflow and was made in this environment."""
    found = published(table, models)
    here = {model: one for model, one in found.items() if one.environment == environment}
    before = {model: table.cursor(_published(model, environment)) - 1 for model in found if model not in here}
    of_here = pl.col("run_id").is_not_null() & (pl.col("environment") == environment)
    return here | _at(table, before, pl.col("version").is_not_null() & of_here, "version")


_VERSIONS: dict[tuple[str, int], Checkpoint] = {}
"""Versions that were read in this process, by table: a row is never changed."""


def of_version(dataset: str, number: int) -> Checkpoint:
    """Return what is on record of a version.

    Raises
    ------
    UsageError
        When nothing is: then it is not loaded; the message says which is the newest.
    """
    table = Table(dataset, "checkpoints")
    key = (table.identity, number)
    if key not in _VERSIONS:
        rows = table.read(where=pl.col("version") == number)
        if not rows.height:
            newest = table.read(pl.col("version").max())["version"][0]
            there = f"the newest is v{newest}" if newest else "nothing was published yet"
            raise UsageError(f"unknown version {number} of {dataset}: it is not on record in {table.path}; {there}")
        _VERSIONS[key] = Checkpoint(**rows.row(-1, named=True))
    return _VERSIONS[key]


def removed(dataset: str, versions: Iterable[int]) -> set[int]:
    """Return which of these versions retention removed from MLflow; their range prunes what is read."""
    asked, table = pl.Series(sorted(set(versions)), dtype=pl.Int64), Table(dataset, "removals")
    if not asked.len() or not table.cursor("remove"):
        return set()
    among = pl.col("version").is_between(asked[0], asked[-1]) & pl.col("version").is_in(asked.implode())
    return set(table.read("version", where=among)["version"])


def _at(table: Table, seqs: Mapping[str, int], where: pl.Expr, order: str) -> dict[str, Checkpoint]:
    found = {model: seq for model, seq in seqs.items() if seq >= 0}
    if not found:
        return {}
    rows = table.read(where=pl.col("seq").is_in(sorted(set(found.values()))) & pl.col("model").is_in(list(found)) & where).sort(
        order
    )
    return {model: _last(table, rows.filter(model=model, seq=seq), model, seq) for model, seq in found.items()}


def _last(table: Table, rows: pl.DataFrame, model: str, seq: int) -> Checkpoint:
    if not rows.height:
        raise MillraceError(
            f"the state of model {model!r} at seq {seq} is not in the table checkpoints, which was changed by hand; to build it "
            f"again from the log, run: millrace replay {table.path.parent.name} {model}"
        )
    return Checkpoint(**rows.row(-1, named=True))


def begin(table: Table, checkpoint: Checkpoint) -> None:
    """Record the fresh model, at seq 0."""
    table.append(_frame(checkpoint), {f"{checkpoint.lineage}/began": 1, f"newest/{checkpoint.model}": 1})


def advance(table: Table, checkpoint: Checkpoint) -> None:
    """Record how far a fold has come.

    Raises
    ------
    ConflictError
        When another learner has folded this model since the table was opened.
    """
    table.append(_frame(checkpoint), {checkpoint.lineage: checkpoint.seq, f"newest/{checkpoint.model}": checkpoint.seq + 1})


def publish(table: Table, new: Sequence[Checkpoint]) -> None:
    """Record, in one commit, that these states are versions.

    Raises
    ------
    ConflictError
        When another learner has published one of these models since the table was opened.
    """
    if new:
        cursors = {name: one.seq + 1 for one in new for name in (f"publish/{one.model}", _published(one.model, one.environment))}
        table.append(_frame(*new), cursors)


def _published(model: str, environment: str) -> str:
    """Return the name under which is kept how far a model was published in an environment."""
    return f"publish/{model}/{_short(environment)}"


def _short(environment: str) -> str:
    return hashlib.sha256(environment.encode()).hexdigest()[:8]


def versions_of(table: Table, stands: Checkpoint) -> set[int]:
    """Return the versions that a state has been made in its lineage, also those that were removed since."""
    same = (pl.col("seq") == stands.seq) & (pl.col("digest") == stands.digest)
    rows = table.read("version", where=_of(stands.model, stands.fingerprint, stands.environment) & same)
    return set(rows["version"].drop_nulls())


def record(table: Table, version: Checkpoint, past: bool = True) -> None:
    """Record a version of a past state: where the fold stands and what predicts stay as they are, unless a person pins it.

    One that is not ``past`` takes the place of the version that its model had at this ``seq`` in its environment.
    """
    table.append(_frame(replace(version, run_id=None) if past else version), {})


def _frame(*rows: Checkpoint) -> pl.DataFrame:
    typed = {
        "skipped": pl.List(pl.Struct({"seq": pl.Int64, "event_id": pl.String, "error": pl.String})),
        "clock": UTC_MICROSECONDS,
    }
    return pl.DataFrame([{**vars(row), "at": now()} for row in rows], schema_overrides=typed, infer_schema_length=None)


def _path(dataset: str, sha256: str) -> Path:
    return tables.folder(dataset) / "states" / f"{sha256}.pkl"


def write_state(dataset: str, data: bytes) -> str:
    """Write a state, whole or not at all; return its sha256, which is its name."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = _path(dataset, sha256)
    with writing(f"state {path}"):
        if path.exists() and path.read_bytes() == data:  # not torn
            os.utime(path)  # as good as new: maintenance removes what is old and named by nothing
            return sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        durable.to_disk(path.parent)
    return sha256


def read_state(dataset: str, sha256: str, model: str | None = None) -> bytes:
    """Read the state of this name; what is not what was recorded is never loaded.

    Parameters
    ----------
    model
        Whose state it is, for the message; None for the race's.

    Raises
    ------
    MillraceError
        When the file is gone or its content is another; the message names the command that builds it again.
    """
    path = _path(dataset, sha256)
    repair = _repair(dataset, model)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MillraceError(f"the state {path} is gone; {repair}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise MillraceError(f"the state {path} was changed (its sha256 is {found}) and is not loaded; {repair}")
    return data


def _repair(dataset: str, model: str | None = None) -> str:
    return " ".join(["to build it again from the log, run: millrace replay", dataset, *([model] if model else [])])
