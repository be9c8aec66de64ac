"""Is what memory said of events what the events before them give?

Memory is a fold over the stored events, so what was logged can be made again: all of it, from the first event, or what was
said of one event, from those of its keys alone, since what is known of a key depends on no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from millrace import bits, features, recall, tables
from millrace.dataset import Dataset
from millrace.errors import ConflictError
from millrace.evidence import Proof
from millrace.explanation import Explanation, MemoryRow
from millrace.keys import Values
from millrace.memory import NAME
from millrace.parallel import Progress
from millrace.remade import Remade
from millrace.remembered import EVENTS_AT_ONCE, Remembered
from millrace.tables import Table


def again(dataset: Dataset, upto: int) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
    """Make memory again from the first event up to an arrival, by its definition of today, without a change to anything.

    Yields
    ------
    int, DataFrame, DataFrame
        Up to which arrival it was made; the events since it was told last, and what memory says of them.
    """
    events = Table(dataset.name, "events")
    with Remembered(dataset, apart=True) as memory:
        for after in range(0, upto, EVENTS_AT_ONCE):
            last = min(after + EVENTS_AT_ONCE, upto)
            new = events.read(where=pl.col("arrival").is_between(after + 1, last))
            x = features.of_events(dataset, new, [])
            said = memory.fold(new, x, after)
            memory.keep(last)
            yield last, new, said


def prove(proof: Proof, dataset: Dataset, tell: Progress) -> None:
    """Compare what was logged by the present definition of memory with the same made again, to the last bit."""
    logged, fingerprint = Table(dataset.name, "features"), recall.of(dataset).fingerprint
    upto, after = logged.cursor("infer"), 0
    for last, new, said in again(dataset, upto):
        here = pl.col("arrival").is_between(after + 1, last) & pl.col("memory").is_not_null()
        rows = logged.read("arrival", "event_id", "memory", "x", where=here)
        proof.recorded += rows.height
        x = tables.as_struct(rows, "x", pl.Struct(said.schema))
        ours = rows.filter(memory=fingerprint).select("arrival", "event_id", x)
        made = new.select("arrival", "event_id", said.to_struct("x")).join(ours, on="arrival", how="semi", maintain_order="left")
        found = bits.difference(ours, made, "arrival")
        if found:
            row = found.row
            proof.problem = (
                f"event {row['event_id']!r} (arrival {row['arrival']}): {found}; a table was changed by hand: restore "
                f"{tables.folder(dataset.name)} from a copy"
            )
            return
        proof.same, after = proof.same + ours.height, last
        tell(NAME, last, upto)
    if proof.same < proof.recorded:
        proof.notes.append(f"{proof.recorded - proof.same:,} by another definition were not compared")


def explain(
    dataset: Dataset, found: Explanation, fingerprint: str | None, logged: dict[str, Any], progress: Progress | None
) -> None:
    """Add to an explanation what memory said of the event, and the same made again from the events of its keys.

    Parameters
    ----------
    fingerprint
        By which definition it was logged; None where there was no memory.
    logged
        All that was logged of the event.
    """
    if fingerprint is None:
        return
    if not dataset.remembers:
        found.notes.append(
            f"memory (fingerprint {fingerprint[:12]}) is no longer declared in {dataset.path}: its values are not made again"
        )
        return
    memory = recall.of(dataset)
    if fingerprint != memory.fingerprint:
        found.notes.append(
            f"memory was defined otherwise than now (fingerprint {fingerprint[:12]}): its values are not made again"
        )
        return
    said, count = _of_one(dataset, found.arrival, progress)
    for name, definition in memory.definitions.items():
        one, other = (pl.DataFrame({"at": 0, name: pl.Series([x.get(name)], dtype=memory.schema[name])}) for x in (logged, said))
        different = bits.difference(one, other, "at")
        remade = Remade(
            f"from the {count:,} events of its keys before it", different is None, str(different) if different else None
        )
        found.memory.append(MemoryRow(name, logged.get(name), definition, remade))
        found.problems += [f"memory {name}, {remade}"] if different else []


def _of_one(dataset: Dataset, arrival: int, progress: Progress | None) -> tuple[dict[str, Any], int]:
    """Fold the events up to one that share a key with it; return what is said of it, and how many came before it."""
    events, memory, count = Table(dataset.name, "events"), recall.of(dataset), 0
    own = events.read(where=pl.col("arrival") == arrival)
    x = features.of_events(dataset, own, [])
    wanted = {names: Values(own, x).keys(names)[0] for names in memory.groups}
    said = pl.DataFrame()
    with Remembered(dataset, apart=True) as together:
        for after in range(0, arrival, EVENTS_AT_ONCE):
            last = min(after + EVENTS_AT_ONCE, arrival)
            new = events.read(where=pl.col("arrival").is_between(after + 1, last))
            x = features.of_events(dataset, new, [])
            values = Values(new, x)
            shares = pl.repeat(bool(memory.wholes), new.height, eager=True)
            for names, key in wanted.items():
                shares = shares | pl.Series([one == key for one in values.keys(names)], dtype=pl.Boolean)
            said = together.fold(new.filter(shares), x.filter(shares), after)
            together.keep(last)
            count += said.height
            if progress:
                progress(NAME, last, arrival)
    return said.row(-1, named=True), count - 1


def rebuild(dataset: Dataset, progress: Progress | None) -> int:
    """Build memory again from the first event, with a checkpoint at its end; return of how many events."""
    while True:
        try:
            with Remembered(dataset) as memory:
                count = memory.follow(progress, anew=True)
                memory.checkpoint(worth=0)
            return count
        except ConflictError:
            continue  # its file was damaged, and is gone
