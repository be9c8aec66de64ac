"""Does the flavor hold what MLflow's tests ask of its own flavors?

After those of its Prophet flavor: round trips, signatures and examples, logging and registration, environments, code, serving.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from river import anomaly, compose, linear_model, multiclass, naive_bayes, preprocessing, tree

from millrace import artifact_state, catalog, flavor, state
from millrace.errors import MillraceError
from millrace.replay import replay
from tests.conftest import CHECKOUT
from tests.shop import Shop

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),
]

XS = [{"a": float(i % 7), "b": float(i % 3)} for i in range(60)]
LABELS: dict[str, Any] = {
    "binary": [i % 7 > 3 for i in range(60)],
    "multiclass": [["low", "mid", "high"][i % 3] for i in range(60)],
    "regression": [i % 7 / 2 for i in range(60)],
}
MODELS: dict[str, tuple[str, Any]] = {
    "a classifier": ("binary", tree.HoeffdingTreeClassifier()),
    "several classes": ("multiclass", naive_bayes.GaussianNB()),
    "a pipeline": ("binary", preprocessing.StandardScaler() | linear_model.LogisticRegression()),
    "one against the rest": (
        "multiclass",
        preprocessing.StandardScaler() | multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    ),
    "a regressor": ("regression", linear_model.LinearRegression()),
    "a regressor in a union": ("regression", (compose.Select("a") + compose.Select("b")) | linear_model.LinearRegression()),
    "a detector": ("anomaly", preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)),
    "a filter": ("anomaly", preprocessing.MinMaxScaler() | anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=1), q=0.9)),
}


@pytest.fixture
def store(place: Path, mlflow_store: Path) -> Iterator[None]:
    """MLflow as a script uses it: with a store and an experiment that are set."""
    import mlflow

    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment("flavor")
    yield
    mlflow.set_tracking_uri(None)
    mlflow.tracking.fluent._active_experiment_id = None


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame(XS[:7])


def learned(kind: str) -> Any:
    task, model = MODELS[kind]
    model = model.clone()
    for place, x in enumerate(XS):
        model.learn_one(x) if task == "anomaly" else model.learn_one(x, LABELS[task][place])
    return model


def lines(folder: str | Path, name: str) -> list[str]:
    return (Path(folder) / name).read_text().split("\n")


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_and_its_pyfunc_answer_as_the_model_did(kind: str, tmp_path: Path) -> None:
    import mlflow.pyfunc

    model, (task, _) = learned(kind), MODELS[kind]
    flavor.save_model(model, tmp_path / "m", input_example=frame())
    native, served = flavor.load_model(str(tmp_path / "m")), mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert state.digest(native) == state.digest(model) == state.digest(served.get_raw_model())
    answer = served.predict(frame())
    if task == "anomaly":
        scores = [model.score_one(x) for x in XS[:7]]
        assert answer["prediction"].to_list() == scores
        assert ("anomaly" in answer) == (kind == "a filter")
    elif task == "regression":
        assert answer.to_dict("list") == {"prediction": [model.predict_one(x) for x in XS[:7]]}
    else:
        assert answer["prediction"].to_list() == [model.predict_one(x) for x in XS[:7]]
        for label in set(LABELS[task]):
            assert answer[f"proba_{label}"].to_list() == [model.predict_proba_one(x)[label] for x in XS[:7]]
        assert served.predict(frame(), params={"proba": False}).columns.to_list() == ["prediction"]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shown", [True, False])
def test_a_signature_and_an_example_are_kept_as_given(signed: bool, shown: bool, tmp_path: Path) -> None:
    from mlflow.models import Model, infer_signature
    from mlflow.models.utils import _read_example

    given = infer_signature(frame(), {"prediction": [0.5]}) if signed else None
    flavor.save_model(learned("a regressor"), tmp_path / "m", signature=given, input_example=frame() if shown else None)
    kept = Model.load(str(tmp_path / "m"))
    if signed:
        assert kept.signature == given
    else:
        assert (kept.signature and kept.signature.inputs.input_names()) == (["a", "b"] if shown else None)
    example = _read_example(kept, str(tmp_path / "m"))
    assert example.equals(frame()) if shown else example is None


def test_a_model_is_logged_with_a_run_and_without_one(store: None) -> None:
    import mlflow

    model = learned("a pipeline")
    alone = flavor.log_model(model, name="alone", tags={"of": "a test"}, params={"rate": 0.01})
    with mlflow.start_run() as run:
        of_a_run = flavor.log_model(model, name="of_a_run", step=7)
    assert (alone.run_id, of_a_run.run_id) == (None, run.info.run_id)
    assert mlflow.get_logged_model(alone.model_id).params == {"rate": "0.01"}
    uris = [alone.model_uri, f"models:/{of_a_run.model_id}", f"runs:/{run.info.run_id}/of_a_run"]
    uris.append((Path(alone.artifact_path)).as_uri() if "://" not in alone.artifact_path else alone.artifact_path)
    for uri in uris:
        assert state.digest(flavor.load_model(uri)) == state.digest(model)


def test_a_model_is_registered_where_that_is_asked(store: None) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    model = learned("a detector")
    assert flavor.log_model(model, name="m").registered_model_version is None
    assert not client.search_registered_models()
    assert flavor.log_model(model, name="m", registered_model_name="detectors").registered_model_version == 1
    assert state.digest(flavor.load_model("models:/detectors/1")) == state.digest(model)


def test_the_environment_of_a_logged_model_is_what_was_asked_for(store: None, tmp_path: Path) -> None:
    import mlflow
    import yaml
    from mlflow.artifacts import download_artifacts

    model = learned("a regressor")
    (tmp_path / "req.txt").write_text("alpha")
    (tmp_path / "limits.txt").write_text("beta<2")
    base = [f"mlflow=={mlflow.__version__}"]
    for asked, expected in (
        ({}, [*base, *flavor.get_default_pip_requirements()]),
        ({"pip_requirements": str(tmp_path / "req.txt")}, [*base, "alpha"]),
        ({"pip_requirements": [f"-r {tmp_path / 'req.txt'}", "beta"]}, [*base, "alpha", "beta"]),
        ({"pip_requirements": [f"-c {tmp_path / 'limits.txt'}", "beta"]}, [*base, "beta", "-c constraints.txt"]),
        ({"extra_pip_requirements": str(tmp_path / "req.txt")}, [*base, *flavor.get_default_pip_requirements(), "alpha"]),
    ):
        logged = flavor.log_model(model, name="m", **asked)
        folder = Path(download_artifacts(logged.model_uri))
        assert lines(folder, "requirements.txt") == expected
        conda = yaml.safe_load((folder / "conda.yaml").read_text())
        assert conda["dependencies"][-1]["pip"] == expected
        if "-c constraints.txt" in expected:
            assert lines(folder, "constraints.txt") == ["beta<2"]
    own = {"name": "own", "dependencies": ["python=3.11", {"pip": ["river"]}]}
    folder = Path(download_artifacts(flavor.log_model(model, name="m", conda_env=own).model_uri))
    assert "river" in lines(folder, "requirements.txt")
    with pytest.raises(ValueError, match="Only one of"):
        flavor.save_model(model, tmp_path / "m", conda_env=own, pip_requirements=["river"])


def test_further_files_and_metadata_are_kept(tmp_path: Path) -> None:
    from mlflow.models import Model

    (tmp_path / "notes.txt").write_text("read me")
    flavor.save_model(
        learned("a regressor"), tmp_path / "m", extra_files=[str(tmp_path / "notes.txt")], metadata={"of": "a test"}
    )
    assert (tmp_path / "m" / "extra_files" / "notes.txt").read_text() == "read me"
    assert Model.load(str(tmp_path / "m")).metadata == {"of": "a test"}


CODE = """
from river import linear_model

class Ours(linear_model.LinearRegression):
    pass
"""


def test_code_that_came_with_a_model_is_not_on_the_path_before_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_code.py").write_text(CODE)
    with monkeypatch.context() as there:
        there.syspath_prepend(tmp_path)
        import our_code  # type: ignore[import-not-found]

        flavor.save_model(our_code.Ours(), tmp_path / "m", code_paths=[str(tmp_path / "our_code.py")])
    del sys.modules["our_code"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    with pytest.raises(MillraceError, match="is code that came with the model") as refusal:
        flavor.load_model(str(tmp_path / "m"))
    assert sys.path == before and "our_code" not in sys.modules
    trusted = str(refusal.value).rpartition("=")[2]
    source = tmp_path / "m" / "code" / "our_code.py"
    other = compile(f"open({str(tmp_path / 'executed')!r}, 'w')\n{CODE}", "our_code.py", "exec")
    files: Any = importlib._bootstrap_external
    bytecode = files._code_to_hash_pyc(other, importlib.util.source_hash(source.read_bytes()), False)
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(bytecode)
    with pytest.raises(MillraceError, match="MILLRACE_TRUST=our_code:Ours"):
        flavor.load_model(str(tmp_path / "m"), trust=[trusted])
    assert type(flavor.load_model(str(tmp_path / "m"), trust=[trusted, "our_code:Ours"])).__name__ == "Ours"
    assert not (tmp_path / "executed").exists(), "the bytecode beside what is trusted was run"
    source.rename(source.with_name("our_codeX.py"))  # the same bytes, cut otherwise into a name and a content
    with pytest.raises(MillraceError, match="is code that came with the model"):
        flavor.load_model(str(tmp_path / "m"), trust=[trusted, "our_code:Ours"])


class Marking:
    """What makes a file when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.place / 'executed'}",)


@pytest.fixture
def artifact(shop: Shop, tmp_path: Path) -> Path:
    """A model of the shop, as it is kept in MLflow."""
    dataset = catalog.load("shop")
    folder = tmp_path / "artifact"
    flavor.save_model(dataset.models["logistic"](), folder, dataset=dataset)
    return folder


def refused(folder: Path, match: str) -> None:
    """Neither the model nor its pyfunc is loaded, and nothing ran."""
    import mlflow.pyfunc

    for load in (flavor.load_model, mlflow.pyfunc.load_model):
        with pytest.raises(MillraceError, match=match):
            load(str(folder))
    assert not (folder.parent / "executed").exists()


def test_an_artifact_that_was_replaced_is_refused(artifact: Path) -> None:
    import pickle

    (artifact / "model.pkl").write_bytes(pickle.dumps(Marking(artifact.parent)))
    refused(artifact, "the pickle names posix:system")


def test_a_datasets_text_that_is_not_known_here_is_not_run(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = artifact / "dataset" / "shop.py"
    text = file.read_text() + f"\nopen({str(artifact.parent / 'executed')!r}, 'w').close()\n"
    file.write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    refused(artifact, f"shop.py is code that came with the model.*MILLRACE_TRUST={sha256}")
    monkeypatch.setenv("MILLRACE_TRUST", sha256)
    assert flavor.load_model(str(artifact))
    assert (artifact.parent / "executed").exists()


def test_a_text_of_the_datasets_file_that_is_on_record_is_run_after_the_file_changed(shop: Shop) -> None:
    shop.arrive("event  a  10:00\nlabel  a  12:00  true")
    shop.tick()
    import mlflow.pyfunc

    shop.change('["Accuracy"]', "[]")
    catalog.load("shop")
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    try:
        model = mlflow.pyfunc.load_model("models:/shop@logistic")
    finally:
        mlflow.set_tracking_uri(None)
    assert len(model.predict({"event_time": ["2026-01-05T10:00Z"], "amount": [30.0]})) == 1


@pytest.fixture
def published(shop: Shop) -> Iterator[Path]:
    """The artifact of the newest version of the shop's model; MLflow's own functions find its store."""
    import mlflow

    shop.arrive("event  a  10:00\nlabel  a  12:00  true\nevent  b  13:00\nlabel  b  15:00  false")
    shop.tick()
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    version = mlflow.MlflowClient().get_model_version_by_alias("shop", "logistic")
    logged = mlflow.get_logged_model(str(version.source).removeprefix("models:/"))
    yield Path(logged.artifact_location.removeprefix("file://"))
    mlflow.set_tracking_uri(None)


def other() -> bytes:
    """The state of another model of the shop, well-formed."""
    model: Any = catalog.load("shop").models["logistic"]()
    model.learn_one({"amount": 9.0, "country": "FR"}, True)
    return state.slim(model)


def by_name_and_by_place(artifact: Path) -> list[str]:
    """The ways to a version: by an alias, by its number, as a logged model, by its folder."""
    import mlflow

    version = mlflow.MlflowClient().get_model_version_by_alias("shop", "logistic")
    return ["models:/shop@logistic", f"models:/shop/{version.version}", str(version.source), str(artifact)]


def test_a_version_that_was_replaced_by_another_whole_model_is_refused_where_its_tables_are(
    published: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    for uri in by_name_and_by_place(published):
        assert flavor.load_model(uri) and mlflow.pyfunc.load_model(uri)
    (published / "model.pkl").write_bytes(other())
    sha256 = hashlib.sha256(other()).hexdigest()
    for uri, load in itertools.product(by_name_and_by_place(published), (flavor.load_model, mlflow.pyfunc.load_model)):
        with pytest.raises(MillraceError) as refusal:
            load(uri)
        which = r"(v\d+ of shop \(logistic\)|model logistic of shop at seq 2)"
        assert re.match(f"{which} has a state in MLflow whose sha256 is {sha256}, ", str(refusal.value))
        assert "again by: millrace replay shop logistic; or delete the version in MLflow" in str(refusal.value)
    assert flavor.load_model("models:/shop@logistic", trust=[sha256])
    monkeypatch.setenv("MILLRACE_ROOT", str(shop.place / "elsewhere"))  # no tables: nothing is known of it
    monkeypatch.setenv("MILLRACE_TRUST", "")
    assert mlflow.pyfunc.load_model("models:/shop@logistic")


def test_a_version_that_was_replaced_by_another_that_is_on_record_is_refused_by_its_number(published: Path, shop: Shop) -> None:
    known = shop.table("checkpoints").filter(pl.col("model") == "prior", pl.col("version").is_not_null())["sha256"][-1]
    (published / "model.pkl").write_bytes((shop.place / "root" / "shop" / "states" / f"{known}.pkl").read_bytes())
    for load in (flavor.load_model, importlib.import_module("mlflow.pyfunc").load_model):
        with pytest.raises(
            MillraceError, match=rf"v\d+ of shop \(logistic\) has .* is {known}, on record is .*replay shop logistic"
        ):
            load("models:/shop@logistic")
    with pytest.raises(MillraceError, match=r"model logistic of shop at seq 2 has .*, which is not on record for it in"):
        flavor.load_model(by_name_and_by_place(published)[2])


def test_a_version_of_before_that_says_less_is_known_by_its_name_in_mlflow(published: Path) -> None:
    import yaml

    kept = yaml.safe_load((published / "MLmodel").read_text())
    assert kept["metadata"].pop("millrace") == {"dataset": "shop", "model": "logistic", "seq": 2}
    (published / "MLmodel").write_text(yaml.safe_dump(kept))
    assert flavor.load_model("models:/shop@logistic")
    (published / "model.pkl").write_bytes(other())
    with pytest.raises(MillraceError, match=r"v\d+ of shop \(logistic\) has a state in MLflow whose sha256 is"):
        flavor.load_model("models:/shop@logistic")


def test_a_version_is_known_by_the_name_that_it_has_in_a_shared_mlflow(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registered_model_meta").write_text("model_name: team-shop\nmodel_version: '1'\n")
    artifact_state.check_published(tmp_path, other())  # somebody's own model of this name
    monkeypatch.setenv("MILLRACE_NAMESPACE", "team")
    with pytest.raises(MillraceError, match="v1 of shop "):
        artifact_state.check_published(tmp_path, other())
    (tmp_path / "registered_model_meta").write_text("model_name: shop\nmodel_version: '1'\n")
    artifact_state.check_published(tmp_path, other())


def test_after_a_replay_what_was_replaced_is_published_again(published: Path, shop: Shop) -> None:
    (published / "model.pkl").write_bytes(other())
    replay("shop", "logistic")
    assert flavor.load_model("models:/shop@logistic")


def test_what_was_saved_by_hand_is_loaded_beside_the_tables_of_its_dataset(published: Path, tmp_path: Path) -> None:
    dataset = catalog.load("shop")
    flavor.save_model(None, tmp_path / "m", dataset=dataset, state=other())
    assert state.digest(flavor.load_model(str(tmp_path / "m"))) == state.digest(state.load(other()))
    logged = flavor.log_model(dataset.models["logistic"](), name="mine", dataset=dataset, registered_model_name="mine")
    for uri in (logged.model_uri, "models:/mine/1"):
        assert flavor.load_model(uri)


@pytest.mark.parametrize("flavors", [["river"], ["python_function"], ["river", "python_function"]])
@pytest.mark.parametrize("path", ["../elsewhere.pkl", "/etc/hostname"])
def test_a_path_out_of_the_artifacts_folder_is_refused(artifact: Path, path: str, flavors: list[str]) -> None:
    import pickle

    import mlflow.pyfunc
    import yaml
    from mlflow.exceptions import MlflowException

    (artifact.parent / "elsewhere.pkl").write_bytes(pickle.dumps(Marking(artifact.parent)))
    kept = yaml.safe_load((artifact / "MLmodel").read_text())
    for name in flavors:
        kept["flavors"][name]["data"] = path
    (artifact / "MLmodel").write_text(yaml.safe_dump(kept))
    if "river" in flavors:
        with pytest.raises(MillraceError, match="which is not in its folder"):
            flavor.load_model(str(artifact))
    with pytest.raises((MillraceError, MlflowException)):
        mlflow.pyfunc.load_model(str(artifact))
    assert not (artifact.parent / "executed").exists()


def test_a_dataset_out_of_the_artifacts_folder_is_refused(artifact: Path) -> None:
    import yaml

    kept = yaml.safe_load((artifact / "MLmodel").read_text())
    kept["flavors"]["river"]["dataset"] = "../datasets/shop.py"
    (artifact / "MLmodel").write_text(yaml.safe_dump(kept))
    refused(artifact, "which is not in its folder")


def test_a_model_of_another_river_is_not_loaded_in_hope(tmp_path: Path) -> None:
    import yaml

    flavor.save_model(learned("a regressor"), tmp_path / "m")
    kept = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())
    kept["flavors"]["river"]["river_version"] = "0.22.0"
    (tmp_path / "m" / "MLmodel").write_text(yaml.safe_dump(kept))
    refused(tmp_path / "m", r"saved with River 0.22.0, and here is .*install river==0.22.0")


def test_it_is_asked_on_the_command_line_and_over_the_network(tmp_path: Path) -> None:
    """`mlflow models predict` and `mlflow models serve`, in the environment at hand."""
    from click.testing import CliRunner
    from mlflow.models.cli import predict

    model = learned("a pipeline")
    flavor.save_model(model, tmp_path / "m", input_example=frame())
    body = {"dataframe_split": frame().to_dict("split"), "params": {"proba": True}}
    (tmp_path / "in.json").write_text(json.dumps(body))
    expected = [model.predict_proba_one(x)[True] for x in XS[:7]]

    asked = ["-m", str(tmp_path / "m"), "-i", str(tmp_path / "in.json"), "-o", str(tmp_path / "out.json"), "-t", "json"]
    CliRunner().invoke(predict, [*asked, "--env-manager", "local"], catch_exceptions=False)
    answers = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert [row["proba_True"] for row in answers] == expected

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-m", str(tmp_path / "m"), "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *options], env=environment, cwd=tmp_path, stdout=log, stderr=log
    ) as server:  # fmt: skip
        try:
            answers = json.loads(_posted(f"http://127.0.0.1:{port}/invocations", body, server))["predictions"]
        finally:
            server.terminate()
    assert [row["proba_True"] for row in answers] == expected


def _posted(address: str, body: Any, server: subprocess.Popen[bytes]) -> bytes:
    """Post when the server is there."""
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the server did not answer")
