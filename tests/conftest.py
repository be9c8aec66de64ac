"""What every test stands on: folders of its own, a real MLflow store, and a small shop whose events can be written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shop import Shop

CHECKOUT = Path(__file__).parent.parent


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
    for variable in list(os.environ):
        if variable.startswith("MILLRACE_"):
            monkeypatch.delenv(variable)
    for name in ("landing", "outbox", "root", "cache", "datasets"):
        monkeypatch.setenv(f"MILLRACE_{name.upper()}", str(tmp_path / name))
        (tmp_path / name).mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
