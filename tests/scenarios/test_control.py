"""What becomes of what a person orders: promote, rollback, pin, pause; and of an alias that was moved by hand."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from click.testing import CliRunner

from millrace import catalog, cli, control, fold, interventions, promotions, race
from millrace.clock import now
from millrace.control import ControlReport, pause, pin, promote, rollback
from millrace.errors import MillraceError, UsageError
from millrace.explain import explain
from millrace.infer import infer
from millrace.ingest import ingest
from millrace.proof import verify
from millrace.registry import CHAMPION, Registry
from millrace.replay import replay
from millrace.tables import Table
from tests.conftest import settled
from tests.scenarios.test_crash import Crash
from tests.scenarios.test_upgrade import upgrade
from tests.shop import Shop


def orders(first: int, last: int) -> str:
    """Orders of some hours, then their answers: the dear ones are sent back."""
    hours = range(first, last + 1)
    events = [f"event e{i:02d} {i:02d}:00 amount={50 if i % 2 else 10}" for i in hours]
    return "\n".join([*events, *(f"label e{i:02d} {i:02d}:30 {'true' if i % 2 else 'false'}" for i in hours)])


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """A life that was lived once: the race has promoted nobody yet."""
    with settled(tmp_path_factory.mktemp("control"), mlflow_store) as shop:
        shop.change("minimum=5, cooldown=5", "minimum=7, cooldown=3")
        shop.change("labels=Labels(window=timedelta(days=1)),", "")
        for first, last in ((0, 2), (3, 5)):
            live(shop, first, last)
        # MLflow keeps its connection to a file that was undone, so what it says may be newer than what is known of it.
        (shop.place / "root" / "shop" / ".champion").unlink()
        yield shop


def crash(*_: Any) -> Any:
    """In place of a step before which the process is killed."""
    raise Crash


def live(shop: Shop, first: int, last: int) -> None:
    """Let orders arrive, and make a tick."""
    shop.arrive(orders(first, last))
    assert shop.tick().problems == []


def crowned(shop: Shop) -> list[tuple[int, str, str, str]]:
    """Who became champion: at which seq, instead of whom, why."""
    return [(one.seq, one.model, one.before, one.reason) for one in promotions.history(shop.name)]


def served(shop: Shop) -> dict[str, str]:
    """By whom each event was served: ``model vN``."""
    rows = shop.table("predictions").filter("served").select("event_id", "model", "version")
    return {event: f"{model} v{version}" for event, model, version in rows.iter_rows()}


def alias(shop: Shop) -> int | None:
    """The version that MLflow's alias names."""
    return Registry(catalog.load(shop.name)).version_of(CHAMPION)


def test_a_promotion_by_hand_serves_from_the_next_event_on_and_is_made_again(lived: Shop) -> None:
    report = promote("shop", "logistic", reason="looks better to me")
    assert str(report).startswith("logistic is champion: looks better to me")
    assert crowned(lived) == [(6, "logistic", "prior", "by hand: looks better to me")]
    version = lived.status().models["logistic"].version
    assert alias(lived) == version
    live(lived, 6, 7)
    assert served(lived)["e05"].startswith("prior") and served(lived)["e06"] == f"logistic v{version}"
    found = lived.status()
    assert (found.champion, found.champion_reason) == ("logistic", "by hand: looks better to me")


def test_the_rule_goes_on_after_the_cool_down(lived: Shop) -> None:
    promote("shop", "logistic", reason="try it")
    rollback("shop", reason="no")
    assert [(seq, model) for seq, model, *_ in crowned(lived)] == [(6, "logistic"), (6, "prior")]
    live(lived, 6, 13)
    assert [(seq, model) for seq, model, *_ in crowned(lived)][2:] == [(13, "logistic")]
    assert verify("shop").problems == []


def test_a_rollback_brings_back_the_champion_before(lived: Shop) -> None:
    with pytest.raises(UsageError, match="prior is the first champion of shop"):
        rollback("shop", reason="bad")
    promote("shop", "logistic", reason="try it")
    assert "prior is champion again, instead of logistic: it was worse" in str(rollback("shop", reason="it was worse"))
    assert lived.status().champion == "prior"
    rollback("shop", reason="it was not")
    assert lived.status().champion == "logistic"


def test_while_it_is_pinned_the_rule_promotes_nobody(lived: Shop) -> None:
    pin("shop", reason="holidays")
    live(lived, 6, 13)
    found = lived.status()
    assert (found.champion, crowned(lived)) == ("prior", [])
    assert found.pinned and found.pinned["reason"] == "holidays" and found.pinned["at"]
    assert found.models["prior"].version == alias(lived), "it is served as it learns"
    assert "nobody would take over, while it is pinned" in str(race.would("shop"))
    pin("shop", off=True, reason="over")
    assert lived.status().pinned is None
    live(lived, 14, 15)
    assert [(seq, model) for seq, model, *_ in crowned(lived)] == [(15, "logistic")]
    assert verify("shop").problems == []


def test_a_pinned_version_is_served_while_its_model_goes_on_as_a_shadow(lived: Shop) -> None:
    first = lived.status().models["logistic"].version
    assert first is not None
    pin("shop", f"v{first}", reason="audit")
    live(lived, 6, 8)
    live(lived, 9, 11)
    assert {by for event, by in served(lived).items() if event >= "e06"} == {f"logistic v{first}"}
    found = lived.status()
    assert (found.served, found.champion, alias(lived)) == (f"logistic v{first}", "prior", first)
    newest = found.models["logistic"].version
    assert newest is not None and newest > first
    rows = lived.table("predictions").filter(pl.col("event_id") == "e11", pl.col("model") == "logistic").sort("version")
    assert rows.select("origin", "served").rows() == [("pinned", True), ("live", False)]
    assert found.models["logistic"].labelled == 12, "the race counts the shadow, once an event"
    assert verify("shop").problems == []
    told = explain("shop", "e11")
    assert told.problems == [] and (told.predictions[0].origin, told.predictions[0].version) == ("pinned", first)
    served_by = (lived.place / "outbox" / "shop").glob("*.ndjson")
    lines = [orjson.loads(line) for path in sorted(served_by) for line in path.read_text().splitlines()]
    assert [line["event_id"] for line in lines] == [f"e{i:02d}" for i in range(12)]
    assert lines[-1]["version"] == first
    note = promote("shop", "logistic", reason="also").notes  # type: ignore[union-attr]
    assert note and f"serving stays pinned at v{first} (logistic)" in note[0]
    pin("shop", reason="audit is over", off=True)
    assert lived.status().served == f"logistic v{newest}" and alias(lived) == newest


def test_while_it_is_paused_events_are_served_and_answers_wait(lived: Shop) -> None:
    pause("shop", reason="labels are wrong at the source")
    before = lived.digests()
    live(lived, 6, 9)
    found = lived.status()
    assert lived.digests() == before and found.examples == 6
    assert served(lived)["e09"].startswith("prior")
    assert found.paused and found.paused["reason"] == "labels are wrong at the source"
    assert not [problem for problem in found.problems if "stands at seq" in problem]
    assert not lived.pending(), "a tick has nothing to do but to wait"
    pause("shop", reason="corrected", off=True)
    assert lived.pending()
    lived.tick()
    assert lived.log()[-1] == (10, "e09", True)
    assert verify("shop").problems == [], "the log of arrivals without a pause is this one, and its models are these"


def test_a_lost_race_is_built_again_with_what_was_ordered(lived: Shop) -> None:
    promote("shop", "logistic", reason="one")
    pin("shop", reason="stay")
    live(lived, 6, 7)
    rollback("shop", reason="two")
    before = crowned(lived)
    for path in (lived.place / "root" / "shop" / "states").iterdir():
        path.unlink()
    replay("shop")
    live(lived, 8, 15)
    assert crowned(lived) == before, "it is still pinned"


def test_an_order_whose_command_was_killed_is_obeyed_by_the_next_tick(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(control, "score", crash)
        promote("shop", "logistic", reason="now")
    assert lived.status().champion == "prior"
    assert lived.pending()
    lived.tick()
    assert lived.status().champion == "logistic" and not lived.pending()


def test_an_order_after_a_run_that_was_cut_off_stands_after_the_promotion_of_that_run(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.arrive(orders(6, 9))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(race, "_store", crash)
        lived.tick()
    one = promotions.latest("shop")
    assert one and one.model == "logistic" and lived.table("standings")["outcome"].max() == 6
    rollback("shop", reason="not yet")
    assert [(seq, model, before) for seq, model, before, _ in crowned(lived)] == [
        (7, "logistic", "prior"),
        (10, "prior", "logistic"),
    ]
    assert lived.status().champion == race.would("shop").champion == "prior"
    with pytest.raises(
        MillraceError, match="promotion 1 of shop is logistic instead of prior after outcome 7 on record, and prior"
    ):
        promotions.record(Table("shop", "promotions"), [replace(one, model="prior")])
    assert verify("shop").problems == []


def test_what_stands_is_taken_once_where_a_stretch_of_outcomes_ends(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    promote("shop", "logistic", reason="one")
    lived.change('models={"logistic": logistic}', 'models={"other": other}')
    live(lived, 6, 6)
    promote("shop", "other", reason="at the place where logistic is found to be gone")
    rollback("shop", reason="three")
    assert [(seq, model) for seq, model, *_ in crowned(lived)] == [(6, "logistic"), (7, "prior"), (7, "other"), (7, "prior")]
    live(lived, 7, 7)
    promote("shop", "other", reason="four")
    monkeypatch.setattr(race, "_OUTCOMES_AT_ONCE", 7)
    made = [one.number for _, promoted in race.again(catalog.load("shop"), 8) for one in promoted]
    assert made == [1, 3, 4, 5]


def test_a_pin_from_before_an_upgrade_gives_way_to_what_can_be_loaded(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    version = lived.status().models["logistic"].version
    pin("shop", f"v{version}", reason="audit")
    live(lived, 6, 6)
    lived.arrive(orders(7, 7))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(sys.modules["millrace.infer"], "_predict", crash)
        lived.tick()
    upgrade(monkeypatch)
    [problem, *_] = lived.tick().problems
    assert f"v{version} of logistic is pinned, and is not served: it was made in another environment (river 0." in problem
    newest = lived.status().models["logistic"].version
    assert newest and served(lived)["e07"].startswith("logistic v") and served(lived)["e07"] != f"logistic v{version}"
    found = lived.status()
    assert (found.served, alias(lived)) == (f"logistic v{newest}", newest)
    assert any("millrace replay shop logistic --to 6; until the pin is lifted" in problem for problem in found.problems)
    with pytest.raises(UsageError, match=f"v{version} of logistic cannot be served: it was made in another environment"):
        pin("shop", f"v{version}", reason="again")


def test_where_the_champion_does_not_predict_everyone_names_what_is_served(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    promote("shop", "logistic", reason="looks better to me")
    upgrade(monkeypatch)
    monkeypatch.setattr(fold, "COMMIT_EVERY", 3)
    lived.arrive(orders(6, 6))
    ingest("shop")
    infer("shop")
    found = lived.status()
    assert found.served == served(lived)["e06"] == f"prior v{alias(lived)}"
    assert found.champion == "logistic" and found.models["logistic"].version
    assert any("the champion 'logistic' does not predict: it has no version of this env" in problem for problem in found.problems)
    with pytest.raises(UsageError, match="logistic has no version to serve yet"):
        pin("shop", "logistic", reason="as it is")


def test_a_version_that_was_removed_is_not_pinned_and_one_that_was_pinned_holds_nothing_up(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = lived.table("checkpoints").filter(model="logistic").drop_nulls("version")["version"].sort().to_list()
    pin("shop", f"v{first}", reason="audit")
    lived.arrive(orders(6, 6))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(sys.modules["millrace.infer"], "_predict", crash)
        lived.tick()
    gone = {"number": [1, 2], "version": [first, second], "model": ["logistic"] * 2, "seq": [0, 3], "at": [now()] * 2}
    Table("shop", "removals").append(pl.DataFrame(gone), {"remove": 2, "removed": 2})
    why = "it was removed by retention; make it again: millrace replay shop logistic --to"
    with pytest.raises(UsageError, match=f"v{second} of logistic cannot be served: {why} 3"):
        pin("shop", f"v{second}", reason="audit")
    pin("shop", reason="over", off=True)
    told = f"v{first} was pinned when events came that are predicted now by what is served today: {why} 0"
    assert told in lived.tick().problems
    assert served(lived)["e06"].startswith("prior v")
    for path in lived.place.glob("root/shop/states/*.pkl"):
        path.write_bytes(b"torn")
    shutil.rmtree(lived.place / "mlruns" / "artifacts" / "shop" / "models")
    with pytest.raises(UsageError, match=r"(?s)cannot be loaded \(.*make it again: millrace replay shop logistic --to \d"):
        pin("shop", "logistic", reason="audit")


def test_an_order_that_is_given_while_the_race_is_scored_stands_after_what_was_scored(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived.arrive(orders(6, 7))
    scored, given = race._run, list[bool]()

    def interrupted(*arguments: Any) -> Any:
        found = scored(*arguments)
        if not given:
            given.append(True)
            with interventions.held("shop"):
                interventions.record("shop", "promote", "logistic", None, "meanwhile")
        return found

    monkeypatch.setattr(race, "_run", interrupted)
    lived.tick()
    assert [(seq, model) for seq, model, *_ in crowned(lived)] == [(6, "logistic")]
    assert verify("shop").problems == []


def test_an_alias_that_was_moved_by_hand_is_set_back_once_and_told(lived: Shop) -> None:
    promote("shop", "logistic", reason="looks better to me")
    right, registry = alias(lived), Registry(catalog.load("shop"))
    champion, other = lived.status().champion, lived.status().models["prior"].version
    assert champion == "logistic" and right and other
    registry.alias(CHAMPION, other)
    lived.arrive(orders(6, 6))
    [problem] = lived.tick().problems
    assert f"was moved by hand from v{right} to v{other}" in problem and f"millrace pin shop v{other} --reason" in problem
    assert alias(lived) == lived.status().models["logistic"].version
    assert problem in lived.status().problems
    done = pin("shop", other, reason="as was meant")
    assert isinstance(done, ControlReport) and done.problems == [], "it is told once"
    assert alias(lived) == other
    assert problem not in lived.status().problems
    live(lived, 7, 7)
    assert alias(lived) == other


def test_a_version_tells_in_mlflow_why_it_is_served(lived: Shop) -> None:
    from mlflow import MlflowClient

    def tags() -> dict[str, str]:
        return dict(MlflowClient().get_model_version("shop", str(alias(lived))).tags)

    promote("shop", "logistic", reason="looks better")
    assert tags()["served"] == "by hand: looks better"
    pin("shop", reason="holidays")
    assert "pinned since" in tags()["served"] and "holidays" in tags()["served"]
    pause("shop", reason="wrong labels")
    lived.tick()
    assert "wrong labels" in tags()["paused"]
    pause("shop", reason="right again", off=True)
    lived.tick()
    assert not tags().get("paused")


def test_a_version_that_was_there_before_its_model_was_promoted_tells_of_it(lived: Shop) -> None:
    from mlflow import MlflowClient

    def page() -> tuple[str, str, str]:
        version = MlflowClient().get_model_version("shop", str(alias(lived)))
        return version.tags["promoted"], version.tags["evidence"], version.description

    promote("shop", "logistic", reason="looks better")
    there = alias(lived)
    number, evidence, said = page()
    assert (number, evidence) == ("1", '{"intervention":1}')
    assert " Champion since seq 6, before it prior: by hand: looks better. State `" in said
    rollback("shop", reason="no")
    assert "Champion since seq 6, before it logistic: by hand: no. State `" in page()[2]
    promote("shop", "logistic", reason="yes")
    number, evidence, said = page()
    assert (alias(lived), number, evidence) == (there, "3", '{"intervention":3}')
    assert said.count("Champion since") == 1 and "by hand: yes. State `" in said


def test_a_models_alias_that_was_moved_by_hand_is_told_when_it_is_published_next(lived: Shop) -> None:
    registry, other = Registry(catalog.load("shop")), lived.status().models["prior"].version
    assert other
    registry.alias("logistic", other)
    lived.arrive(orders(6, 6))
    [problem] = lived.tick().problems
    newest = lived.status().models["logistic"].version
    assert f"MLflow's alias logistic was moved by hand to v{other}, and was set to v{newest}" in problem
    assert f"millrace pin shop v{other} --reason" in problem
    assert registry.version_of("logistic") == newest
    live(lived, 7, 7)


def test_where_nobody_moved_an_alias_each_is_asked_for_once_and_set_once(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    live(lived, 6, 6)
    calls = list[str]()

    def counted(name: str, call: Any) -> Any:
        def counting(*given: Any) -> Any:
            calls.append(name)
            return call(*given)

        return counting

    for name in ("version_of", "alias", "tag", "rewrite", "has"):
        monkeypatch.setattr(Registry, name, counted(name, getattr(Registry, name)))
    live(lived, 7, 7)
    assert sorted(calls) == ["alias"] * 3 + ["has"] * 2 + ["tag"] + ["version_of"] * 3


def test_an_alias_that_was_there_before_millrace_set_one_is_told(shop: Shop) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    client.create_registered_model("shop")
    client.create_model_version("shop", str(shop.place / "somewhere"))
    client.set_registered_model_alias("shop", "champion", "1")
    client.set_registered_model_alias("shop", "logistic", "1")
    shop.arrive("event  a  10:00")
    shop.arrive("label  a  11:00  true")
    report = shop.tick()
    assert report.problems == []
    assert "MLflow's alias logistic was there before Millrace had set it, at v1, and was set to v" in str(report)
    assert "alias champion was at v1, where it is not on record that Millrace set it, and was set to v" in str(report)
    assert alias(shop) == shop.status().models["prior"].version
    (shop.place / "root" / "shop" / ".champion").unlink()
    Registry(catalog.load("shop")).alias("champion", 1)
    shop.arrive("event  b  13:00")
    report = shop.tick()
    assert report.problems == [] and "alias champion was at v1, where it is not on record" in str(report)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("promote shop", "write --reason"),
        ("promote shop --reason x", "who is to be champion? name one of prior, logistic"),
        ("promote shop logistc --reason x", "did you mean 'logistic'?"),
        ("promote shop prior --reason x", "prior is the champion of shop already"),
        ("rollback shop --reason x", "there was none before it"),
        ("pin shop v99 --reason x", "unknown version 99 of shop: it is not on record in"),
        ("pin shop logistc --reason x", "did you mean 'logistic'?"),
        ("pin shop --off --reason x", "shop is not pinned"),
        ("pause shop --off --reason x", "shop is not paused"),
        ("pause shop --reason ", "write --reason"),
    ],
)
def test_what_cannot_be_ordered_is_said_and_nothing_is_recorded(
    life: Shop, monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    done = CliRunner().invoke(cli.millrace, [part if part != "x" else "why not" for part in command.split(" ")])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
    assert interventions.history("shop") == []


def test_commands_answer_in_text_and_json_and_status_shows_what_is_in_force(lived: Shop) -> None:
    runner = CliRunner()
    dry = runner.invoke(cli.millrace, ["promote", "shop", "--dry-run"], catch_exceptions=False)
    assert "nobody would take over" in dry.output and "lacks 1 labels of the minimum of 7" in dry.output
    assert interventions.history("shop") == []
    done = runner.invoke(cli.millrace, ["pin", "shop", "logistic", "--reason", "audit", "--json"], catch_exceptions=False)
    order = orjson.loads(done.output)["order"]
    assert (order["number"], order["action"], order["model"], order["reason"]) == (1, "pin", "logistic", "audit")
    runner.invoke(cli.millrace, ["pause", "shop", "--reason", "wrong"], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"shop is paused since .*: wrong"):
        pause("shop", reason="again")
    shown = runner.invoke(cli.millrace, ["status", "shop"], catch_exceptions=False).output
    assert "pinned at v" in shown and "audit" in shown and "paused since" in shown
    told = orjson.loads(runner.invoke(cli.millrace, ["status", "shop", "--json"], catch_exceptions=False).output)
    assert (told["pinned"]["reason"], told["paused"]["reason"]) == ("audit", "wrong")
    assert told["served"] == f"logistic v{told['models']['logistic']['version']}", "its newest version of then"
