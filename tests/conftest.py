"""What every test stands on: folders of its own, a real MLflow store, and a small shop whose events can be written down."""

from __future__ import annotations

import copy
import gc
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace import checkpoints
from tests.shop import Shop

# With all libraries imported a look at all that is alive takes a quarter of a second, and a tenth of the suite's time.
gc.set_threshold(100_000, 50, 50)

CHECKOUT = Path(__file__).parent.parent
DATABASE = "mlflow.db"


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once: its migrations take seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of a test's own: every setting points into it, and nothing of the machine's is seen."""
    enter(tmp_path, monkeypatch)
    return tmp_path


def enter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every setting point into a place, and forget the machine's."""
    for variable in list(os.environ):
        if variable.startswith("MILLRACE_"):
            monkeypatch.delenv(variable)
    for name in ("landing", "outbox", "root", "cache", "datasets"):
        monkeypatch.setenv(f"MILLRACE_{name.upper()}", str(place / name))
        (place / name).mkdir(exist_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlruns/mlflow.db")
    monkeypatch.chdir(place)


@contextmanager
def settled(place: Path, mlflow_store: Path) -> Iterator[Shop]:
    """A shop in which to live once for many tests."""
    with pytest.MonkeyPatch.context() as patch:
        enter(place, patch)
        (place / "mlruns").mkdir()
        shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
        yield Shop(place)


@contextmanager
def undone(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Go on with a life in its place (MLflow's paths are absolute), and undo what was done to it."""
    enter(lived.place, monkeypatch)
    checkpoints._VERSIONS.clear()  # what another test has published under the same numbers
    kept = lived.place.with_name("kept")
    shutil.copytree(lived.place, kept)
    yield copy.copy(lived)
    for path in [*lived.place.iterdir(), *(lived.place / "mlruns").iterdir()]:
        if path.name != "mlruns" and not path.name.startswith(DATABASE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, lived.place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
    before, now = (sqlite3.connect(place / "mlruns" / DATABASE) for place in (kept, lived.place))
    before.backup(now)  # MLflow keeps this file open: it is written over, not replaced
    before.close()
    now.close()
    shutil.rmtree(kept)
    checkpoints._VERSIONS.clear()  # what was undone gives the numbers of versions anew


@pytest.fixture
def lived(life: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The ``life`` of a module, which is lived once, for what changes it."""
    with undone(life, monkeypatch) as shop:
        yield shop


@pytest.fixture
def shop(place: Path, mlflow_store: Path) -> Iterator[Shop]:
    """A shop that asks of each order whether it will be sent back."""
    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
    yield Shop(place)


@pytest.fixture
def bundled(place: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The datasets that come with Millrace, with folders of the test's own."""
    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")
    monkeypatch.setenv("MILLRACE_DATASETS", str(CHECKOUT / "datasets"))
    return place
