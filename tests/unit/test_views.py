"""Is a damaged view made again beside those who have it open?"""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from millrace import views


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return tmp_path / "ids.db"


def names(first: Path) -> list[str]:
    return sorted(path.name for path in first.parent.iterdir() if path.suffix != ".lock")


def test_it_is_the_file_itself_until_it_is_damaged(first: Path) -> None:
    assert views.newest(first) == first
    first.touch()
    assert views.newest(first) == views.whole(first, 4_096) == first


def test_another_name_takes_its_place_and_all_before_it_are_removed(first: Path) -> None:
    for name in ("ids.db", "ids.db-wal", "ids.db-shm", "ids.old", "memory.db"):
        (first.parent / name).touch()
    second = views.replace(first, first)
    assert second.name == "ids.1.db"
    assert names(first) == ["ids.1.db", "ids.old", "memory.db"]
    first.touch()  # by one who has found its name before it was removed
    assert views.newest(first) == second
    assert views.replace(first, second).name == "ids.2.db"
    assert names(first) == ["ids.2.db", "ids.old", "memory.db"]


def test_one_that_was_replaced_by_another_process_already_is_not_replaced_again(first: Path) -> None:
    first.touch()
    second = views.replace(first, first)
    assert views.replace(first, first) == second
    assert second.exists()


def test_one_that_was_cut_short_is_replaced(first: Path) -> None:
    first.write_bytes(bytes(4_096))
    assert views.whole(first, 4_096) == first
    first.write_bytes(bytes(4_095))
    assert views.whole(first, 4_096).name == "ids.1.db"


def test_who_has_the_damaged_one_open_goes_on_apart(first: Path) -> None:
    old = sqlite3.connect(first, isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute("CREATE TABLE known (id)")
    new = sqlite3.connect(views.replace(first, first), isolation_level=None)
    new.execute("PRAGMA journal_mode=WAL")
    new.execute("CREATE TABLE known (id)")
    for number, connection in enumerate([old, new, old, new]):
        connection.execute("INSERT INTO known VALUES (?)", (number,))
    assert old.execute("SELECT id FROM known").fetchall() == [(0,), (2,)]
    assert new.execute("SELECT id FROM known").fetchall() == [(1,), (3,)]
    for connection in (old, new):
        connection.close()


def test_all_that_have_a_database_write_ahead_at_once_may(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    for _ in range(20):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE known (id)")
        together = Barrier(4)

        def begin(together: Barrier = together) -> str:
            with closing(sqlite3.connect(path, timeout=20)) as database:
                together.wait()
                views.write_ahead(database)
                return str(database.execute("PRAGMA journal_mode").fetchone()[0])

        with ThreadPoolExecutor(4) as threads:
            assert [one.result() for one in [threads.submit(begin) for _ in range(4)]] == ["wal"] * 4
