"""Do the flows do what the plain functions do, and is what fails told and holds up nothing else? On a real Prefect server."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from millrace.ingest import ingest
from millrace.run import run
from millrace.status import status
from millrace.tables import Table
from tests.conftest import CHECKOUT
from tests.shop import TEXT, Shop

pytestmark = [
    # Prefect's client leaves a socket to the garbage collector; nothing of ours does.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FLOWS = (
    "explain",
    "feed",
    "infer",
    "ingest",
    "learn",
    "maintain",
    "pause",
    "pin",
    "promote",
    "replay",
    "rollback",
    "run",
    "validate",
)
ORDERS = """
    event  a  10:00  amount=10 country=DE
    event  b  10:01  amount=900 country=FR
    label  a  11:00  true
    event  c  11:30  amount=20 country=DE
    label  b  12:00  false
    label  c  12:30  true
"""
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BROKEN_MODEL = "def broken():\n    raise ValueError('no such luck')\n\n\ndataset = Dataset("


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Prefect server for all of these tests, and the flows as they are where the only dataset is ``shop``."""
    from prefect import settings
    from prefect.testing.utilities import prefect_test_harness

    folder = tmp_path_factory.mktemp("flows")
    (folder / "shop.py").touch()
    updates = {settings.PREFECT_HOME: folder / "prefect", settings.PREFECT_LOGGING_TO_API_ENABLED: False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_DATASETS", str(folder))  # the names in the forms are fixed when the flows are imported
        for name in [n for n in sys.modules if n.partition(".")[0] in ("flows", "tasks")]:
            del sys.modules[name]
        found = {name: getattr(importlib.import_module(f"flows.{name}"), name) for name in FLOWS}
    with settings.temporary_settings(updates), prefect_test_harness(server_startup_timeout=120):
        yield SimpleNamespace(**found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # the sockets that Prefect's clients left open, before other tests would be blamed for them


def state_of(flow: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
    """Run a flow; return the state that it ends in."""

    async def awaited() -> Any:
        return await flow(*arguments, **named, return_state=True)

    return asyncio.run(awaited())


def tasks_of(state: Any, expected: int) -> dict[str, str]:
    """Return the state of each task that a run started, by the task's name; they are recorded a moment after they end."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async def read(run_id: UUID) -> dict[str, str]:
        async with get_client() as client:
            found = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            return {one.name: one.state_name or "" for one in found}

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = asyncio.run(read(state.state_details.flow_run_id))
        if len(found) >= expected and not {"Pending", "Running"} & set(found.values()):
            return found
        time.sleep(0.2)
    raise AssertionError(f"expected {expected} tasks, found {found}")


def artifact(key: str) -> str:
    """Return the newest artifact of a key."""
    from prefect.artifacts import Artifact

    found = asyncio.run(Artifact.aget(key))
    assert found is not None, key
    return str(found.data)


def outcome(name: str) -> tuple[Any, ...]:
    """Return what must not depend on who started the stages."""
    found = status(name)
    models = {model: (one.seq, one.digest, one.predictions) for model, one in found.models.items()}
    said = Table(name, "predictions").read("arrival", "model", "version", "seq", "served", "answered").sort("arrival", "model")
    log = Table(name, "examples").read("seq", "event_id", "label", "x").rows()
    return models, log, said.rows(), found.rows, found.events, found.labels


@pytest.mark.parametrize("names", [("ingest", "infer", "learn"), ("run",)], ids=["stages", "run"])
def test_the_flows_do_what_the_functions_do(
    flows: Any, shop: Shop, mlflow_store: Path, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = [ORDERS, "event  d  13:00  amount=700 country=IT\nlabel  d  14:00  false"]
    for arriving in ticks:
        shop.arrive(arriving)
        for name in names:
            assert state_of(getattr(flows, name), "shop").is_completed()
    by_flows = outcome("shop")
    assert [(event, label) for _, event, label, _ in by_flows[1]] == [("a", True), ("b", False), ("c", True), ("d", False)]

    twin = shop.place / "twin"
    (twin / "mlruns").mkdir(parents=True)
    shutil.copy(mlflow_store, twin / "mlruns" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{twin}/mlruns/mlflow.db")
    for folder in ("root", "cache", "outbox", "landing"):
        monkeypatch.setenv(f"MILLRACE_{folder.upper()}", str(twin / folder))
    for arriving in ticks:
        shop.arrive(arriving)
        run("shop")
    assert outcome("shop") == by_flows


def test_the_replay_flow_proves_and_fails_where_a_state_is_lost_until_it_is_built_again(flows: Any, shop: Shop) -> None:
    shop.arrive(ORDERS)
    run("shop")
    assert state_of(flows.replay, "shop", verify=True).is_completed()
    for path in (shop.place / "root" / "shop" / "states").iterdir():
        path.unlink()
    shop.arrive("event  d  13:00  amount=700 country=IT\nlabel  d  14:00  false")
    assert "millrace replay shop" in str(state_of(flows.run, "shop").message)
    assert state_of(flows.replay, "shop").is_completed()
    assert state_of(flows.run, "shop").is_completed()
    assert status("shop").models["logistic"].seq == 4


def test_every_question_about_the_past_can_be_asked_in_a_form(flows: Any, shop: Shop) -> None:
    shop.arrive(ORDERS)
    assert state_of(flows.run, "shop").is_completed()
    before = shop.digests()
    for asked in ({"verify": True, "every": True}, {"model": "logistic", "to": "2"}, {"backfill": True}, {"what_if": True}):
        assert state_of(flows.replay, "shop", **asked).is_completed(), asked
    assert state_of(flows.validate, "shop", ["logistic"], cadences=["label", "1h"], what_if=True).is_completed()
    assert state_of(flows.explain, "shop", "b").is_completed()
    assert "--verify and --what-if are different questions" in str(
        state_of(flows.replay, "shop", verify=True, what_if=True).message
    )
    assert shop.digests() == before
    versions = Table("shop", "checkpoints").read("version", "model", "seq").drop_nulls("version").sort("version")
    assert versions.row(-1)[1:] == ("logistic", 2)
    assert "| logistic | 1h |" in artifact("validate-shop")
    assert artifact("validate-shop-picture").startswith("data:image/png;base64,")
    assert "have what-if features" in artifact("replay-shop")
    assert "examples: 3 of 3 compared and the same" in artifact("verify-shop")


def test_orders_are_given_in_forms_and_a_paused_dataset_goes_on_serving(flows: Any, shop: Shop) -> None:
    shop.arrive(ORDERS)
    assert state_of(flows.run, "shop").is_completed()
    assert state_of(flows.promote, "shop", dry_run=True).is_completed()
    assert state_of(flows.promote, "shop", "logistic", "looks better").is_completed()
    assert state_of(flows.rollback, "shop", "it was not").is_completed()
    assert state_of(flows.pin, "shop", "audit", "logistic").is_completed()
    paused = state_of(flows.pause, "shop", "wrong labels")
    assert tasks_of(paused, 1) == {"pause-shop": "Completed"}
    assert "learning is paused" in artifact("pause-shop")
    assert "shop is paused since" in str(state_of(flows.pause, "shop", "again").message)
    shop.arrive("event  d  13:00  amount=700 country=IT\nlabel  d  14:00  false")
    assert set(tasks_of(state_of(flows.run, "shop"), 5)) == {
        f"{one}-shop" for one in ("ingest", "infer", "mature", "score", "publish")
    }
    found = status("shop")
    assert (found.examples, found.models["logistic"].predictions, found.champion) == (3, 4, "prior")
    assert found.pinned and found.served == f"logistic v{found.pinned['version']}"
    assert state_of(flows.pause, "shop", "corrected", off=True).is_completed()
    assert state_of(flows.run, "shop").is_completed()
    assert status("shop").examples == 4


def test_a_long_fold_shows_how_far_it_has_come(flows: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.artifacts import Artifact

    monkeypatch.setattr("millrace.fold.CHUNK", 1)
    shop.arrive(ORDERS)
    assert state_of(flows.run, "shop").is_completed()
    artifact = asyncio.run(Artifact.aget("fold-shop-logistic"))
    assert artifact is not None
    assert (artifact.type, artifact.data) == ("progress", 100.0)


def test_a_run_leaves_its_tasks_and_artifacts_and_a_run_with_nothing_new_starts_none(flows: Any, shop: Shop) -> None:
    shop.change("window=timedelta(days=1)", "")  # an answer is final when it is there
    shop.arrive(ORDERS)
    first, second = state_of(flows.run, "shop"), state_of(flows.run, "shop")
    stages = ("ingest", "infer", "join", "mature", "fold", "score", "publish")
    named = {f"{stage}-shop{f'-{model}' if model else ''}" for stage in stages for model in _models(stage)}
    assert tasks_of(first, len(named)) == dict.fromkeys(named, "Completed")
    assert second.is_completed()
    assert tasks_of(second, 0) == {}

    assert "3 events, 3 labels" in artifact("ingest-shop")
    assert "3 events by 2 models" in artifact("infer-shop")
    assert "| logistic |" in artifact("score-shop")


def _models(stage: str) -> tuple[str, ...]:
    return ("logistic", "prior") if stage == "fold" else ("",)


def test_all_that_are_due_are_ticked_and_a_broken_file_is_named_at_the_end(flows: Any, shop: Shop) -> None:
    folder = shop.place / "datasets"
    (folder / "bakery.py").write_text(TEXT)
    (folder / "a_broken_one.py").write_text("dataset = 1\n")
    shop.arrive(ORDERS)
    shutil.copytree(shop.place / "landing" / "shop", shop.place / "landing" / "bakery")
    state = state_of(flows.run)
    assert state.is_failed()
    assert "a_broken_one.py" in state.message
    assert "write dataset = Dataset(…)" in state.message
    assert [status(name).models["logistic"].seq for name in ("bakery", "shop")] == [3, 3]
    (folder / "a_broken_one.py").unlink()
    shop.arrive("event  d  13:00")
    assert state_of(flows.run).is_completed()
    assert shop.status().events == 3, "neither is due again within its hour"


def test_a_model_that_cannot_be_built_holds_up_no_other(flows: Any, shop: Shop) -> None:
    shop.change("dataset = Dataset(", BROKEN_MODEL)
    shop.change('{"logistic": logistic}', '{"broken": broken, "logistic": logistic}')
    shop.arrive(ORDERS)
    state = state_of(flows.run, "shop")
    assert state.is_failed()
    assert "no such luck" in state.message
    assert shop.status().models["logistic"].seq == 3
    assert shop.status().models["logistic"].predictions == 3
    told = tasks_of(state, 8)
    assert [name for name, ended in told.items() if ended != "Completed"] == ["fold-shop-broken"]


def test_an_event_whose_features_cannot_be_computed_is_told_and_holds_up_no_learning(flows: Any, shop: Shop) -> None:
    shop.change('pl.col("country")]', 'pl.col("country").replace_strict({"DE": "D", "FR": "F"})]')
    shop.change('known=["DE", "FR", "IT"]', "")
    shop.arrive(ORDERS)
    shop.arrive("event  x  12:40  country=IT")
    state = state_of(flows.run, "shop")
    assert state.is_failed()
    assert "the features of event 'x' cannot be computed" in state.message
    assert shop.status().models["logistic"].seq == 3
    assert tasks_of(state, 7)["infer-shop"] == "Completed"


def test_without_mlflow_all_else_is_done_and_the_next_tick_publishes(
    flows: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["tasks.run"]
    monkeypatch.setattr(module, "publish", module.publish.with_options(retry_delay_seconds=0))
    shop.arrive("event  a  10:00\nlabel  a  11:00  true")
    assert state_of(flows.run, "shop").is_completed()
    shop.arrive("event  b  13:00\nlabel  b  14:00  false")
    reachable = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/mlflow.db")
    state = state_of(flows.run, "shop")
    assert state.is_failed()
    assert "MLflow" in state.message
    assert shop.status().models["logistic"].seq == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", reachable)
    assert state_of(flows.run, "shop").is_completed()


def test_stored_data_arrives_again(flows: Any, shop: Shop) -> None:
    order = {"event_id": "a", "event_time": NOON, "amount": 1.0, "country": "DE", "label": True, "label_time": NOON}
    pl.DataFrame([order]).write_parquet(shop.place / "datasets" / "stored.parquet")
    shop.change('loss="log",', 'loss="log", history="stored.parquet",')
    assert state_of(flows.feed, "shop").is_completed()
    report = ingest("shop")
    assert (report.events, report.labels) == (1, 1)


def test_what_is_due_is_maintained_and_a_broken_file_is_named(flows: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import millrace.maintain

    for orders in (ORDERS, "event  d  13:00", "event  e  13:01"):
        shop.arrive(orders)
        shop.tick()
    log, before = shop.log(), _files()
    assert state_of(flows.maintain).is_completed()
    assert _files() == before, "nothing is due"
    monkeypatch.setattr(millrace.maintain, "SMALL_FILES", 2)
    (shop.place / "datasets" / "broken.py").write_text("dataset = 1\n")
    state = state_of(flows.maintain)
    assert state.is_failed()
    assert "broken.py" in state.message
    assert tasks_of(state, 1) == {"maintain-shop": "Completed"}
    assert _files() == {name: number + 1 for name, number in before.items()}, "one that holds all; the others stay for days"
    assert shop.log() == log
    assert state_of(flows.maintain, "shop").is_completed()


def _files() -> dict[str, int]:
    root = Path(os.environ["MILLRACE_ROOT"]) / "shop"
    return {name: len(list((root / name).glob("*.parquet"))) for name in ("events", "files")}


_NEEDED = {"explain": {"event_id": "a"}} | {name: {"reason": "why not"} for name in ("rollback", "pin", "pause")}


@pytest.mark.parametrize("name", FLOWS)
def test_an_unknown_dataset_is_refused_before_anything_runs(flows: Any, shop: Shop, name: str) -> None:
    from prefect.exceptions import ParameterTypeError

    with pytest.raises(ParameterTypeError, match=r"Input should be .*'shop'"):
        asyncio.run(getattr(flows, name)("shpo", **_NEEDED.get(name, {})))
    assert not list((shop.place / "root").iterdir())


@pytest.mark.parametrize("name", [*FLOWS, "demo"])
def test_a_flow_is_sentences(name: str) -> None:
    """A flow's body is its docstring, and calls one after another: what is decided is decided in ``tasks`` or ``millrace``."""
    tree = ast.parse((CHECKOUT / "flows" / f"{name}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef)]
    assert [function.name for function in functions] == [name]
    logic = (ast.If, ast.IfExp, ast.While, ast.Try, ast.Lambda, ast.Compare, ast.BoolOp, ast.Match, ast.Raise, ast.FunctionDef)
    for node in ast.walk(functions[0]):
        assert not isinstance(node, logic), f"{name}.py:{getattr(node, 'lineno', 0)} decides something"
    assert len(functions[0].body) <= 5
