"""Is a table whose last files a power cut tore taken back to its last whole commit, and a whole one left alone?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, WriterProperties

from millrace import catalog, durable, layout, tables
from millrace.tables import Table
from tests.shop import Shop

COMMITS = 40
"""The last is one in which Delta Lake made a checkpoint."""


@pytest.fixture
def written(shop: Shop) -> Path:
    """A table after some commits, each of a row and two cursors; its folder."""
    tables.create(catalog.load("shop"))
    frame = pl.DataFrame(schema=layout.schemas(catalog.load("shop"))["definitions"])
    for i in range(1, COMMITS + 1):
        row = frame.clear(1).with_columns(model=pl.lit(f"m{i}"))
        Table("shop", "definitions").append(row, {"define/a": i, "define/b": i})
    return tables.folder("shop") / "definitions"


def opened(path: Path) -> tuple[int, int, int]:
    """Open the table as a new process would: its rows and cursors."""
    durable._WHOLE.discard(path)
    table = Table("shop", "definitions")
    return table.count(), table.cursor("define/a"), table.cursor("define/b")


def commit(path: Path) -> Path:
    return max((path / "_delta_log").glob("*.json"))


def test_a_whole_table_is_left_alone(written: Path) -> None:
    assert durable.torn(written) == []
    assert opened(written) == (COMMITS, COMMITS, COMMITS)


@pytest.mark.parametrize(
    "cut", ["nothing", "half a line", "without its rows", "without its cursors", "without a cursor", "zeros"]
)
def test_a_torn_commit_is_taken_back(written: Path, cut: str) -> None:
    path = commit(written)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    path.write_bytes(
        {
            "nothing": b"",
            "half a line": lines[0][:50],
            "without its rows": lines[0],
            "without its cursors": lines[0] + lines[1],
            "without a cursor": b"".join(lines[:3]),
            "zeros": bytes(len(b"".join(lines))),
        }[cut]
    )
    assert opened(written) == (COMMITS - 1, COMMITS - 1, COMMITS - 1)
    Table("shop", "definitions").append(Table("shop", "definitions").read().tail(1), {"define/a": COMMITS, "define/b": COMMITS})
    assert opened(written) == (COMMITS, COMMITS, COMMITS)


@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: bytes(len(data)), None])
def test_a_commit_whose_data_are_torn_or_gone_is_taken_back(written: Path, harm: Callable[[bytes], bytes] | None) -> None:
    data = max(written.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    data.unlink() if harm is None else data.write_bytes(harm(data.read_bytes()))
    assert opened(written) == (COMMITS - 1, COMMITS - 1, COMMITS - 1)


def test_a_torn_checkpoint_of_the_log_is_put_aside(written: Path) -> None:
    checkpoint = max((written / "_delta_log").glob("*.checkpoint.parquet"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:50])
    assert opened(written) == (COMMITS, COMMITS, COMMITS)


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_files_that_were_joined_by_half_are_parted_again(written: Path, kept: int) -> None:
    DeltaTable(str(written)).optimize.compact(writer_properties=WriterProperties())
    path = commit(written)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    assert opened(written) == (COMMITS, COMMITS, COMMITS)
    assert Table("shop", "definitions").read().height == COMMITS
