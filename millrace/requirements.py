"""What must be installed where a version is loaded?

Pinned to what is installed here, and never inferred: MLflow's inference runs the model in another process, for eight
seconds a version.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from pathlib import Path
from typing import Any


def get_default_pip_requirements() -> list[str]:
    """Return what a model needs to be loaded, pinned to what is installed here.

    Millrace itself is among it only where it was installed from an index: a checkout has no version that
    anyone else could install (hand its package's folder over as ``code_paths``, or install it where the model
    is loaded).
    """
    names = ["river", "polars", "numpy"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        if importlib.metadata.distribution("millrace").read_text("direct_url.json") is None:
            names.append("millrace")
    return [pinned(name) for name in names]


def get_default_conda_env() -> dict[str, Any]:
    """Return the conda environment with the default requirements."""
    from mlflow.utils.environment import _mlflow_conda_env

    found: dict[str, Any] = _mlflow_conda_env(additional_pip_deps=get_default_pip_requirements())
    return found


def pinned(name: str) -> str:
    """Return the requirement of a library, pinned to what is installed here."""
    return f"{name}=={importlib.metadata.version(name)}"


def write(folder: Path, default: list[str], conda_env: Any, pip_requirements: Any, extra: Any) -> None:
    """Write the files of a version's environment: the default requirements, or what was asked for instead."""
    if conda_env is None and pip_requirements is None and extra is None:
        files = _default_environment(tuple(default))
    else:
        files = _environment(default, conda_env, pip_requirements, extra)
    for name, text in files.items():
        (folder / name).write_text(text)


@functools.cache
def _default_environment(default: tuple[str, ...]) -> dict[str, str]:
    """Return the files of the environment that most versions have; making them costs more than a small model."""
    return _environment(list(default), None, None, None)


def _environment(default: list[str], conda_env: Any, pip_requirements: Any, extra: Any) -> dict[str, str]:
    import yaml
    from mlflow.utils import environment

    if conda_env is None:
        found = environment._process_pip_requirements(default, pip_requirements, extra)
    else:
        found = environment._process_conda_env(conda_env)
    conda, requirements, constraints = found
    python = {name: value for name, value in environment._PythonEnv.current().to_dict().items() if value}
    files = {
        environment._CONDA_ENV_FILE_NAME: yaml.safe_dump(conda, default_flow_style=False),
        environment._REQUIREMENTS_FILE_NAME: "\n".join(requirements),
        environment._PYTHON_ENV_FILE_NAME: yaml.safe_dump(python, sort_keys=False),
    }
    return files | ({environment._CONSTRAINTS_FILE_NAME: "\n".join(constraints)} if constraints else {})
