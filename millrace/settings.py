"""Where does everything lie, and who is told about it (nobody)?

One typed class, read from the environment whenever it is asked for, so that a process can be pointed elsewhere and a
test needs no reload.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.errors import UsageError

_SILENCE = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_TRACKING_URI": "sqlite:///mlruns/mlflow.db",
}


def silence() -> None:
    """Switch off every library's telemetry, and point MLflow at the store of this checkout, unless told otherwise."""
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Settings:
    """The settings, each from the environment variable ``MILLRACE_<NAME>``.

    Parameters
    ----------
    landing
        The folder whose sub-folders (one a dataset) receive files of events and labels.
    outbox
        The folder to which served predictions are written, one file a tick.
    root
        The folder of the Delta tables and of the models' states.
    datasets
        The folder in which the datasets' files are found.
    cache
        What can be made again at any time: the index of ids, downloaded versions. Never the truth.
    namespace
        A prefix of every name in MLflow and Prefect, where these are shared.
    trust
        What may be loaded or run of an artifact beside what is known, separated by commas: a pickle's ``module:name``, or the
        sha256 of code, or of the state, that it holds.
    """

    landing: Path = Path("landing")
    outbox: Path = Path("outbox")
    root: Path = Path("data")
    datasets: Path = Path("datasets")
    cache: Path = Path(".cache")
    namespace: str = ""
    trust: str = ""

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI, MLflow's own variable."""
        return os.environ["MLFLOW_TRACKING_URI"]

    @property
    def trusted(self) -> frozenset[str]:
        """What is in ``trust``, one by one."""
        return frozenset(word.strip() for word in self.trust.split(",") if word.strip())

    def shared_name(self, name: str) -> str:
        """Return the name that a thing has in MLflow and Prefect."""
        return f"{self.namespace}-{name}" if self.namespace else name


def settings() -> Settings:
    """Read the settings.

    Raises
    ------
    UsageError
        For a variable ``MILLRACE_…`` that does not exist; it names the nearest one.
    """
    known = {f"MILLRACE_{name.upper()}": name for name in Settings.__dataclass_fields__}
    found: dict[str, Any] = {}
    for variable in os.environ:
        if not variable.startswith("MILLRACE_"):
            continue
        if variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.0)
            raise UsageError(f"unknown setting {variable}; did you mean {near[0]}? available: {', '.join(sorted(known))}")
        name, value = known[variable], os.environ[variable]
        found[name] = value if name in ("namespace", "trust") else Path(value)
    return Settings(**found)
