"""How does a model get to MLflow, and how is it found there?"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millrace import catalog, state, tables, tracking
from millrace.errors import RegistryError
from millrace.registry import Registry, Version

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]

TEXT = '''"""Is this page phishing?"""

import polars as pl
from river import linear_model

from millrace import Dataset, Schema


def logistic():
    return linear_model.LogisticRegression()


dataset = Dataset(
    task="binary",
    event=Schema({"dots": pl.Float64}),
    label=pl.Boolean,
    features=[pl.col("dots")],
    models={"logistic": logistic, "other": logistic},
    loss="log",
)
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SQLite store, which takes seconds to make, and of the datasets."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "datasets").mkdir()
    for name in ("phishing", "shared", "renamed", "gone"):
        (folder / "datasets" / f"{name}.py").write_text(TEXT)
    return folder


@pytest.fixture(autouse=True)
def environment(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlruns/mlflow.db")
    monkeypatch.setenv("MILLRACE_DATASETS", str(store / "datasets"))
    monkeypatch.setenv("MILLRACE_ROOT", str(store / "root"))
    yield
    for name in ("phishing", "shared", "renamed", "gone"):
        sys.modules.pop(f"{catalog.PACKAGE}.{name}", None)


@pytest.fixture
def registry() -> Registry:
    return Registry(catalog.load("phishing"))


def client() -> Any:
    with tracking.asking("look") as found:
        return found


def learned(examples: int = 9) -> bytes:
    model: Any = catalog.load("phishing").models["logistic"]()
    for i in range(examples):
        model.learn_one({"dots": float(i)}, i % 2 == 0)
    return state.slim(model)


def begin(registry: Registry, model: str = "logistic", last: str | None = None) -> str:
    tables.create(registry.dataset)
    return registry.run(model, last, tables.Table(registry.dataset.name, "examples"))


def publish(registry: Registry, run: str, model: str = "logistic", seq: int = 9, data: bytes | None = None) -> Version:
    data = learned(seq) if data is None else data
    sha256 = hashlib.sha256(data).hexdigest()
    return registry.publish(
        model,
        data,
        seq=seq,
        fingerprint="f" * 64,
        sha256=sha256,
        digest="d" * 64,
        run_id=run,
        description=f"**{model}** after {seq} examples",
        tags={"environment": "cpython 3.11"},
    )


def test_a_version_says_what_it_is(registry: Registry) -> None:
    run = begin(registry)
    version = publish(registry, run)
    found = client().get_model_version("phishing", str(version.number))
    assert found.run_id == run == version.run_id
    assert found.source == f"models:/{version.model_id}"
    assert found.description == "**logistic** after 9 examples"
    assert found.tags == {"model": "logistic", "seq": "9", "fingerprint": "f" * 64}
    logged = client().get_logged_model(version.model_id)
    known = {"sha256": hashlib.sha256(learned()).hexdigest(), "digest": "d" * 64, "environment": "cpython 3.11"}
    assert {name: logged.tags[name] for name in known} == known
    assert (logged.name, str(logged.status), logged.source_run_id) == ("logistic-9", "READY", run)
    assert [output.model_id for output in client().get_run(run).outputs.model_outputs] == [version.model_id]


def test_the_registered_model_and_the_experiment_explain_themselves(registry: Registry, store: Path) -> None:
    publish(registry, begin(registry))
    model = client().get_registered_model("phishing")
    assert model.description.startswith("Is this page phishing?")
    assert "| `champion` | the version in service |" in model.description
    experiment = client().get_experiment_by_name("phishing")
    assert experiment.artifact_location == (store / "mlruns" / "artifacts" / "phishing").as_uri()
    assert experiment.tags["mlflow.note.content"] == "Is this page phishing?"
    assert registry.pages() == {
        "race": f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART",
        "model": "/#/models/phishing?workflowType=machine_learning",
    }


def test_the_bytes_come_back_as_they_were(registry: Registry) -> None:
    version = publish(registry, begin(registry), data=learned(5))
    assert registry.download(version.number) == learned(5)


def test_anyone_loads_the_champion_with_mlflow_alone(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc
    import pandas as pd

    version = publish(registry, begin(registry), seq=20)
    registry.alias("champion", version.number)
    monkeypatch.setenv("MILLRACE_ROOT", str(tmp_path))  # on another machine, where there are no tables
    answer = mlflow.pyfunc.load_model("models:/phishing@champion").predict(
        pd.DataFrame({"event_time": [datetime(2013, 1, 1, tzinfo=UTC)], "dots": [3]})
    )
    expected = state.load(learned(20)).predict_proba_one({"dots": 3.0})
    assert answer["proba_True"].to_list() == [expected[True]]


def test_an_alias_moves(registry: Registry) -> None:
    assert registry.version_of("other") is None
    run = begin(registry, "other")
    first, second = publish(registry, run, "other", 1), publish(registry, run, "other", 2)
    registry.alias("other", first.number)
    registry.alias("champion", first.number)
    registry.alias("other", second.number)
    assert registry.version_of("champion") == first.number
    assert registry.version_of("other") == second.number


def test_of_what_was_never_published_there_are_no_aliases() -> None:
    assert Registry(catalog.load("gone")).version_of("champion") is None


def test_a_model_has_one_run_which_names_what_it_learns_from(registry: Registry, store: Path) -> None:
    first = begin(registry)
    assert begin(registry, last=first) == first
    found = client().get_run(first)
    assert (found.info.run_name, found.info.status) == ("logistic", "RUNNING")
    [learned_from] = found.inputs.dataset_inputs
    assert (learned_from.dataset.name, learned_from.dataset.source_type) == ("phishing examples", "delta_table")
    assert learned_from.dataset.digest == "v0"
    assert json.loads(learned_from.dataset.source)["path"] == str(store / "root" / "phishing" / "examples")


def test_a_run_that_ended_is_taken_up_again(registry: Registry) -> None:
    run = begin(registry)
    client().set_terminated(run)
    assert begin(registry, last=run) == run
    assert client().get_run(run).info.status == "RUNNING"
    registry.log_metrics(run, [(1, datetime(2013, 1, 1, tzinfo=UTC), {"loss": 0.5})])


@pytest.mark.parametrize("gone", ["deleted", "never"])
def test_where_a_run_is_gone_another_is_made(registry: Registry, gone: str) -> None:
    last = begin(registry) if gone == "deleted" else "0" * 32
    if gone == "deleted":
        client().delete_run(last)
    assert begin(registry, last=last) != last


def test_metrics_are_drawn_over_the_log(registry: Registry) -> None:
    run = begin(registry)
    at = datetime(2013, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    registry.log_metrics(run, [(100, at, {"loss": 0.5, "ROCAUC (7 days)": 0.75}), (200, at, {"loss": 0.25})])
    assert client().get_run(run).data.metrics == {"loss": 0.25, "ROCAUC _7 days_": 0.75}
    history = client().get_metric_history(run, "loss")
    assert [(point.step, point.value) for point in history] == [(100, 0.5), (200, 0.25)]
    assert history[0].timestamp == int(at.timestamp() * 1000)


def test_no_call_reads_the_versions_or_the_models_that_there_were(registry: Registry, request: pytest.FixtureRequest) -> None:
    import sqlalchemy
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlInput

    run = begin(registry)
    for seq in range(8):
        version = publish(registry, run, seq=seq)
    registry.alias("logistic", version.number)
    read: list[str] = []

    def note(row: Any, _: Any) -> None:
        read.append(type(row).__name__)

    for table in (SqlModelVersion, SqlInput):
        sqlalchemy.event.listen(table, "load", note)
        request.addfinalizer(partial(sqlalchemy.event.remove, table, "load", note))
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: publish(registry, run, seq=8),
        "run": lambda: begin(registry, last=run),
        "has": lambda: registry.has(version.number),
        "alias": lambda: registry.alias("logistic", version.number),
        "tag": lambda: registry.tag(version.number, "served", "by hand"),
        "rewrite": lambda: registry.rewrite(version.number, str.upper),
        "version_of": lambda: registry.version_of("logistic"),
        "download": lambda: registry.download(version.number),
        "log_metrics": lambda: registry.log_metrics(run, [(1, datetime(2013, 1, 1, tzinfo=UTC), {"loss": 0.5})]),
    }
    for name, call in calls.items():
        read.clear()
        call()
        assert len(read) <= (2 if name == "rewrite" else 1), name  # it reads what it changes
    read.clear()
    client().get_registered_model("phishing")
    assert len(read) >= 8  # what is counted is what such a call reads


def test_a_name_is_prefixed_where_the_store_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_NAMESPACE", "team")
    registry = Registry(catalog.load("renamed"))
    version = publish(registry, begin(registry))
    assert client().get_model_version("team-renamed", str(version.number)).tags["model"] == "logistic"


def test_the_store_is_ready_for_several_processes(registry: Registry, store: Path) -> None:
    begin(registry)
    with closing(sqlite3.connect(store / "mlruns" / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_publish_at_once(registry: Registry, store: Path) -> None:
    tables.create(catalog.load("shared"))
    registry.version_of("logistic")  # then MLflow's database is there
    script = (
        "import sys\n"
        "from millrace import catalog, state\n"
        "from millrace.tables import Table\n"
        "from millrace.registry import Registry\n"
        "dataset = catalog.load('shared')\n"
        "registry = Registry(dataset)\n"
        "data = state.slim(dataset.models['logistic']())\n"
        "run = registry.run(sys.argv[1], None, Table('shared', 'examples'))\n"
        "for seq in range(5):\n"
        "    version = registry.publish(sys.argv[1], data, seq=seq, fingerprint='f', sha256='s', digest='d',\n"
        "        run_id=run, description='', tags={})\n"
        "    registry.alias(sys.argv[1], version.number)\n"
        "    print(version.number)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    root = Path(tracking.__file__).parents[1]
    both = [
        subprocess.Popen([*command, name], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("logistic", "other")
    ]
    printed = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert [errors for _, errors in printed] == ["", ""]
    numbers = [int(line) for out, _ in printed for line in out.split()]
    assert sorted(numbers) == list(range(1, 11))
    registry = Registry(catalog.load("shared"))
    assert (registry.version_of("logistic"), registry.version_of("other")) == (numbers[4], numbers[9])


def test_mlflow_says_nothing(registry: Registry, capfd: pytest.CaptureFixture[str]) -> None:
    version = publish(registry, begin(registry))
    registry.alias("logistic", version.number)
    registry.download(version.number)
    assert capfd.readouterr() == ("", "")


def test_a_version_that_is_gone_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"could not download version 999 of phishing in MLflow at sqlite:///.*not found"):
        registry.download(999)


def test_a_version_whose_file_is_gone_is_named(registry: Registry, store: Path) -> None:
    version = publish(registry, begin(registry))
    [path] = store.glob(f"mlruns/artifacts/*/models/{version.model_id}/artifacts/model.pkl")
    path.unlink()
    with pytest.raises(RegistryError, match=f"could not download version {version.number} of phishing"):
        registry.download(version.number)


def test_a_deleted_experiment_is_named() -> None:
    registry = Registry(catalog.load("gone"))
    with tracking.asking("delete") as client:
        client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(RegistryError, match="the experiment gone was deleted; `mlflow experiments restore -x"):
        begin(registry)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////proc/nowhere/mlflow.db", "sqlite:////proc/nowhere/mlflow.db"),
        (
            "postgresql+psycopg2://me:secret@127.0.0.1:1/mlflow",
            "postgresql+psycopg2://me:***@127.0.0.1:1/mlflow",
        ),
        ("nonsense://there", "nonsense://there"),
    ],
)
def test_a_store_that_cannot_be_reached_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, uri: str, shown: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(RegistryError) as caught:
        begin(registry)
    assert f"could not begin a run of logistic of phishing in MLflow at {shown}: " in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_server_that_is_away_is_noticed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"MLflow at http://127\.0\.0\.1:1"):
        registry.version_of("champion")


def test_mlflows_own_way_works_beside_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from river import linear_model

    from millrace import flavor

    publish(registry, begin(registry))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "phishing")
    information = flavor.log_model(linear_model.LinearRegression(), "linear", tags={"by": "hand"})
    assert client().get_logged_model(information.model_id).name == "linear"
    assert type(flavor.load_model(information.model_uri)) is linear_model.LinearRegression
