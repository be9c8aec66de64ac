"""How is MLflow reached, and what is said when it cannot be?

A client for each tracking URI is made when it is first used and kept in the process. A SQLite store is made
ready for several processes at once; a server or a database that is away is noticed in seconds, not minutes.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from millrace import views
from millrace.errors import RegistryError
from millrace.settings import settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOISY = ("mlflow", "alembic")
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow would wait four minutes for a server that is away
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own settings, where they are not set otherwise."""


@contextlib.contextmanager
def asking(what: str) -> Iterator[MlflowClient]:
    """Hand over the client of MLflow, which is silent within.

    Parameters
    ----------
    what
        What it is asked for, such as ``"set the alias champion of flights"``.

    Raises
    ------
    RegistryError
        When MLflow, its database or its files do not answer or refuse.
    """
    import mlflow  # noqa: F401 - sets the levels of its loggers, so it comes before they are raised

    uri = _absolute(settings().tracking_uri)
    with _silence:
        try:
            yield _client(uri)
        except _failures() as error:
            raise RegistryError(
                f"could not {what} in MLflow at {_shown(uri)}: {_first_line(error)}. Check "
                "MLFLOW_TRACKING_URI, and that the store can be reached and written to; nothing is lost, and it is "
                "made up for at the next tick"
            ) from error


def experiment(uri: str, name: str, description: str) -> str:
    """Return the id of the experiment of a name; make it where there is none.

    The artifacts of a SQLite store lie beside it, under ``artifacts/<name>``.
    """
    from mlflow.exceptions import MlflowException

    client = _client(uri)
    path = _sqlite(uri)
    location = (path.parent / "artifacts" / name).as_uri() if path is not None else None
    found = client.get_experiment_by_name(name)
    if found is None:
        with contextlib.suppress(MlflowException):  # another process was first; if not, what follows says so
            tags = {"mlflow.note.content": description} if description else {}
            return str(client.create_experiment(name, location, tags))
        found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        state = "could not be made" if found is None else f"was deleted; `mlflow experiments restore -x {found.experiment_id}`"
        raise MlflowException(f"the experiment {name} {state}")
    return str(found.experiment_id)


@functools.cache
def _client(uri: str) -> MlflowClient:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    path = _sqlite(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
            views.write_ahead(connection)  # 2.5 times faster, too
    elif re.match(r"(postgresql|mysql|mssql)", uri):
        import sqlalchemy

        sqlalchemy.create_engine(uri).connect().close()  # where this fails, MLflow would try for two minutes
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _failures() -> tuple[type[Exception], ...]:
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, ImportError


def _sqlite(uri: str) -> Path | None:
    found = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(found[1]).absolute() if found and found[1] != ":memory:" else None


def _absolute(uri: str) -> str:
    path = _sqlite(uri)
    return uri if path is None else f"sqlite:///{path.as_posix()}"


def _shown(uri: str) -> str:
    """Hide the password.

    Examples
    --------
    >>> _shown("postgresql+psycopg2://mlflow:secret@db/mlflow")
    'postgresql+psycopg2://mlflow:***@db/mlflow'
    """
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300].rstrip(".")


class _Silence:
    """Raises the level of MLflow's loggers while any thread is within."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._levels: dict[str, int] = {}

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._levels = {name: logging.getLogger(name).level for name in _NOISY}
            for name in _NOISY:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                for name, level in self._levels.items():
                    logging.getLogger(name).setLevel(level)


_silence = _Silence()
