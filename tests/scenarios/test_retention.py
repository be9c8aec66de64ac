"""Which versions stay in MLflow, what becomes of the others, and what is done when somebody deletes one there?"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from millrace import catalog, checkpoints, clock, control, maintain, models, removal, tracking
from millrace.asof import publish_at
from millrace.dataset import Retention
from millrace.errors import DatasetError, MillraceError, RegistryError, UsageError
from millrace.explain import explain
from millrace.proof import verify
from millrace.registry import Registry
from millrace.tables import Table
from tests.conftest import settled, undone
from tests.scenarios.test_crash import Crash
from tests.shop import TEXT, Shop

LIFE = """
    event  e1  2026-01-05T10:00:00Z
    event  e2  2026-01-05T10:30:00Z
    event  e3  2026-01-05T18:00:00Z
    event  e4  2026-01-06T09:00:00Z
    event  e5  2026-01-06T10:20:00Z
    event  e6  2026-01-06T10:40:00Z
"""
"""A tick each: an order comes, and the answer to the one before it, which makes an example, and a version of each model. So the
models learned seq 1 at 10:30 on the first day, and seq 5 at 10:40 on the second; e6 was predicted by seq 4."""

NONE = 'predictions="0d", newest=1, hourly="0d", daily="0d"'
MODELS = ("prior", "logistic")


def tick(shop: Shop, event: str, last: str | None) -> Any:
    """Let an order come, and the answer to the last, and make a tick."""
    moment = event.split()[-1]
    shop.arrive(event + (f"\nlabel  {last}  {moment}  true" if last else ""))
    return shop.tick()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    with settled(tmp_path_factory.mktemp("retention"), mlflow_store) as shop:
        shop.define(TEXT.replace("Race, Schema", "Race, Retention, Schema"))
        shop.change("cadence=timedelta(hours=1)", "cadence=timedelta(minutes=1)")
        shop.change("    race=", f"    retention=Retention({NONE}),\n    race=")
        last = None
        for event in LIFE.strip().splitlines():
            tick(shop, event, last)
            last = event.split()[1]
        yield shop


@pytest.fixture
def shop(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(checkpoints, "_VERSIONS", {})  # what one test publishes is undone for the next
    with undone(lived, monkeypatch) as shop:
        yield shop
    with tracking.asking("close the database, in whose place another comes") as client:
        for store in (client._tracking_client.store, client._get_registry_client().store):
            store.engine.dispose()


def there() -> dict[int, tuple[str, int]]:
    """Return the versions that MLflow shows: their model and seq."""
    with tracking.asking("look") as client:
        found = client.search_model_versions("name='shop'")
    return {int(one.version): (one.tags["model"], int(one.tags["seq"])) for one in found}


def numbered(wanted: tuple[str, int], among: dict[int, tuple[str, int]] | None = None) -> int:
    """Return the newest version of a model at a seq."""
    return max(number for number, one in (among or there()).items() if one == wanted)


def rows(shop: Shop, query: str) -> list[Any]:
    """Ask MLflow's database."""
    with closing(sqlite3.connect(shop.place / "mlruns" / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def left(shop: Shop) -> dict[str, int]:
    """Count all that hangs on versions in MLflow."""
    tables = ("model_versions", "logged_models")
    found = {table: rows(shop, f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    found["tags"] = rows(shop, "SELECT count(DISTINCT version) FROM model_version_tags")[0][0]
    found["model tags"] = rows(shop, "SELECT count(DISTINCT model_id) FROM logged_model_tags")[0][0]
    found["outputs"] = rows(shop, "SELECT count(*) FROM inputs WHERE destination_type = 'MODEL_OUTPUT'")[0][0]
    found["folders"] = len(list((shop.place / "mlruns" / "artifacts" / "shop" / "models").iterdir()))
    return found


RULES = {
    NONE: {5},
    NONE.replace("newest=1", "newest=3"): {3, 4, 5},
    NONE.replace('predictions="0d"', 'predictions="10m"'): {4, 5},
    NONE.replace('predictions="0d"', 'predictions="30m"'): {3, 4, 5},
    NONE.replace('hourly="0d"', 'hourly="3h"'): {3, 5},
    NONE.replace('daily="0d"', 'daily="1d"'): {2, 5},
    "": {0, 1, 2, 3, 4, 5},
}


def goes(shop: Shop, rule: str = NONE) -> set[int]:
    """Return the versions that would be removed by a rule."""
    text = shop.path.read_text()
    shop.change(NONE, rule)
    report = maintain.maintain("shop", dry_run=True)
    shop.define(text)
    assert report.versions
    assert report.versions.kept == len(there()) - len(report.versions.versions)
    assert f"would remove {len(report.versions.versions)} versions" in str(report)
    return set(report.versions.versions)


def removed(shop: Shop) -> set[int]:
    """Return the versions on record as removed."""
    return set(shop.table("removals")["version"])


def test_a_rule_says_which_versions_stay_and_a_dry_run_tells(shop: Shop) -> None:
    before, stored = there(), left(shop)
    for rule, kept in RULES.items():
        assert {before[number] for number in goes(shop, rule)} == {(m, seq) for m in MODELS for seq in set(range(6)) - kept}, rule
    assert (there(), left(shop), removed(shop)) == (before, stored, set())


def interrupted(shop: Shop, event: str) -> None:
    """Let an order come, in a tick that is killed when its line-up is logged and nothing is predicted yet."""
    shop.arrive(event)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["millrace.infer"], "_predict", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            shop.tick()


def test_a_version_that_is_pinned_stays_and_afterwards_as_long_as_others(shop: Shop) -> None:
    pinned, young = numbered(("logistic", 1)), NONE.replace('predictions="0d"', 'predictions="30m"')
    assert pinned in goes(shop, young)
    control.pin("shop", pinned, "while we look")
    with tracking.asking("delete the alias as the page does") as client:
        client.delete_registered_model_alias("shop", "champion")
    assert pinned not in goes(shop), "its alias was deleted by hand"
    interrupted(shop, "event  e7  2026-01-06T10:50:00Z")
    control.pin("shop", None, "we have looked", off=True)
    assert pinned not in goes(shop), "an event is yet to ask it"
    assert shop.tick().problems == []
    assert pinned not in goes(shop, young), "it predicted e7"
    assert pinned in goes(shop)


def test_environments_beside_each_other_keep_their_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {numbered((model, 5)) for model in MODELS}
    interrupted(shop, "event  e7  2026-01-06T10:50:00Z")
    with monkeypatch.context() as patch:
        patch.setattr(models, "environment", lambda: "another")
        shop.tick()
        said = shop.table("predictions").filter(event_id="e7")["version"].to_list()
        tick(shop, "event  e8  2026-01-06T11:30:00Z", "e7")
    newest = {numbered((model, 6)) for model in MODELS}
    assert not here & goes(shop), "the other environment's are newer"
    assert not newest & goes(shop)
    assert set(said) <= goes(shop), "they are neither's newest"
    assert not set(said) & goes(shop, NONE.replace('predictions="0d"', 'predictions="1h"')), "they predicted e7, not those logged"


def test_what_is_decided_is_not_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    read, whole = Counter[str](), Table.read

    def counting(table: Table, *columns: Any, where: Any = None) -> pl.DataFrame:
        rows = whole(table, *columns, where=where)
        read[table.name] += rows.height
        return rows

    monkeypatch.setattr(maintain, "now", lambda: clock.now() + timedelta(days=9))
    gone, kept = goes(shop), shop.place / "root" / "shop" / ".remaining"
    assert maintain.maintain("shop").problems == []
    assert removed(shop) == gone
    monkeypatch.setattr(Table, "read", counting)
    remains, states = goes(shop), maintain._needed_states(maintain.MaintainReport("shop"))
    assert (remains, read["checkpoints"], read["removals"]) == (set(), 0, 0), "nothing is new"
    kept.write_bytes(kept.read_bytes()[:-9])
    assert (goes(shop), maintain._needed_states(maintain.MaintainReport("shop"))) == (remains, states), "it was torn"
    assert read["removals"] >= len(gone)
    maintain.maintain("shop")
    read.clear()
    tick(shop, "event  e7  2026-01-06T10:50:00Z", "e6")  # by a clock that stands before what was decided
    assert goes(shop) == {numbered((model, 5)) for model in MODELS}
    newest = Table("shop", "checkpoints").read(where=pl.col("seq") == 6)
    assert set(newest["sha256"]) <= maintain._needed_states(maintain.MaintainReport("shop"))


def test_all_of_a_version_goes_and_what_it_said_is_made_again_from_the_log(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = there()
    tried = numbered(("logistic", 1))
    Registry(catalog.load("shop")).alias("tried", tried)
    states = {path.stem for path in (shop.place / "root" / "shop" / "states").iterdir()}
    monkeypatch.setattr(maintain, "now", lambda: clock.now() + timedelta(days=9))
    report = maintain.maintain("shop")
    assert report.problems == []
    stays = {number: one for number, one in before.items() if one[1] == 5 or number == tried}
    assert there() == stays
    assert removed(shop) == set(before) - set(stays)
    assert left(shop) == dict.fromkeys(left(shop), 3)
    assert report.states > 8, "states of versions that are removed stay no longer than others"
    assert len(states) > 8
    again = maintain.maintain("shop")
    assert again.versions
    assert (again.versions.versions, again.orphans) == ([], 0)

    told = explain("shop", "e3")
    assert told.problems == []
    said = {one.model: one for one in told.predictions}
    assert said["prior"].note == f"v{said['prior'].version} was removed by retention, and rebuilt by replay"
    assert [again.same for again in said["prior"].remade] == [True]
    assert [again.same for again in said["logistic"].remade] == [True, True], "this one was held by an alias"
    proven = verify("shop")
    assert proven.problems == []
    assert "9 were removed by retention, and can be built again from the log" in str(proven)
    assert "11 by versions removed by retention not compared" in str(proven)

    with pytest.raises(UsageError, match="was removed by retention; make it again: millrace replay shop prior --to 3"):
        control.pin("shop", numbered(("prior", 3), before), "as it was")
    made = publish_at("shop", "prior", 3)
    assert made.version == max(before) + 1, "a version that was removed is made anew, and no number comes twice"
    tick(shop, "event  e7  2026-01-06T10:50:00Z", "e6")
    assert shop.status().problems == []
    assert max(there()) == max(before) + 3
    assert maintain.maintain("shop").problems == []
    assert made.version in there(), "what a person made stays"


def test_what_was_cut_off_is_completed_by_the_next(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for killed in ("_remove_rows", "_remove_files", "_remove_models", "_remove_versions"):
        with monkeypatch.context() as patch:
            patch.setattr(removal, killed, lambda *_: (_ for _ in ()).throw(Crash))
            with pytest.raises(Crash):
                maintain.maintain("shop")
    tick(shop, "event  e7  2026-01-06T10:50:00Z", "e6")
    assert verify("shop").problems == []
    assert maintain.maintain("shop").problems == []
    assert set(there().values()) == {(model, 6) for model in MODELS}
    assert left(shop) == dict.fromkeys(left(shop), 2)


def test_a_tick_goes_on_in_the_midst_of_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, remove = [("event  e7  2026-01-06T10:50:00Z", "e6")], removal._remove_files

    def removing(*arguments: Any) -> None:
        if waiting:
            assert tick(shop, *waiting.pop()).problems == []
        remove(*arguments)

    monkeypatch.setattr(removal, "_remove_files", removing)
    assert maintain.maintain("shop").problems == []
    assert set(there().values()) == {(model, seq) for model in MODELS for seq in (5, 6)}
    registry = Registry(catalog.load("shop"))
    assert there()[registry.version_of("champion") or 0] == ("prior", 6)


@pytest.mark.parametrize("what", ["version", "logged model"])
def test_a_version_that_somebody_deletes_is_published_again(shop: Shop, what: str) -> None:
    registry = Registry(catalog.load("shop"))
    number, before = registry.version_of("champion") or 0, there()
    with tracking.asking("delete as the page does") as client:
        if what == "version":
            client.delete_model_version("shop", str(number))
        else:
            client.delete_logged_model(str(client.get_model_version("shop", str(number)).source).removeprefix("models:/"))
    shop.change("cadence=timedelta(minutes=1)", "cadence=timedelta(days=100)")  # nothing else is due
    report = tick(shop, "event  e7  2026-01-06T10:50:00Z", None)
    assert report.problems == []
    assert f"v{number} of prior was deleted in MLflow, and the model is published again" in str(report)
    newest = registry.version_of("champion")
    assert newest == registry.version_of("prior") == max(before) + 1
    assert there()[newest] == before[number], "the same state"
    assert verify("shop").problems == []
    shop.arrive("event  f  2026-01-06T11:00:00Z")
    assert shop.tick().infer.versions["prior"] == newest  # type: ignore[union-attr]


def drawn() -> int:
    """Up to where MLflow draws the loss of logistic."""
    with tracking.asking("look") as client:
        [run] = client.search_runs(["1"], "tags.model = 'logistic'")
        return int(client.get_metric_history(run.info.run_id, "loss")[-1].step)


def pinned_and_deleted(shop: Shop) -> int:
    """Pin the version of seq 1, and let somebody delete it in MLflow."""
    number = numbered(("logistic", 1))
    control.pin("shop", number, "audit")
    with tracking.asking("delete as the page does") as client:
        client.delete_model_version("shop", str(number))
    return number


def test_a_pinned_version_that_somebody_deletes_is_published_again_and_the_pin_follows(shop: Shop) -> None:
    number = pinned_and_deleted(shop)
    newest = max(there())
    report = tick(shop, "event  e7  2026-01-06T10:50:00Z", "e6")
    assert report.problems == []
    again = Registry(catalog.load("shop")).version_of("champion") or 0
    said = (
        f"v{number} of logistic, which is pinned, was deleted in MLflow: it is published again as v{again}, which is pinned now"
    )
    assert said in str(report)
    assert again > newest and there()[again] == ("logistic", 1), "the same state"
    found = shop.status()
    assert found.served == f"logistic v{again}" and found.pinned
    assert found.pinned["reason"] == f"audit (v{number} was deleted in MLflow)"
    report = tick(shop, "event  e8  2026-01-06T10:55:00Z", "e7")
    assert (report.problems, report.infer.served) == ([], again)
    assert not shop.pending() or (shop.tick().problems == [] and not shop.pending())
    assert verify("shop").problems == []


def test_a_pinned_version_that_was_its_models_newest_is_published_again_once(shop: Shop) -> None:
    number = numbered(("logistic", 5))
    control.pin("shop", number, "audit")
    with tracking.asking("delete as the page does") as client:
        client.delete_model_version("shop", str(number))
    shop.change("cadence=timedelta(minutes=1)", "cadence=timedelta(days=100)")  # nothing else is due
    before = set(there())
    assert tick(shop, "event  e7  2026-01-06T10:50:00Z", None).problems == []
    [again] = set(there()) - before
    assert shop.status().served == f"logistic v{again}"
    assert Registry(catalog.load("shop")).version_of("champion") == again


def test_a_version_in_service_whose_state_is_gone_as_well_is_told_once_with_what_to_do(shop: Shop) -> None:
    number = pinned_and_deleted(shop)
    sha256 = shop.table("checkpoints").filter(version=number)["sha256"][0]
    (shop.place / "root" / "shop" / "states" / f"{sha256}.pkl").unlink()
    before = drawn()
    shop.arrive("label  e6  2026-01-06T18:30:00Z  true")
    [problem] = shop.tick().problems
    assert f"v{number} of logistic, which is pinned, was deleted in MLflow, and cannot be published again: the state" in problem
    assert "run: millrace replay shop logistic --to 1, and pin what it makes (millrace pin shop vN --reason …)" in problem
    assert problem in shop.status().problems
    assert drawn() > before, "metrics are logged all the same"
    assert shop.tick().problems == [] and not shop.pending()
    shop.arrive("event  e7  2026-01-06T18:40:00Z")
    with pytest.raises(MillraceError, match=f"v{number} of logistic was deleted in MLflow, and the state .* is gone; .*--off"):
        shop.tick()
    made = publish_at("shop", "logistic", 1)
    assert made.version and made.version > number, "what was deleted is not told as a version that is there"
    control.pin("shop", made.version, "audit")
    assert shop.tick().problems == []
    assert shop.status().served == f"logistic v{made.version}"


def test_metrics_are_logged_whatever_becomes_of_the_aliases(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RegistryError("MLflow refuses")

    before = drawn()
    monkeypatch.setattr(Registry, "alias", refuse)
    assert tick(shop, "event  e7  2026-01-06T18:30:00Z", "e6").problems == ["MLflow refuses"]
    assert drawn() > before


def test_where_a_run_was_deleted_another_has_the_whole_race(shop: Shop) -> None:
    with tracking.asking("delete as the page does") as client:
        [run] = client.search_runs(["1"], "tags.model = 'logistic'")
        line = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")]
        client.delete_run(run.info.run_id)
        assert len(line) > 1
        assert tick(shop, "event  e7  2026-01-06T18:30:00Z", "e6").problems == []
        [run] = client.search_runs(["1"], "tags.model = 'logistic'")
        again = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")]
    assert again[:-1] == line
    assert again[-1][0] > line[-1][0]


def test_an_experiment_that_was_deleted_is_named_and_made_up_for_when_it_is_restored(shop: Shop) -> None:
    with tracking.asking("delete as the page does") as client:
        client.delete_experiment("1")
        report = tick(shop, "event  e7  2026-01-06T10:50:00Z", "e6")
        assert "`mlflow experiments restore -x 1`" in report.problems[0]
        assert shop.status().models["logistic"].seq == 6, "the tick kept its work"
        client.restore_experiment("1")
        assert tick(shop, "event  f  2026-01-06T11:00:00Z", "e7").problems == []
    assert max(seq for _, seq in there().values()) == 7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"predictions": 30}, r"retention: predictions=30 has no unit; write '30d' or timedelta\(days=30\)"),
        ({"hourly": "soon"}, "retention: hourly='soon': 'soon' is no length of time"),
        ({"daily": timedelta(-1)}, "retention: daily=.* must not be negative"),
        ({"newest": 0}, "retention: newest=0 must be a whole number, 1 or more"),
    ],
)
def test_a_rule_that_cannot_be_right_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        Retention(**given)
