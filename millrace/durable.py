"""What survives a power cut?

Delta Lake leaves it to the system when what was written reaches the disk. So a commit is synced, data first, before
anything relies on it; and a table whose last commit a power cut tore is taken back to the one before, from where the next
run does the step again, as after any other crash.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson

CURSORS = "cursors"
"""In a commit's own metadata: how many cursors it moves, without which an end that is missing could not be seen."""


_WHOLE = set[Path]()
"""The tables that were found whole in this process."""


def sync(table: Path, since: int, upto: int) -> None:
    """Bring commits, and the data that they add, to the disk.

    Parameters
    ----------
    table
        The table's folder.
    since, upto
        The first and the last of the commits, by version.
    """
    for version in range(since, upto + 1):
        written = commit(table, version)
        if not written.exists():  # joined into a checkpoint, and cleaned up
            continue
        for added in (action["add"] for action in _actions(written) or [] if "add" in action):
            to_disk(table / added["path"])
        to_disk(written)
        to_disk(written.with_suffix(".checkpoint.parquet"))
    to_disk(table / "_delta_log" / "_last_checkpoint")
    to_disk(table)
    to_disk(table / "_delta_log")


def torn(table: Path) -> list[Path]:
    """Return the files that a power cut tore: the last commits, as far as they or their data are not whole, and what was
    drawn from them."""
    log = table / "_delta_log"
    commits = sorted(log.glob("*.json"), reverse=True)
    found = []
    for commit in commits:
        if _is_whole(table, commit):
            break
        found += [commit, commit.with_suffix(".checkpoint.parquet")]
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    if checkpoints and not _is_parquet(checkpoints[-1]):
        found.append(checkpoints[-1])
    if any(path.exists() and path.suffix == ".parquet" for path in found):
        found.append(log / "_last_checkpoint")
    return [path for path in found if path.exists()]


def make_whole(table: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
    """Take a table back to its last whole commit, if a power cut tore those after it; what is torn is put aside.

    Parameters
    ----------
    table
        The table's folder. It is looked at once in a process: what the process writes itself is whole.
    lock
        Makes what is held meanwhile, so that no other process takes back what this one has written since.
    """
    if table in _WHOLE:
        return
    if torn(table):
        with lock():
            for path in torn(table):
                path.replace(path.with_name(f"{path.name}.torn"))
    _WHOLE.add(table)


def commit(table: Path, version: int) -> Path:
    """Return the file of a commit."""
    return table / "_delta_log" / f"{version:020}.json"


def _actions(commit: Path) -> list[dict[str, Any]] | None:
    """Return what a commit does, or None where it cannot be read."""
    try:
        return [orjson.loads(line) for line in commit.read_bytes().splitlines() if line.strip()]
    except ValueError:
        return None


def _is_whole(table: Path, commit: Path) -> bool:
    actions = _actions(commit)
    if not actions:
        return False
    does = [next(iter(action)) for action in actions]
    told = next((action["commitInfo"] for action in actions if "commitInfo" in action), None)
    if told is None:
        return False
    metrics = told.get("operationMetrics", {})
    added = metrics.get("num_added_files", metrics.get("numFilesAdded"))
    removed = metrics.get("num_removed_files", metrics.get("numFilesRemoved"))
    expected = {"add": added, "remove": removed, "txn": told.get(CURSORS)}
    if any(number is not None and does.count(action) != int(number) for action, number in expected.items()):
        return False
    data = [(table / action["add"]["path"], action["add"]["size"]) for action in actions if "add" in action]
    return all(path.exists() and path.stat().st_size == size and _is_parquet(path) for path, size in data)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, path.stat().st_size - 4))
        return start == b"PAR1" == file.read(4)


def to_disk(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk; one that is not there is none."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
