"""How does a model get to MLflow, and how is it found there?

Every call here costs the same however many versions there are. Many of MLflow's own do not: asking for a
registered model, setting an alias by the public client, or ``models:/flights@champion`` walk through all
versions there ever were.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace import clock, tracking
from millrace.settings import settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from millrace.dataset import Dataset
    from millrace.tables import Table

CHAMPION = "champion"
"""The alias of the version in service."""

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow says that there is no such model or run; and no such alias, or a run in its bin."""


_SHOWN = ("model", "seq", "fingerprint", "clock", "loss", "examples", "inexact", "promoted", "evidence")
_COLOURS = ("#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf")
_POINTS_AT_ONCE = 1_000
"""A server takes no more in one call."""

Point = tuple[int, datetime, Mapping[str, float]]
"""The values of metrics at a ``seq``, and when that was."""


@dataclass(frozen=True)
class Version:
    """A published model.

    Parameters
    ----------
    number
        The version's number in the registered model, counted over all of the dataset's models.
    model_id
        What MLflow calls the logged model behind it.
    run_id
        The run that published it.
    """

    number: int
    model_id: str
    run_id: str


class Registry:
    """A dataset's registered model and experiment, both of its (shared) name, made when first needed.

    Every method raises a :class:`~millrace.errors.RegistryError` when MLflow does not answer or refuses.

    Parameters
    ----------
    dataset
        The dataset, loaded from its file.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name = settings().shared_name(dataset.name)
        self._experiment_id: str | None = None

    def publish(
        self,
        model: str,
        state: bytes,
        *,
        seq: int,
        fingerprint: str,
        sha256: str,
        digest: str,
        run_id: str,
        description: str,
        tags: Mapping[str, str],
    ) -> Version:
        """Make a checkpoint a version.

        A crash leaves at most a logged model without a version. Two processes may publish at once.

        Parameters
        ----------
        model
            The model's name.
        state
            The checkpoint's bytes, kept as they are.
        seq, fingerprint, sha256, digest
            The checkpoint's, which become tags.
        run_id
            The run to which the version belongs, from :meth:`run`.
        description
            Markdown.
        tags
            Further tags, such as ``environment``.
        """
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        from millrace import artifact_state, flavor

        known = {"seq": str(seq), "fingerprint": fingerprint, "sha256": sha256, "digest": digest}
        tags = {"model": model, **known, **tags}
        with self._asking(f"publish {model} at {seq}") as client, tempfile.TemporaryDirectory() as folder:
            logged = client.create_logged_model(
                self._experiment(client), f"{model}-{seq}", run_id, tags, model_type=self.dataset.task
            )
            model_id = logged.model_id
            kept = Model(artifact_path=logged.artifact_location, model_uuid=model_id, run_id=run_id, model_id=model_id)
            says = artifact_state.mark(self.dataset.name, model, seq)
            flavor.save_model(None, folder, dataset=self.dataset, state=state, mlflow_model=kept, metadata=says)
            client.log_model_artifacts(model_id, folder)
            client.finalize_logged_model(model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=seq)])
            # The list of versions shows these; the logged model has them all.
            shown = {name: tags[name] for name in _SHOWN if name in tags}
            version = self._version(client, model_id, run_id, shown, description)
        return Version(int(version.version), model_id, run_id)

    def run(self, model: str, last: str | None, log: Table) -> str:
        """Return the run of a model: one for as long as it races, so that its metrics are one line in MLflow's charts.

        Parameters
        ----------
        model
            The model's name.
        last
            The model's last known run. Where it was deleted, or is None, another is made.
        log
            The table of examples, which a new run names as what it learns from.
        """
        with self._asking(f"begin a run of {model}") as client:
            experiment = self._experiment(client)  # says so where it was deleted, and its runs with it
            if last is not None and self._goes_on(client, last):
                return last
            tags = {"model": model, "dataset": self.dataset.name, "mlflow.source.name": "millrace"}
            if model in self.dataset.racing:  # MLflow's own choice gives two lines one colour
                tags["mlflow.runColor"] = _COLOURS[self.dataset.racing.index(model) % len(_COLOURS)]
            run_id = str(client.create_run(experiment, tags=tags, run_name=model).info.run_id)
            client.log_inputs(run_id, [_input(f"{self.name} examples", log)])
            return run_id

    def _goes_on(self, client: MlflowClient, run_id: str) -> bool:
        """Tell whether a run is there and goes on; one that was ended is taken up again."""
        from mlflow.entities import RunStatus
        from mlflow.exceptions import MlflowException

        try:
            # The public calls first read all models that the run has published.
            client._tracking_client.store.update_run_info(run_id, RunStatus.RUNNING, None, None)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return False
            raise
        return True

    def has(self, number: int) -> bool:
        """Tell whether a version is there, and the logged model that it loads: either can be deleted by hand."""
        from mlflow.exceptions import MlflowException

        with self._asking(f"look for version {number}") as client:
            try:
                version = client.get_model_version(self.name, str(number))
                client.get_logged_model(str(version.source).removeprefix("models:/"))
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return False
                raise
        return True

    def log_metrics(self, run_id: str, series: Sequence[Point]) -> None:
        """Log metrics over ``seq`` in a run, so that MLflow's own charts draw the race; a thousand values a call.

        What MLflow does not take in a metric's name becomes ``_``.
        """
        from mlflow.entities import Metric

        batch = [
            Metric(legal(key), float(value), clock.microseconds(at) // 1000, seq)
            for seq, at, values in series
            for key, value in values.items()
        ]
        with self._asking(f"log the metrics of run {run_id}") as client:
            for start in range(0, len(batch), _POINTS_AT_ONCE):
                client.log_batch(run_id, metrics=batch[start : start + _POINTS_AT_ONCE])

    def alias(self, name: str, number: int) -> None:
        """Point an alias to a version."""
        with self._asking(f"set the alias {name}") as client:
            # The public call first asks for the registered model, with all versions there ever were.
            client._get_registry_client().set_registered_model_alias(self.name, name, str(number))

    def tag(self, number: int, tag: str, text: str) -> None:
        """Give a version a tag, or another text in it."""
        with self._asking(f"tag version {number}") as client:
            # The public call first asks for the registered model, as that for an alias does.
            client._get_registry_client().set_model_version_tag(self.name, str(number), tag, text)

    def rewrite(self, number: int, change: Callable[[str], str]) -> None:
        """Change a version's description."""
        with self._asking(f"describe version {number}") as client:
            text = change(client.get_model_version(self.name, str(number)).description or "")
            # The public call first asks for the registered model, as that for an alias does.
            client._get_registry_client().update_model_version(self.name, str(number), text)

    def version_of(self, alias: str) -> int | None:
        """Return the number of the version to which an alias points; None where it is not set."""
        from mlflow.exceptions import MlflowException

        with self._asking(f"find the alias {alias}") as client:
            try:
                return int(client.get_model_version_by_alias(self.name, alias).version)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def download(self, number: int) -> bytes:
        """Return the bytes of a version's model: those that were published.

        Their sha256 is the checkpoint's, which says whether they are: check it before they are loaded.
        """
        from mlflow.artifacts import download_artifacts

        from millrace.flavor import MODEL_FILE

        with self._asking(f"download version {number}") as client, tempfile.TemporaryDirectory() as folder:
            version = client.get_model_version(self.name, str(number))
            logged = client.get_logged_model(str(version.source).removeprefix("models:/"))
            uri = f"{logged.artifact_location}/{MODEL_FILE}"  # not models:/, which writes into a local store
            path = download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=client.tracking_uri)
            return Path(path).read_bytes()

    def pages(self) -> dict[str, str]:
        """Return paths of MLflow's UI: ``race`` (the runs' charts) and ``model`` (its versions)."""
        with self._asking("find the pages") as client:
            experiment = self._experiment(client)
        race = f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        return {"race": race, "model": f"/#/models/{self.name}?workflowType=machine_learning"}

    def _asking(self, what: str) -> contextlib.AbstractContextManager[MlflowClient]:
        return tracking.asking(f"{what} of {self.name}")

    def _experiment(self, client: MlflowClient) -> str:
        if self._experiment_id is None:
            self._experiment_id = tracking.experiment(client.tracking_uri, self.name, self.dataset.description)
        return self._experiment_id

    def _version(self, client: MlflowClient, model_id: str, run_id: str, tags: Mapping[str, str], description: str) -> Any:
        from mlflow.exceptions import MlflowException

        def create() -> Any:
            return client.create_model_version(
                self.name, f"models:/{model_id}", run_id, dict(tags), description=description, model_id=model_id
            )

        try:
            return create()
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        # Where this fails another process was first; if not, what follows says why.
        with contextlib.suppress(MlflowException):
            client.create_registered_model(self.name, {"dataset": self.dataset.name}, self._description())
        return create()

    def _description(self) -> str:
        models = "\n".join(f"| `{name}` | the newest version of the model `{name}` |" for name in self.dataset.racing)
        load = f'mlflow.pyfunc.load_model("models:/{self.name}@{CHAMPION}")'
        return (
            f"{self.dataset.description}\n\nThe models of the dataset `{self.dataset.name}`, "
            "published by Millrace. A version is a model at a place (`seq`) in the log of examples.\n\n"
            f"| alias | points to |\n| --- | --- |\n| `{CHAMPION}` | the version in service |\n{models}\n\n"
            f"`{load}.predict(events)` takes the raw columns of events."
        )


def _input(name: str, log: Table) -> DatasetInput:
    """Describe the table of examples, as what a run learns from."""
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    source = DeltaDatasetSource(path=str(log.path), delta_table_version=log.version)
    described = MetaDataset(source, name, digest=f"v{log.version}")
    return DatasetInput(described._to_mlflow_entity(), [InputTag("mlflow.data.context", "learn")])


def legal(key: str) -> str:
    """Make a metric's name one that MLflow takes.

    Examples
    --------
    >>> legal("loss (7 days) @champion")
    'loss _7 days_ _champion'
    """
    return re.sub(r"[^\w. -]", "_", key)[:250]
