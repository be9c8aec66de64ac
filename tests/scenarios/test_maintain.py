"""Is maintenance safe beside stages that run, and after a crash of its own, and does it leave what is needed?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.table import TableOptimizer

from millrace import catalog, checkpoints, clock, fold, landing, layout, maintain, publish, removal, tables, tracking
from millrace.errors import ConflictError, MillraceError, UsageError
from millrace.maintain import MaintainReport
from millrace.tables import Table
from tests.conftest import CHECKOUT
from tests.faults.life import account
from tests.scenarios.test_crash import Crash
from tests.shop import Shop

DAY = timedelta(days=1)


def arrive_and_tick(shop: Shop, start: int, stop: int) -> None:
    """Make a tick for each of these numbers: an order comes, and the answer to the one before it."""
    for i in range(start, stop):
        shop.arrive(f"""
            event  e{i}  {10 + i // 60}:{i % 60:02d}  amount={i} country=FR
            label  e{i - 1}  {10 + i // 60}:{i % 60:02d}  {"true" if i % 3 else "false"}
        """)
        shop.tick()


def cursors(name: str) -> dict[tuple[str, str], int]:
    """Return every cursor of every table, as a checkpoint of the whole log tells them."""
    found: dict[tuple[str, str], int] = {}
    for table in layout.NAMES:
        log = tables.folder(name) / table / "_delta_log"
        DeltaTable(str(log.parent)).create_checkpoint()
        rows = pl.read_parquet(sorted(log.glob("*.checkpoint.parquet"))[-1])["txn"].struct.unnest().drop_nulls("appId")
        found |= {(table, application): version for application, version in rows.select("appId", "version").iter_rows()}
    return found


def rows(shop: Shop) -> dict[str, list[Any]]:
    """Return the rows of every table."""
    return {name: sorted(map(repr, shop.table(name).rows())) for name in layout.NAMES}


def age(folder: Path, days: int = 10) -> None:
    """Make all files in a folder older."""
    for path in folder.rglob("*"):
        then = path.stat().st_mtime - days * 86_400
        os.utime(path, (then, then))


def days_later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let maintenance happen some days from now."""
    monkeypatch.setattr(maintain, "now", lambda: clock.now() + days * DAY)


def test_small_files_become_one_and_every_row_and_cursor_stands(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.change("window=timedelta(days=1)", "")  # an answer is final when it is there
    arrive_and_tick(shop, 0, 8)
    before, stood, where = rows(shop), cursors("shop"), account(shop)
    assert {table for table, _ in stood} == set(layout.NAMES) - {"interventions", "removals"}
    assert {"fold", "began", "newest", "publish"} <= {part for _, name in stood for part in name.split("/")}

    age(shop.place / "root")
    monkeypatch.setattr(maintain, "RETENTION", timedelta(0))  # what was joined is removed at once, and its log
    reports = [maintain.maintain("shop"), maintain.maintain("shop")]
    for first, second in zip(*(report.tables for report in reports), strict=True):
        assert (first.files, second.before, second.removed) == (min(first.before, 1), first.files, 0)
        assert first.removed == (first.before if first.before > 1 else 0)
    assert reports[0].tables[2].before == 8
    assert sum(table.log for table in reports[0].tables) > 0
    assert (rows(shop), cursors("shop"), account(shop)) == (before, stood, where)

    arrive_and_tick(shop, 8, 12)
    assert [seq for seq, *_ in shop.log()] == list(range(1, 12))
    assert shop.table("predictions").select("event_id", "model").is_unique().all()


def test_nothing_is_due_before_there_are_many_small_files(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not maintain.due("shop")
    assert str(maintain.maintain("shop")) == "nothing is stored yet"
    arrive_and_tick(shop, 0, 4)
    assert not maintain.due("shop")
    monkeypatch.setattr(maintain, "SMALL_FILES", 3)
    assert maintain.due("shop")
    maintain.maintain("shop")
    assert not maintain.due("shop")
    with pytest.raises(UsageError, match="did you mean 'shop'"):
        maintain.maintain("shpo")


def test_large_files_are_left_alone_and_each_keeps_a_range_of_its_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of joining is that of what is new, and what is read of a stretch of the log are its files alone."""
    arrive_and_tick(shop, 0, 1)
    monkeypatch.setattr(maintain, "_TARGET_BYTES", 40_000)
    path, sizes = shop.place / "root" / "shop" / "files", []
    empty = shop.table("files").clear()
    for number in range(3, 203):
        row = pl.DataFrame({"number": [number], "sha256": [f"{number:064d}"]}, schema_overrides=empty.schema)
        Table("shop", "files").append(pl.concat([empty, row], how="diagonal"), {"files": number})
        if number % 20 == 0:
            kept = set(DeltaTable(str(path)).file_uris())
            maintain._join_files("shop", "files")
            sizes.append(len(kept - set(DeltaTable(str(path)).file_uris())))
    found = pl.DataFrame(DeltaTable(str(path)).get_add_actions(flatten=True)).sort("min.number")
    assert found.height > 3, "the target is too large for this test"
    assert max(sizes) <= 20 + 3, "files written before are written again"
    overlapping = found.filter(pl.col("min.number") <= pl.col("max.number").shift(1))
    assert overlapping.height == 0
    assert found["num_records"].sum() == Table("shop", "files").count() == 2 + 200


BESIDE = """
import sys
from pathlib import Path
from millrace import maintain
stop = Path(sys.argv[1])
rounds = joined = 0
while True:
    last = stop.exists()
    report = maintain.maintain("shop")
    rounds += 1
    joined += sum(table.before > table.files for table in report.tables)
    if last:
        break
print(rounds, joined, *report.problems)
"""


def test_ticks_beside_maintenance_in_other_processes_are_those_of_an_undisturbed_run(shop: Shop, mlflow_store: Path) -> None:
    ticks = 11
    arrive_and_tick(shop, 0, 1)
    arrive_and_tick(shop, 1, ticks)
    undisturbed, stood = account(shop), cursors("shop")

    shop = shop.afresh(mlflow_store)
    arrive_and_tick(shop, 0, 1)  # the tables are there
    stop = shop.place / "stop"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore"}
    options: dict[str, Any] = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    beside = [subprocess.Popen([sys.executable, "-c", BESIDE, str(stop)], **options) for _ in range(2)]
    try:
        arrive_and_tick(shop, 1, ticks)
        stop.touch()
        said = [process.communicate(timeout=120) for process in beside]
    finally:
        for process in beside:
            process.kill()
            process.wait()
    assert [process.returncode for process in beside] == [0, 0], said
    assert sum(int(out.split()[1]) for out, _ in said) > 5, f"hardly anything was joined beside the ticks: {said}"
    assert account(shop) == undisturbed
    assert cursors("shop") == stood
    assert shop.table("predictions").select("event_id", "model").is_unique().all()
    for name in layout.NAMES:
        assert Table("shop", name).count() == shop.table(name).height


def test_a_stage_that_opened_its_table_before_the_files_were_joined_appends(shop: Shop) -> None:
    arrive_and_tick(shop, 0, 4)
    one, other = Table("shop", "examples"), Table("shop", "examples")
    before, none = one.read(), one.read().clear()
    maintain.maintain("shop")
    assert one.read().rows() == before.rows(), "what a reader opened stays"
    one.append(none, {"join": 99})
    with pytest.raises(ConflictError):
        other.append(none, {"join": 99})


def test_rows_that_are_appended_right_before_and_after_the_files_were_joined_stay(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive_and_tick(shop, 0, 4)
    path, more = str(shop.place / "root" / "shop" / "events"), Table("shop", "events").read().tail(1)
    _before(monkeypatch, TableOptimizer, "compact", path, lambda table: write_deltalake(table, more, mode="append"))
    _before(monkeypatch, DeltaTable, "update_incremental", path, lambda table: write_deltalake(table, more, mode="append"))
    assert [table.files for table in maintain.maintain("shop").tables if table.table == "events"] == [3]
    assert shop.table("events")["event_id"].to_list() == ["e0", "e1", "e2", "e3", "e3", "e3"]


def test_a_feature_that_is_registered_meanwhile_does_not_disturb(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive_and_tick(shop, 0, 4)
    last = shop.table("features").tail(1)
    grown = [last.with_columns(pl.col("arrival") + 1, pl.col("x").struct.with_fields(pl.lit(1.0).alias("new")))]
    path = str(shop.place / "root" / "shop" / "features")

    def register(_: DeltaTable) -> None:
        while grown:
            Table("shop", "features").append(grown.pop(), {})

    _before(monkeypatch, TableOptimizer, "compact", path, register)
    assert [table.files for table in maintain.maintain("shop").tables if table.table == "features"] == [1]
    assert shop.table("features")["x"].struct.unnest()["new"].to_list() == [None] * 4 + [1.0]


def test_files_that_were_joined_by_another_program_at_once_are_noticed_and_undone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive_and_tick(shop, 0, 4)
    before = rows(shop)
    path = str(shop.place / "root" / "shop" / "events")
    _before(monkeypatch, TableOptimizer, "compact", path, lambda table: table.optimize.compact())
    with pytest.raises(MillraceError, match=r"made 8 rows of 4 \(version \d+\).*was undone"):
        maintain.maintain("shop")
    assert rows(shop) == before

    arrive_and_tick(shop, 4, 6)
    _before(monkeypatch, DeltaTable, "restore", path, lambda table: write_deltalake(table, event, mode="append"))
    event = Table("shop", "events").read().tail(1)
    with pytest.raises(MillraceError, match=r"made 12 rows of 6 .*rows have been appended since.*from a copy"):
        maintain.maintain("shop")


def _before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, path: str, happens: Callable[[DeltaTable], Any]) -> None:
    """Let something happen to a table right before maintenance does this to it."""
    change, within = getattr(owner, name), list[str]()

    def changing(one: Any, *arguments: Any, **named: Any) -> Any:
        table = getattr(one, "table", one)
        if table.table_uri.rstrip("/").endswith(path) and not within:
            within.append(name)
            happens(DeltaTable(path))
            within.pop()
        return change(one, *arguments, **named)

    monkeypatch.setattr(owner, name, changing)


class Killer:
    """Kills at the n-th change that maintenance makes, before or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.after, self.changes = 0, False, 0
        for owner, name in (
            (TableOptimizer, "compact"),
            (DeltaTable, "vacuum"),
            (DeltaTable, "cleanup_metadata"),
            (DeltaTable, "create_checkpoint"),
            (Path, "unlink"),
            (removal, "remove"),
        ):
            self._patch(monkeypatch, owner, name)

    def _patch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        change = getattr(owner, name)

        def killing(*arguments: Any, **named: Any) -> Any:
            self.changes += 1
            if self.changes == self.at and not self.after:
                raise Crash
            found = change(*arguments, **named)
            if self.changes == self.at and self.after:
                raise Crash
            return found

        monkeypatch.setattr(owner, name, killing)


def test_a_crash_at_any_change_leaves_all_and_the_next_completes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive_and_tick(shop, 0, 5)
    _orphan(shop)
    age(shop.place / "root")
    old = shop.place / "landing" / "shop" / "done"
    next(old.iterdir()).rename(old / "2026-01-05")
    days_later(monkeypatch, 4)
    before, where = rows(shop), account(shop)
    folders = ("root", "landing", "mlruns")
    for folder in folders:
        shutil.copytree(shop.place / folder, shop.place / "kept" / folder)

    killer = Killer(monkeypatch)
    whole = maintain.maintain("shop")
    changes = killer.changes
    assert changes > 4 * len(layout.NAMES)
    assert min(whole.states, whole.files, whole.orphans) >= 1
    for at in range(1, changes + 1, 5):
        for folder in folders:
            shutil.rmtree(shop.place / folder)
            shutil.copytree(shop.place / "kept" / folder, shop.place / folder)
        killer.at, killer.after, killer.changes = at, at % 2 == 0, 0
        with pytest.raises(Crash):
            maintain.maintain("shop")
        assert rows(shop) == before, f"after a crash at change {at}"
        killer.at = 0
        report = maintain.maintain("shop")
        assert report.problems == []
        assert [table.files for table in report.tables] == [table.files for table in whole.tables]
        assert _left(shop) == {"states": len(_states(shop)), "done": 0, "versions": 4}, f"after a crash at change {at}"
        assert rows(shop) == before
    assert account(shop) == where
    arrive_and_tick(shop, 5, 7)
    assert [seq for seq, *_ in shop.log()] == [1, 2, 3, 4, 5, 6]


def _states(shop: Shop) -> set[str]:
    return {path.stem for path in (shop.place / "root" / "shop" / "states").iterdir()}


def _left(shop: Shop) -> dict[str, int]:
    done = [path for path in (shop.place / "landing" / "shop" / "done").rglob("*") if path.is_file()]
    return {"states": len(_states(shop)), "done": len(done), "versions": len(_versions())}


def _versions() -> dict[int, str]:
    with tracking.asking("look") as client:
        return {int(one.version): str(one.source) for one in client.search_model_versions("name='shop'")}


def _orphan(shop: Shop) -> int:
    """Publish, and be killed before it is recorded; return the version's number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "is_due", lambda *_: True)
        patch.setattr(checkpoints, "publish", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            publish.publish(shop.name)
    return max(_versions())


def test_states_that_nothing_needs_are_removed_and_the_others_stay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive_and_tick(shop, 0, 6)
    shop.change("LogisticRegression()", "LogisticRegression(l2=0.1)")
    shop.change('{"logistic": logistic}', '{"ridge": logistic}')
    shop.arrive("event  z  14:00")
    shop.tick()
    table = shop.table("checkpoints")
    aside = shop.place / "root" / "shop" / "states" / f"{'0' * 64}.77.tmp"
    aside.write_bytes(b"torn")
    before = _states(shop)

    age(shop.place / "root")
    young = tables.folder("shop") / "states" / f"{checkpoints.write_state('shop', b'not yet recorded')}.pkl"
    assert maintain.maintain("shop").states == 1, "the rows are young: only what is left aside is removed"
    assert not aside.exists()

    days_later(monkeypatch, 9)
    report = maintain.maintain("shop")
    published = set(table.drop_nulls("version")["sha256"])
    newest = {one.sha256 for one in checkpoints.newest(Table("shop", "checkpoints"), ["logistic", "ridge", "prior"]).values()}
    race = set(shop.table("standings").sort("seq")["sha256"].tail(1))
    assert len(newest) == 3
    assert not young.exists(), "nine days later no row has come for it"
    assert _states(shop) == published | newest | race
    assert report.states == len(before) - 1 + 1 - len(published | newest | race)
    assert report.bytes > 0

    arrive_and_tick(shop, 7, 9)
    assert shop.status().models["ridge"].seq == shop.status().examples


def test_one_state_a_day_of_each_lineage_is_kept_to_go_back_to(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "now", lambda: clock.now() - 20 * DAY)
    arrive_and_tick(shop, 0, 3)
    monkeypatch.setattr(checkpoints, "now", lambda: clock.now() - 19 * DAY)
    arrive_and_tick(shop, 3, 6)
    monkeypatch.setattr(checkpoints, "now", clock.now)
    shop.arrive("event  f  15:00\nlabel  e5  15:00  true")
    fold.fold_alone("shop", "logistic")
    shop.tick()
    age(shop.place / "root")
    maintain.maintain("shop")
    assert _seqs(shop) >= {0, 2, 5, 6}
    assert not _seqs(shop) & {3, 4}


def _seqs(shop: Shop) -> set[int]:
    mine = shop.table("checkpoints").filter(pl.col("model") == "logistic", pl.col("sha256").is_in(list(_states(shop))))
    return set(mine["seq"])


def test_a_version_that_no_checkpoint_names_is_removed_with_its_files(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive_and_tick(shop, 0, 4)
    recorded = _versions()
    orphan = _orphan(shop)
    client: Any
    with tracking.asking("make what others make") as client:
        run = client.create_run(client.get_experiment_by_name("shop").experiment_id, tags={"dataset": "shop"})
        other = client.create_logged_model(run.info.experiment_id, "by-hand", tags={"sha256": "0" * 64})
        cut_off = client.create_logged_model(
            run.info.experiment_id, "cut-off", tags={"sha256": shop.table("checkpoints")["sha256"][-1]}
        )
    folder = shop.place / "mlruns" / "artifacts" / "shop" / "models" / _versions()[orphan].removeprefix("models:/") / "artifacts"
    assert any(folder.iterdir())

    report = maintain.maintain("shop")
    assert (report.orphans, report.runs) == (0, 0), "a fold that takes long may yet record it"
    days_later(monkeypatch, 3)
    report = maintain.maintain("shop")
    assert report.problems == []
    assert report.orphans == len(set(_versions()) ^ set(recorded)) + 3
    assert report.runs >= 1
    assert _versions() == recorded
    assert not folder.exists() or not any(folder.iterdir())
    with tracking.asking("look") as client:
        left = {one.model_id for one in client.search_logged_models([run.info.experiment_id])}
        assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert other.model_id in left
    assert cut_off.model_id not in left
    assert (maintain.maintain("shop").orphans, maintain.maintain("shop").runs) == (0, 0)
    arrive_and_tick(shop, 4, 6)
    assert shop.status().problems == []


def test_without_mlflow_the_rest_is_done_and_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive_and_tick(shop, 0, 3)
    (shop.place / "nowhere").write_text("a file where a folder should be")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shop.place}/nowhere/mlflow.db")
    report = maintain.maintain("shop")
    assert [table.files for table in report.tables if table.before > 1] != []
    assert "nowhere" in report.problems[0]


def test_files_taken_in_long_ago_are_removed_once_their_rows_are_there(shop: Shop) -> None:
    arrive_and_tick(shop, 0, 2)
    done = shop.place / "landing" / "shop" / "done"
    [today] = done.iterdir()
    old = today.rename(done / f"{(clock.now() - 31 * DAY).date()}")
    (old / "000099-events-9.ndjson").write_text("its run was cut off: its rows are in no table yet")
    (old / "notes.txt").write_text("not ours")
    (done / "2020-99-99").mkdir()
    served = sorted((shop.place / "outbox").rglob("*.ndjson"))
    report: MaintainReport = maintain.maintain("shop", keep=40 * DAY)
    assert report.files == 0
    report = maintain.maintain("shop")
    assert report.files == 4
    assert sorted(path.name for path in old.iterdir()) == ["000099-events-9.ndjson", "notes.txt"]
    assert sorted((shop.place / "outbox").rglob("*.ndjson")) == served
    assert landing.ready("shop") == []
    assert catalog.load("shop")
