"""What is left after a crash at any commit? Start again, and the accounts are those of an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import catalog, checkpoints, landing, state, tracking, views
from millrace.closings import closings
from millrace.errors import ConflictError, MillraceError, RegistryError
from millrace.tables import Table
from millrace.waiting import WaitingRoom
from tests.faults.life import account
from tests.shop import Shop

FIRST = """
    event  a  10:00  amount=30
    event  b  10:01  amount=40 country=FR
    label  early  10:02  true
    label  a  10:30  true
"""
SECOND = """
    event  c  12:00  amount=50
    event  b  12:00  amount=99
    event  bad  12:01  amount=5000
    label  b  12:30  false
    label  b  12:31  true
    label  c  11:00  true
    event  early  10:00
    label  a  12:40  true
"""


class Crash(BaseException):
    """What a killed process looks like from within."""


class Killer:
    """Kills at the n-th commit, before or after it is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.after = False
        self.commits = 0
        append = Table.append

        def killing(table: Table, *arguments: Any) -> None:
            self.commits += 1
            if self.commits == self.at and not self.after:
                raise Crash
            append(table, *arguments)
            if self.commits == self.at and self.after:
                raise Crash

        monkeypatch.setattr(Table, "append", killing)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def live(shop: Shop) -> int:
    """Let both batches arrive; after a crash start again. Return how often it crashed."""
    crashes = 0
    for table in (FIRST, SECOND):
        shop.arrive(table)
        while True:
            try:
                shop.tick()
                break
            except Crash:
                crashes += 1
    shop.tick()
    return crashes


def test_a_crash_at_any_commit_leaves_no_trace(shop: Shop, mlflow_store: Path, killer: Killer) -> None:
    live(shop)
    undisturbed, commits = account(shop), killer.commits
    assert commits > 20
    for at in range(1, commits + 1, 3):  # those between are met by the kills in tests/faults
        killer.at, killer.after, killer.commits = at, at % 2 == 1, 0
        one = shop.afresh(mlflow_store)
        assert live(one) == 1, f"no crash at commit {at}"
        assert account(one) == undisturbed, f"after a crash at commit {at}"


def test_two_learners_beside_each_other_learn_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.arrive(FIRST)
    append = Table.append
    inside: list[str] = []

    def competed(table: Table, *arguments: Any) -> None:
        if table.name in ("files", "features", "predictions", "examples", "outcomes", "checkpoints") and not inside:
            inside.append(table.name)
            shop.tick()  # another process does the whole tick between this one's read and its commit
            inside.pop()
        append(table, *arguments)

    monkeypatch.setattr(Table, "append", competed)
    shop.tick()
    monkeypatch.setattr(Table, "append", append)
    shop.arrive(SECOND)
    shop.tick()
    assert [seq for seq, *_ in shop.log()] == [1, 2, 3]
    assert shop.status().models["logistic"].seq == 3
    assert shop.table("predictions").select("event_id", "model").is_unique().all()


def test_a_file_that_another_puts_away_while_it_is_looked_for_again_is_found(
    shop: Shop, killer: Killer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.arrive(FIRST)
    killer.at, killer.after = 1, True  # the files are taken, their rows are not yet written
    with pytest.raises(Crash):
        shop.tick()
    read = Path.read_bytes

    def beside(path: Path) -> bytes:
        if path.parent == landing.folder("shop"):
            monkeypatch.setattr(Path, "read_bytes", read)
            shop.tick()  # another process does it all between this one's finding the file and its reading it
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", beside)
    shop.tick()
    assert shop.status().events == 2


def test_a_cursor_that_another_moved_refuses_the_commit(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    one, other = Table("shop", "examples"), Table("shop", "examples")
    rows = other.read().clear()
    other.append(rows, {"join": 99})
    with pytest.raises(ConflictError):
        one.append(rows, {"join": 99})


@pytest.fixture
def away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop after its first tick, with MLflow away."""
    shop.arrive(FIRST)
    shop.tick()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shop.place}/nowhere/mlflow.db")
    yield shop


def test_the_tick_keeps_its_work_while_mlflow_is_away_and_publishes_later(away: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (away.place / "nowhere").write_text("a file where a folder should be")
    away.arrive(SECOND)
    report = away.tick()
    assert report.problems
    assert "nowhere" in report.problems[0]
    assert away.status().models["logistic"].seq == 3
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{away.place}/mlruns/mlflow.db")
    report = away.tick()
    assert report.learn
    assert report.learn.publish
    assert report.learn.publish.versions["logistic"] > 2


def test_nothing_is_predicted_before_there_is_a_version(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop.place / "nowhere").write_text("a file where a folder should be")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shop.place}/nowhere/mlflow.db")
    shop.arrive(FIRST)
    with pytest.raises(RegistryError, match="nowhere"):
        shop.tick()
    assert shop.status().events == 2


def test_a_state_that_was_changed_is_never_loaded(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    found = checkpoints.newest(Table("shop", "checkpoints"), ["logistic"])["logistic"]
    path = shop.place / "root" / "shop" / "states" / f"{found.sha256}.pkl"
    path.write_bytes(path.read_bytes() + b" ")
    shop.arrive(SECOND)
    report = shop.tick()
    assert any("logistic" in problem and "was changed" in problem for problem in report.problems)
    assert (shop.status().models["logistic"].seq, shop.status().models["prior"].seq) == (found.seq, 3)


def artifact(version: int) -> Path:
    """Where MLflow keeps a version of the shop."""
    with tracking.asking("look") as client:
        logged = client.get_logged_model(client.get_model_version("shop", str(version)).source.removeprefix("models:/"))
    return Path(logged.artifact_location.removeprefix("file://"))


def test_a_version_whose_state_is_gone_comes_from_mlflow_and_one_that_was_replaced_there_is_refused(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    found = checkpoints.published(Table("shop", "checkpoints"), ["logistic", "prior"])
    for one in found.values():
        (shop.place / "root" / "shop" / "states" / f"{one.sha256}.pkl").unlink(missing_ok=True)
    kept = artifact(found["logistic"].version or 0) / "model.pkl"
    bytes_of_it = kept.read_bytes()
    kept.write_bytes(state.slim(catalog.load("shop").models["logistic"]()))  # whole, of the same model, and not the one on record
    shop.arrive(SECOND)
    replaced = (
        f"v{found['logistic'].version} was replaced in MLflow .*on record is {found['logistic'].sha256}.* not loaded either"
    )
    with pytest.raises(MillraceError, match=f"is gone; .*millrace replay shop.*{replaced}"):
        shop.tick()
    kept.write_bytes(bytes_of_it)
    shop.tick()
    assert set(shop.table("predictions").filter(model="logistic")["error"]) == {None}


def test_a_file_that_vanished_between_being_taken_and_read_is_named(shop: Shop, killer: Killer) -> None:
    shop.arrive(FIRST)
    killer.at, killer.after = 1, True
    with pytest.raises(Crash):
        shop.tick()
    content = {path: path.read_bytes() for path in (shop.place / "landing" / "shop").glob("*.ndjson")}
    for path in content:
        path.unlink()
    with pytest.raises(MillraceError, match="put it back as"):
        shop.tick()
    for path, data in content.items():
        path.write_bytes(data)
    shop.tick()
    assert shop.status().events == 2


def test_the_index_is_made_again_when_it_is_gone_or_torn(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    index = shop.place / "cache" / "shop" / "ids.db"
    for path in index.parent.glob("ids.db-*"):
        path.unlink()
    index.write_bytes(b"SQLite format 3\0" + b"torn" * 1000)
    shop.arrive(SECOND)
    shop.tick()
    assert len(shop.log()) == 3


def test_an_index_that_is_torn_anywhere_tells_what_it_told(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    shop.arrive(SECOND)
    shop.tick()
    before, index = orjson.loads(shop.status().as_json()), shop.place / "cache" / "shop" / "ids.db"
    data, page = index.read_bytes(), 16_384
    assert len(data) > 5 * page
    for start in range(page, len(data), page):
        views.newest(index).write_bytes(data[:start] + bytes(page) + data[start + page :])
        assert orjson.loads(shop.status().as_json()) == before, start


def test_an_index_that_was_cut_short_anywhere_tells_what_it_told(shop: Shop) -> None:
    shop.arrive(FIRST)
    shop.tick()
    shop.arrive(SECOND)
    shop.arrive("event  last  2026-01-07T10:00:00Z")
    shop.tick()

    def told() -> list[pl.DataFrame]:
        with WaitingRoom("shop") as room:
            return [room.pairs(0, 100), room.arrived(0, 100), closings(room, 0, 100).sort("event_arrival")]

    before, index = told(), shop.place / "cache" / "shop" / "ids.db"
    data = index.read_bytes()
    assert all(frame.height for frame in before)
    for length in range(0, len(data), 3_001):
        views.newest(index).write_bytes(data[:length])
        for one, other in zip(told(), before, strict=True):
            assert one.equals(other), length
