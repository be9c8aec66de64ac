"""Are predictions, files and promotions what the versions and the rule give that are on record?

Each is made again, and compared to the last bit; nothing is changed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from millrace import bits, checkpoints, features, models, promotions, race, rule, tables, task
from millrace.dataset import Dataset
from millrace.errors import MillraceError, RegistryError
from millrace.infer import load
from millrace.parallel import Progress
from millrace.promotions import Promotion
from millrace.serving import Asked, versions_asked
from millrace.tables import Table
from millrace.waiting import WaitingRoom

_ARRIVALS_AT_ONCE = 50_000


@dataclass
class Proof:
    """What comparing one kind of thing has shown.

    Parameters
    ----------
    things
        What was compared.
    same, recorded
        How many were compared and are the same, and how many are on record.
    folded
        How many examples were learned again for it.
    problem
        The first difference: where, which field, both values; or what hindered the proof.
    notes
        What was not compared, and why; what differs of a model that is not exact.
    """

    things: str
    same: int = 0
    recorded: int = 0
    folded: int = 0
    problem: str | None = None
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = f"{self.things}: {self.same:,} of {self.recorded:,} compared and the same"
        said += f", {self.folded:,} examples folded again" if self.folded else ""
        return "; ".join([said, *self.notes, *([self.problem] if self.problem else [])])

    def differs(self, said: str, inexact: bool, repair: str = "") -> None:
        """Tell of a difference, and what to do; of a model that is not exact it proves nothing."""
        if inexact:
            self.notes.append(f"{said}, as may be of a model that is not exact")
        else:
            self.problem = "; ".join([said, *([repair] if repair else [])])


def proof(things: str, look: Callable[..., None], *arguments: Any) -> Proof:
    """Compare one kind of thing; what hinders it is told, so that the others are compared all the same."""
    found = Proof(things)
    try:
        look(found, *arguments)
    except MillraceError as error:
        found.problem = str(error)
    return found


def by_hand(dataset: Dataset) -> str:
    """Say what to do about a row that differs."""
    return f"a table was changed by hand: restore {tables.folder(dataset.name)} from a copy"


def predictions(proof: Proof, dataset: Dataset, room: WaitingRoom, model: str | None, tell: Progress) -> None:
    """Ask each version again about the events that it predicted live, stretch by stretch."""
    table, logged = Table(dataset.name, "predictions"), Table(dataset.name, "features")
    room.follow()
    head, doubts, inexact = table.cursor("infer"), models.doubts(dataset.name), set[str]()
    wanted = pl.col("origin").is_in(["live", "pinned"]) & (pl.lit(True) if model is None else pl.col("model") == model)
    versions = Table(dataset.name, "checkpoints").read("version", "environment", where=pl.col("version").is_not_null())
    here = set(versions.filter(environment=models.environment())["version"])
    removed = checkpoints.removed(dataset.name, versions["version"])
    left_out = Counter[str]()
    for after in range(0, head, _ARRIVALS_AT_ONCE):
        upto = min(after + _ARRIVALS_AT_ONCE, head)
        within = pl.col("arrival").is_between(after + 1, upto)
        recorded = table.read(where=within & wanted).drop("at")
        proof.recorded += recorded.height
        answered = pl.col("arrival").is_in(room.answered(after, upto).implode()).alias("answered")
        again, unasked = [recorded.clear()], [recorded.clear().select("arrival", "model", "origin")]
        rows = logged.read(where=within & pl.col("versions").is_not_null()).with_columns(answered)
        for asked in rows.partition_by("versions", maintain_order=True):
            lineup, xs = orjson.loads(asked["versions"][0]), features.rows(asked["x"].struct.unnest())
            for version in versions_asked(lineup):
                if model in (None, version.model):
                    reason = "removed by retention" if version.number in removed else None
                    reason = reason or ("of another environment" if version.number not in here else None)
                    made = None if reason else _said_again(dataset, version, asked, xs)
                    if isinstance(made, pl.DataFrame):
                        again.append(made.select(recorded.columns).cast(recorded.schema))
                    else:
                        unasked.append(asked.select("arrival", model=pl.lit(version.model), origin=pl.lit(version.origin)))
                        left_out[reason or f"that cannot be loaded ({made})"] += asked.height
        compared = recorded.join(pl.concat(unasked), on=["arrival", "model", "origin"], how="anti")
        made = pl.concat(again)
        while found := bits.difference(_without(compared, inexact), _without(made, inexact), "arrival", "model", "origin"):
            row, one = found.row, found.row["model"]
            where = f"event {row['event_id']!r} (arrival {row['arrival']}), {one} v{row['version']} at seq {row['seq']}"
            proof.differs(f"{where}: {found}", bool(doubts.get(one)), by_hand(dataset))
            if proof.problem:
                return
            inexact.add(one)
        proof.same += _without(made, inexact).height
        tell("the predictions", upto, head)
    proof.notes += [f"{count:,} by versions {reason} not compared" for reason, count in left_out.items()]


def _without(frame: pl.DataFrame, some: set[str]) -> pl.DataFrame:
    return frame.filter(~pl.col("model").is_in(list(some)))


def _said_again(dataset: Dataset, version: Asked, asked: pl.DataFrame, xs: list[dict[str, Any]]) -> pl.DataFrame | str:
    """Ask a version about events; where it cannot be loaded, return why."""
    try:
        estimator = load(dataset, version.number, version.sha256)
    except Exception as error:  # noqa: BLE001 - a pickle of what is no longer in the dataset's file may raise anything
        return f"v{version.number}: {error}"
    said, errors = task.predict(estimator, dataset.task, xs)
    columns = {**task.to_columns(dataset, said), "error": pl.Series(errors, dtype=pl.String)}
    return asked.with_columns(**version.columns(), **columns)


def states(proof: Proof, dataset: Dataset, model: str | None, tell: Progress) -> None:
    """Hash each state beside the tables, whose name is its sha256; those from which models and the race go on must be there."""
    table, standings = Table(dataset.name, "checkpoints"), Table(dataset.name, "standings")
    rows = _of(table, model)
    versions = dict(rows.drop_nulls("version").select("sha256", "version").iter_rows())
    named = {sha256: f"{one} at seq {seq}" for sha256, one, seq in rows.select("sha256", "model", "seq").iter_rows()}
    needed = {one.sha256: one.model for one in checkpoints.newest(table, [model] if model else dataset.racing).values()}
    scored = standings.read("sha256", "seq", "at", where=pl.lit(model is None)).sort("seq", "at")
    named |= {sha256: f"the race at seq {seq}" for sha256, seq, _ in scored.iter_rows()}
    needed |= dict.fromkeys(scored["sha256"].tail(1), "")
    folder, gone = tables.folder(dataset.name) / "states", 0
    proof.recorded = len(named)
    for place, (sha256, whose) in enumerate(named.items(), 1):
        tell("the states", place, len(named))
        path, mends = folder / f"{sha256}.pkl", f"run: millrace replay {dataset.name} {needed.get(sha256, '')}".rstrip()
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            gone += 1
            if sha256 not in needed:
                continue
            proof.problem = f"{path} ({whose}) is gone; {mends}"
            return
        if found != sha256:
            kept = f" (version {versions[sha256]} in MLflow has what was recorded)" if sha256 in versions else ""
            mends = f", and {mends}" if sha256 in needed else ""
            proof.problem = f"{path} ({whose}) was changed, its sha256 is {found}; remove it{kept}{mends}"
            return
        proof.same += 1
    if gone:
        proof.notes.append(f"{gone:,} are no longer beside the tables")


def _of(table: Table, model: str | None) -> pl.DataFrame:
    """Read the checkpoints of a model, or of all."""
    return table.read("model", "seq", "sha256", "version", where=pl.lit(True) if model is None else pl.col("model") == model)


def artifacts(proof: Proof, dataset: Dataset, model: str | None, tell: Progress) -> None:
    """Download each version from MLflow, and hash it."""
    from millrace.registry import Registry

    registry, rows = Registry(dataset), _of(Table(dataset.name, "checkpoints"), model).drop_nulls("version").sort("version")
    proof.recorded = rows.height
    gone = rows.filter(pl.col("version").is_in(list(checkpoints.removed(dataset.name, rows["version"]))))
    if gone.height:
        proof.notes.append(f"{gone.height:,} were removed by retention, and can be built again from the log")
    newest, deleted = set(rows.group_by("model").agg(pl.col("version").max())["version"]), 0
    rows = rows.join(gone, on="version", how="anti")
    for place, (one, seq, sha256, number) in enumerate(rows.iter_rows(), 1):
        where = f"v{number} ({one} at seq {seq})"
        try:
            found = hashlib.sha256(registry.download(number)).hexdigest()
        except RegistryError as error:
            try:
                there = registry.has(number)
            except RegistryError:  # MLflow is away
                proof.notes.append(f"not proven from {where} on: {error}")
                return
            if not there and number not in newest:
                deleted += 1
                continue
            mends = "" if there else f"; it was deleted there, and is published again by: millrace learn {dataset.name}"
            proof.problem = f"{where}: {error}{mends}"
            return
        if found != sha256:
            proof.problem = f"{where}: its artifact was changed, its sha256 is {found}; restore MLflow's store from a copy"
            return
        proof.same += 1
        tell("the versions", place, rows.height)
    if deleted:
        proof.notes.append(f"{deleted:,} were deleted in MLflow by hand, and can be built again from the log")


def crowned(proof: Proof, dataset: Dataset, tell: Progress) -> None:
    """Run the race again over the stored predictions, by the rules on record, orders given; compare who was promoted, and why."""
    standings = Table(dataset.name, "standings")
    head = standings.cursor("matured")
    raced = rule.raced(dataset, standings, head)
    recorded = promotions.history(dataset.name)
    proof.recorded = len([one for one in recorded if one.outcome is None or one.outcome <= head])
    given = len([one for one in recorded if one.given])
    if given:
        proof.notes.append(f"{given:,} by an earlier release's rule, or since a champion left the file, stand and are not proven")
    after = -1
    for upto, found in race.again(dataset, head):
        there = [one for one in recorded if one.outcome is not None and not one.given and after < one.outcome <= upto]
        for row, again in itertools.zip_longest(there, found):
            if row and row.model not in raced:
                why = f"{row.model} is no longer in {dataset.path}, and when it was is not on record"
                proof.notes.append(f"not proven from number {row.number} on: {why}")
                return
            proof.problem = _otherwise(dataset, row, again)
            if proof.problem:
                return
            proof.same += 1
        after = upto
        tell("the race", upto, head)


def _otherwise(dataset: Dataset, row: Promotion | None, again: Promotion | None) -> str | None:
    """Compare a promotion on record with the one that the rule gives."""
    one = row or again
    assert one
    where = f"promotion {one.number} ({one.model} at seq {one.seq})"
    if row is None or again is None:
        said = "is on record, and by the rule there is none" if row else "is not on record"
    else:
        fields = ("number", "seq", "outcome", "model", "before", "evidence", "reason", "clock")
        differing = [name for name in fields if getattr(row, name) != getattr(again, name)]
        if not differing:
            return None
        name = differing[0]
        said = f"{name} is {getattr(row, name)!r} on record, and by the rule {getattr(again, name)!r}"
    return f"{where}: {said}; {by_hand(dataset)} (or models were changed in {dataset.path})"
