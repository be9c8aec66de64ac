"""Is a table that is not opened again the one that is there?"""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from millrace import catalog, snapshots, tables
from millrace.errors import ConflictError, MillraceError
from millrace.tables import Table
from tests.shop import Shop


@pytest.fixture
def files(shop: Shop) -> Path:
    tables.create(catalog.load("shop"))
    append(1)
    return shop.place / "root" / "shop" / "files"


def append(number: int, table: Table | None = None) -> None:
    table = table or Table("shop", "files")
    row = pl.DataFrame({"number": [number], "name": [f"{number}.ndjson"]})
    table.append(pl.concat([table.read().clear(), row], how="diagonal"), {"ingest": number})


def test_it_is_opened_once_while_nothing_is_committed(files: Path) -> None:
    before = snapshots.newest(files)
    assert snapshots.newest(files) is before
    assert Table("shop", "files").cursor("ingest") == 1


def test_what_this_process_commits_is_seen_and_an_older_snapshot_stays_what_it_was(files: Path) -> None:
    older = Table("shop", "files")
    append(2)
    assert Table("shop", "files").cursor("ingest") == 2
    assert (older.cursor("ingest"), older.cursor("another"), older.read().height) == (1, 0, 1)
    with pytest.raises(ConflictError):
        append(2, older)


def test_what_another_process_commits_is_seen(files: Path) -> None:
    Table("shop", "files")
    theirs = DeltaTable(str(files))
    rows = pl.read_delta(str(files)).with_columns(number=pl.lit(2, dtype=pl.Int64))
    properties = CommitProperties(app_transactions=[Transaction("ingest", 2, 0)])
    write_deltalake(theirs, rows, mode="append", commit_properties=properties)
    assert Table("shop", "files").read()["number"].to_list() == [1, 2]
    assert Table("shop", "files").cursor("ingest") == 2


def test_another_table_in_its_place_is_seen_at_the_same_version_too(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "copy")
    append(2)
    assert Table("shop", "files").cursor("ingest") == 2
    shutil.rmtree(files)
    shutil.copytree(tmp_path / "copy", files)
    assert Table("shop", "files").cursor("ingest") == 1
    append(2)
    assert Table("shop", "files").read().height == 2


def test_a_table_that_is_gone_is_named(files: Path) -> None:
    Table("shop", "files")
    shutil.rmtree(files)
    with pytest.raises(MillraceError, match="files cannot be opened"):
        Table("shop", "files")


def test_no_more_than_so_many_are_kept(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_AT_ONCE", 2)
    monkeypatch.setattr(snapshots, "_KEPT", {})
    for name in ("files", "events", "labels", "examples"):
        Table("shop", name)
    assert [path.name for path in snapshots._KEPT] == ["labels", "examples"]
