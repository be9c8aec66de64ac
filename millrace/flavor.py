"""How does MLflow keep and load a River model?

The flavor that River asks for (online-ml/river#1316), in the shape of MLflow's own. An artifact holds
``model.pkl``, and with a dataset also the text of its file: then the model takes the raw columns of events,
and computes the features itself.

What an artifact holds is not trusted. A version's state must be the one that was published (`millrace.artifact_state`), its
pickle is loaded by `millrace.foreign`, and its code is run only if it is known (`millrace.artifact_code`). (What
``mlflow.pyfunc.load_model`` itself does before it comes here is MLflow's: it puts ``code_paths`` on the path, and
imports the ``loader_module`` that an artifact names.)
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import artifact_code, artifact_state, pyfunc, requirements
from millrace.errors import MillraceError, UsageError
from millrace.requirements import get_default_conda_env as get_default_conda_env
from millrace.requirements import get_default_pip_requirements as get_default_pip_requirements

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo

    from millrace.dataset import Dataset

FLAVOR_NAME = "river"
MODEL_FILE = "model.pkl"


def save_model(
    river_model: Any,
    path: str | Path,
    *,
    task: str | None = None,
    conda_env: Any = None,
    code_paths: Sequence[str] | None = None,
    mlflow_model: Model | None = None,
    signature: ModelSignature | bool | None = None,
    input_example: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    metadata: dict[str, Any] | None = None,
    extra_files: Any = None,
    dataset: Dataset | None = None,
    state: bytes | None = None,
) -> None:
    """Save a River model to a folder.

    Parameters
    ----------
    river_model
        The model; None where ``state`` is given.
    path
        The folder, which does not exist yet or is empty.
    task
        ``binary``, ``multiclass``, ``regression`` or ``anomaly``; the dataset's where there is one, else told from the
        model. One that is none of these (a transformer, a detector that scores labels) is kept without a pyfunc.
    dataset
        The dataset whose raw columns the pyfunc takes. Without one it takes the columns of the model's ``x``.
    state
        What :func:`millrace.state.slim` gave, kept byte by byte.
    conda_env, code_paths, mlflow_model, signature, input_example, pip_requirements, extra_pip_requirements,
    metadata, extra_files
        As in MLflow's own flavors. Requirements are never inferred. ``signature=False`` saves none.

    Raises
    ------
    UsageError
        When there is neither a model nor a state, or the dataset does not come from a file.
    """
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME
    from mlflow.models.utils import _save_example
    from mlflow.utils.environment import _CONDA_ENV_FILE_NAME, _PYTHON_ENV_FILE_NAME, _validate_env_arguments
    from mlflow.utils.file_utils import get_total_file_size
    from mlflow.utils.model_utils import (
        _copy_extra_files,
        _validate_and_copy_code_paths,
        _validate_and_prepare_target_save_path,
    )

    from millrace import foreign
    from millrace import state as states

    if river_model is None and state is None:
        raise UsageError("there is nothing to save: give a River model, or the state that millrace.state.slim made of one")
    if dataset is not None and not dataset.text:
        raise UsageError("the dataset does not come from a file, so its features cannot be kept; use millrace.catalog.load")
    _validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    folder = Path(path).absolute()
    _validate_and_prepare_target_save_path(str(folder))
    code = _validate_and_copy_code_paths(code_paths, str(folder))

    data = states.slim(river_model) if state is None else state
    (folder / MODEL_FILE).write_bytes(data)
    flavor: dict[str, Any] = {
        "data": MODEL_FILE,
        "code": code,
        "river_version": importlib.metadata.version("river"),
    }
    if dataset is not None:
        (folder / "dataset").mkdir()
        (folder / "dataset" / f"{dataset.name}.py").write_text(dataset.text, encoding="utf-8")
        flavor["dataset"] = f"dataset/{dataset.name}.py"
        metadata = {"columns": pyfunc.types(dataset), **(metadata or {})}
        task = dataset.task
    elif task is None:
        task = _task_of(river_model if river_model is not None else foreign.loads(data))
    if task is not None:
        flavor["task"] = task

    kept = Model() if mlflow_model is None else mlflow_model
    example = _save_example(kept, input_example, str(folder))
    if signature is not False:
        kept.signature = signature or pyfunc.signature(river_model, task, dataset, example)
    if metadata is not None:
        kept.metadata = metadata
    if task is not None:
        _mlflow_pyfunc().add_to_model(
            kept,
            loader_module="millrace.flavor",
            data=MODEL_FILE,
            conda_env=_CONDA_ENV_FILE_NAME,
            python_env=_PYTHON_ENV_FILE_NAME,
            code=code,
        )
    kept.add_flavor(FLAVOR_NAME, **flavor, **_copy_extra_files(extra_files, str(folder)))
    kept.model_size_bytes = get_total_file_size(str(folder)) or None
    kept.save(str(folder / MLMODEL_FILE_NAME))

    default = get_default_pip_requirements()
    if b"sklearn" in data or (dataset is not None and "sklearn" in dataset.text):
        default.append(requirements.pinned("scikit-learn"))
    requirements.write(folder, default, conda_env, pip_requirements, extra_pip_requirements)


def _mlflow_pyfunc() -> Any:
    """Import MLflow's pyfunc without the warning that it gives about a type of its own."""
    if "mlflow.pyfunc" not in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*Any type hint is inferred")
            importlib.import_module("mlflow.pyfunc")
    return sys.modules["mlflow.pyfunc"]


def log_model(
    river_model: Any,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    **kwargs: Any,
) -> ModelInfo:
    """Log a River model to MLflow's active run, or without a run.

    Parameters
    ----------
    river_model, name, registered_model_name
        The model, what it is called in MLflow, and the registered model of which it becomes a version. (The
        last costs more with every version there ever was; :mod:`millrace.registry` does not.)
    kwargs
        What :func:`save_model` takes, and what MLflow's ``Model.log`` takes: ``params``, ``tags``, ``step``,
        ``run_id`` …
    """
    from mlflow.models import Model

    flavor = sys.modules[__name__]
    found: ModelInfo = Model.log(None, flavor, registered_model_name, name=name, river_model=river_model, **kwargs)
    return found


def load_model(model_uri: str, dst_path: str | None = None, *, trust: Collection[str] = ()) -> Any:
    """Load the River model itself, from a folder, a run, or the registry (``models:/flights@champion``).

    Parameters
    ----------
    model_uri, dst_path
        As in MLflow's own flavors.
    trust
        What may be loaded and run beside what is known, as in the setting ``MILLRACE_TRUST``: a pair ``"module:name"`` that the
        pickle names, or the sha256 of code in the artifact, or of its state. The message of a refusal names it.

    Raises
    ------
    MillraceError
        When the artifact's pickle or code is not trusted, its files are not in its folder, it is a version whose state is not on
        record in the tables here, or it is of another River, whose pickles are not compatible.
    MlflowException
        Where ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``.
    """
    from mlflow.tracking.artifact_utils import _download_artifact_from_uri
    from mlflow.utils.model_utils import _get_flavor_configuration

    folder = Path(_download_artifact_from_uri(artifact_uri=model_uri, output_path=dst_path))
    flavor = _get_flavor_configuration(str(folder), FLAVOR_NAME)
    if flavor.get("code"):
        artifact_code.add_code(artifact_code.within(folder, flavor["code"]), trust)
    return _load(folder, trust)[0]


def _load_pyfunc(path: str) -> pyfunc.RiverModel:
    """Load what ``mlflow.pyfunc.load_model`` wraps; MLflow hands over the path of the model's file."""
    model, task, dataset = _load(Path(path).parent)
    return pyfunc.RiverModel(model, str(task), dataset)


def _load(folder: Path, trust: Collection[str] = ()) -> tuple[Any, str | None, Dataset | None]:
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
    from mlflow.exceptions import MlflowException
    from mlflow.utils.model_utils import _get_flavor_configuration

    from millrace import catalog, foreign

    if not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get():
        raise MlflowException(
            "a River model is kept as a pickle, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false forbids to "
            "load one; unset it where you trust whoever writes to this store"
        )
    flavor = _get_flavor_configuration(str(folder), FLAVOR_NAME)
    there, here = flavor.get("river_version", "?"), importlib.metadata.version("river")
    if there.split(".")[:2] != here.split(".")[:2]:
        raise MillraceError(
            f"{folder} was saved with River {there}, and here is {here}: pickles of another River are not loaded in hope; "
            f"install river=={there}, or fold the model again (a version of Millrace's own is, in the next tick)"
        )
    data = artifact_code.within(folder, flavor["data"]).read_bytes()
    artifact_state.check_published(folder, data, trust)
    kept: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if "dataset" in flavor:
        path = artifact_code.within(folder, flavor["dataset"])
        if not path.stem.isidentifier():
            raise MillraceError(f"{path} is no file of a dataset, and is not run")
        text = path.read_text(encoding="utf-8")
        if not artifact_code.known(path.stem, text):
            artifact_code.check_trusted(path, text.encode(), trust)
        kept = catalog.as_written(path.stem, path, text)
    with kept as dataset:
        model = foreign.loads(data, trust)
    return model, flavor.get("task"), dataset


def _task_of(model: Any) -> str | None:
    from river import base

    last = getattr(model, "_last_step", model)  # of a pipeline
    if isinstance(last, base.Classifier):
        return "multiclass"
    if isinstance(last, base.AnomalyDetector | base.AnomalyFilter):
        return "anomaly"
    return "regression" if isinstance(last, base.Regressor) else None
