"""How does a version leave MLflow, with all that hangs on it?

MLflow's own calls mark a version and a logged model as deleted; rows and files stay until ``mlflow gc``, which never removes
versions. Where its store is a database, all is removed here: the files first, and last the rows by which they are found, so
that what was cut off is done again. Through a server it can only be marked, and its files removed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABSENT = "RESOURCE_DOES_NOT_EXIST"
_AT_ONCE = 200
"""So many leave in one transaction: publishing waits no longer than that."""
_DELETED = "Deleted_Internal"
"""The stage of a version that is marked as deleted."""


def at_most(client: MlflowClient) -> int:
    """Return how many versions may leave in one run: a thousandth of a second each, or through a server some tenths."""
    with _registry(client) as versions, _tracking(client) as models:
        return 5_000 if versions and models else 1_000


def aliased(client: MlflowClient, name: str) -> set[int]:
    """Return the numbers of the versions that an alias points to."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelAlias as Alias

    with _registry(client) as rows:
        if rows:
            return {number for (number,) in rows.of(Alias).filter(Alias.name == name).with_entities(Alias.version)}
    try:
        return {int(number) for number in client.get_registered_model(name).aliases.values()}
    except MlflowException as error:
        if error.error_code == ABSENT:
            return set()
        raise


def deleted(client: MlflowClient, name: str) -> list[int]:
    """Return the versions that somebody deleted: no page shows their rows, and nothing brings them back."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version

    with _registry(client) as rows:
        if not rows:
            return []  # a server does not tell
        newest = _newest(rows, name)
        found = rows.of(Version).filter(Version.name == name, Version.current_stage == _DELETED, Version.version < newest)
        return sorted(number for (number,) in found.with_entities(Version.version))


def remove(client: MlflowClient, name: str, numbers: Sequence[int], model_ids: Sequence[str] = ()) -> None:
    """Remove versions with their logged models, and logged models that have no version, with files and rows.

    A version that has an alias by now stays. The row of the newest version stays, marked as deleted: MLflow would give its
    number again. What is gone already is no error.

    Parameters
    ----------
    name
        Of the registered model.
    numbers
        The versions.
    model_ids
        The logged models.
    """
    with _registry(client) as versions, _tracking(client) as models:
        leave = _remove_rows if versions and models else _mark
    for start in range(0, max(len(numbers), len(model_ids)), _AT_ONCE):
        leave(client, name, numbers[start : start + _AT_ONCE], model_ids[start : start + _AT_ONCE])


class _Rows:
    """A session of one of MLflow's databases."""

    def __init__(self, store: Any, session: Any) -> None:
        self._store, self.session = store, session

    def of(self, table: Any) -> Any:
        """Query a table's rows, within the workspace where there are any."""
        return self._store._get_query(self.session, table)

    def delete(self, table: Any, *where: Any) -> None:
        """Delete rows, without reading them."""
        self.of(table).filter(*where).delete(synchronize_session=False)


@contextmanager
def _session(store: Any, kind: Any) -> Iterator[_Rows | None]:
    if not isinstance(store, kind):
        yield None
        return
    with store.ManagedSessionMaker(read_only=False) as session:
        yield _Rows(store, session)


def _registry(client: MlflowClient) -> contextlib.AbstractContextManager[_Rows | None]:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return _session(client._get_registry_client().store, SqlAlchemyStore)


def _tracking(client: MlflowClient) -> contextlib.AbstractContextManager[_Rows | None]:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return _session(client._tracking_client.store, SqlAlchemyStore)


def _newest(rows: _Rows, name: str) -> int:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version

    found = rows.of(Version).filter(Version.name == name).order_by(Version.version.desc()).with_entities(Version.version).first()
    return found[0] if found else 0


def _remove_rows(client: MlflowClient, name: str, numbers: Sequence[int], model_ids: Sequence[str]) -> None:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel as Logged

    with _registry(client) as rows:
        assert rows
        newest, spared = _newest(rows, name), aliased(client, name)
        columns = (Version.version, Version.source, Version.storage_location, Version.current_stage)
        found = rows.of(Version).filter(Version.name == name, Version.version.in_(numbers)).with_entities(*columns).all()
    found = [one for one in found if one.version not in spared]
    ids = {*model_ids, *(str(one.source).removeprefix("models:/") for one in found)}
    places = {one.storage_location for one in found}  # what is deleted by hand is known by that alone
    with _tracking(client) as rows:
        assert rows
        wanted = rows.of(Logged).filter(Logged.model_id.in_(ids) | Logged.artifact_location.in_(places))
        models = dict(wanted.with_entities(Logged.model_id, Logged.artifact_location).all())
    for model_id, place in models.items():
        _remove_files(model_id, place)
    _remove_models(client, list(models))
    _remove_versions(client, name, [one.version for one in found if one.version != newest])
    if any(one.version == newest and one.current_stage != _DELETED for one in found):
        client._get_registry_client().delete_model_version(name, str(newest))


def _remove_models(client: MlflowClient, model_ids: list[str]) -> None:
    from mlflow.store.tracking.dbmodels import models as tables

    with _tracking(client) as rows:
        assert rows
        hung = (tables.SqlInput.destination_type == "MODEL_OUTPUT", tables.SqlInput.destination_id.in_(model_ids))
        uuids = [uuid for (uuid,) in rows.of(tables.SqlInput).filter(*hung).with_entities(tables.SqlInput.input_uuid)]
        rows.delete(tables.SqlInputTag, tables.SqlInputTag.input_uuid.in_(uuids))
        rows.delete(tables.SqlInput, *hung)
        for table in (tables.SqlLoggedModelMetric, tables.SqlLoggedModelParam, tables.SqlLoggedModelTag, tables.SqlLoggedModel):
            rows.delete(table, table.model_id.in_(model_ids))


def _remove_versions(client: MlflowClient, name: str, numbers: list[int]) -> None:
    from mlflow.store.model_registry.dbmodels import models as tables

    with _registry(client) as rows:
        assert rows
        for table in (tables.SqlModelVersionTag, tables.SqlModelVersion):
            rows.delete(table, table.name == name, table.version.in_(numbers))


def _remove_files(model_id: str, place: str) -> None:
    """Remove a logged model's files, and the folder of its name where it is on this machine."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    parsed = urlparse(place)
    if parsed.scheme in ("", "file"):
        folder = Path(url2pathname(parsed.path)).parent  # …/models/m-<id>/artifacts
        if folder.name == model_id:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
            return
    get_artifact_repository(place).delete_artifacts()


def _mark(client: MlflowClient, name: str, numbers: Sequence[int], model_ids: Sequence[str]) -> None:
    """Mark as deleted, through a server; ``mlflow gc`` there removes the rows of logged models."""
    from mlflow.exceptions import MlflowException

    spared = aliased(client, name)
    wanted = [(number, None) for number in numbers if number not in spared]
    for number, model_id in [*wanted, *((None, one) for one in model_ids)]:
        try:
            if model_id is None:
                model_id = str(client.get_model_version(name, str(number)).source).removeprefix("models:/")
            with contextlib.suppress(MlflowException):  # its files may be gone
                _remove_files(model_id, client.get_logged_model(model_id).artifact_location)
                client.delete_logged_model(model_id)
            if number is not None:
                client._get_registry_client().delete_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
