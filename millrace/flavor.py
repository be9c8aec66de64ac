"""How does MLflow keep and load a River model?

The flavor that River asks for (online-ml/river#1316), in the shape of MLflow's own. An artifact holds
``model.pkl``, and with a dataset also the text of its file: then the model takes the raw columns of events,
and computes the features itself. Whoever can write to the store runs code where a model is loaded: both the
pickle and the dataset's file are code.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from millrace import pyfunc, requirements
from millrace.errors import DatasetError, UsageError
from millrace.requirements import get_default_conda_env as get_default_conda_env
from millrace.requirements import get_default_pip_requirements as get_default_pip_requirements

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo

    from millrace.dataset import Dataset

FLAVOR_NAME = "river"
MODEL_FILE = "model.pkl"
_EXECUTING = threading.RLock()


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
        ``binary``, ``multiclass`` or ``regression``; the dataset's where there is one, else told from the
        model. A model that is neither a classifier nor a regressor is kept without a pyfunc.
    dataset
        The dataset whose raw columns the pyfunc takes. Without one it takes the columns of the model's ``x``.
    state
        What :func:`millrace.state.slim` gave, kept byte by byte.
    conda_env, code_paths, mlflow_model, signature, input_example, pip_requirements, extra_pip_requirements,
    metadata
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
    from mlflow.utils.model_utils import _validate_and_copy_code_paths, _validate_and_prepare_target_save_path

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
        task = _task_of(river_model if river_model is not None else states.load(data))
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
    kept.add_flavor(FLAVOR_NAME, **flavor)
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


def load_model(model_uri: str, dst_path: str | None = None) -> Any:
    """Load the River model itself, from a folder, a run, or the registry (``models:/flights@champion``)."""
    from mlflow.tracking.artifact_utils import _download_artifact_from_uri
    from mlflow.utils.model_utils import _add_code_from_conf_to_system_path, _get_flavor_configuration

    folder = _download_artifact_from_uri(artifact_uri=model_uri, output_path=dst_path)
    _add_code_from_conf_to_system_path(folder, _get_flavor_configuration(folder, FLAVOR_NAME))
    return _load(Path(folder))[0]


def _load_pyfunc(path: str) -> pyfunc.RiverModel:
    """Load what ``mlflow.pyfunc.load_model`` wraps; MLflow hands over the path of the model's file."""
    model, task, dataset = _load(Path(path).parent)
    return pyfunc.RiverModel(model, str(task), dataset)


def _load(folder: Path) -> tuple[Any, str | None, Dataset | None]:
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION
    from mlflow.exceptions import MlflowException
    from mlflow.utils.model_utils import _get_flavor_configuration

    from millrace import state

    if not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get():
        raise MlflowException(
            "a River model is kept as a pickle, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false forbids to "
            "load one; unset it where you trust whoever writes to this store"
        )
    flavor = _get_flavor_configuration(str(folder), FLAVOR_NAME)
    kept = _registered(folder / flavor["dataset"]) if "dataset" in flavor else contextlib.nullcontext()
    with kept as dataset:
        model = state.load((folder / flavor["data"]).read_bytes())
    return model, flavor.get("task"), dataset


@contextlib.contextmanager
def _registered(path: Path) -> Iterator[Dataset]:
    """Run the dataset's text that an artifact holds; within, pickles find the module that it makes.

    A module of the same name that was there before (the file's present text, say) is there again afterwards.
    """
    from millrace import catalog
    from millrace.dataset import Dataset

    importlib.import_module(catalog.PACKAGE)
    full, text = f"{catalog.PACKAGE}.{path.stem}", path.read_text(encoding="utf-8")
    with _EXECUTING:
        previous = sys.modules.get(full)
        declared = getattr(previous, "dataset", None)
        if isinstance(declared, Dataset) and declared.text == text:
            yield declared
            return
        module = ModuleType(full)
        module.__file__ = str(path)
        sys.modules[full] = module
        try:
            try:
                exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102
                dataset = module.dataset
            except Exception as error:
                raise DatasetError(f"{path}: the dataset kept with the model does not run here: {error}") from error
            dataset.found(path.stem, path, text)
            yield dataset
        except BaseException:
            del sys.modules[full]
            raise
        finally:
            if previous is not None:
                sys.modules[full] = previous


def _task_of(model: Any) -> str | None:
    from river import base

    last = getattr(model, "_last_step", model)  # of a pipeline
    if isinstance(last, base.Classifier):
        return "multiclass"
    return "regression" if isinstance(last, base.Regressor) else None
