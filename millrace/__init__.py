"""Online machine learning in production, the batch way.

The names that a dataset's file needs (``Dataset``, ``Schema``, ``Column``, ``Labels``, ``Race``, ``Retention``,
``Batch``, ``expect``; ``Memory``, ``count``, ``since``, ``mean``, ``total``, ``low``, ``high``, ``distinct``,
``last_value``), and for notebooks the stages as functions (``ingest``, ``infer``, ``learn``, ``run``, ``status``; ``new``,
``backfill``, ``replay``, ``verify``, ``validate``, ``explain``; ``promote``, ``rollback``, ``pin``, ``pause``). Everything
is imported when it is first used:
``import millrace`` is cheap.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from millrace.settings import silence

if TYPE_CHECKING:
    from millrace import expect as expect
    from millrace.backfill import backfill as backfill
    from millrace.batch import Batch as Batch
    from millrace.control import pause as pause
    from millrace.control import pin as pin
    from millrace.control import promote as promote
    from millrace.control import rollback as rollback
    from millrace.dataset import Dataset as Dataset
    from millrace.dataset import Race as Race
    from millrace.dataset import Retention as Retention
    from millrace.errors import MillraceError as MillraceError
    from millrace.explain import explain as explain
    from millrace.feed import feed as feed
    from millrace.infer import infer as infer
    from millrace.ingest import ingest as ingest
    from millrace.labels import Labels as Labels
    from millrace.learn import learn as learn
    from millrace.memory import Memory as Memory
    from millrace.memory import count as count
    from millrace.memory import distinct as distinct
    from millrace.memory import high as high
    from millrace.memory import last_value as last_value
    from millrace.memory import low as low
    from millrace.memory import mean as mean
    from millrace.memory import since as since
    from millrace.memory import total as total
    from millrace.new import new as new
    from millrace.proof import verify as verify
    from millrace.replay import replay as replay
    from millrace.run import run as run
    from millrace.schema import Column as Column
    from millrace.schema import Schema as Schema
    from millrace.status import status as status
    from millrace.validate import validate as validate

silence()


class _Package(ModuleType):
    """The package, in which a stage's name is its function, though its module has the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and _HOMES.get(name) == value.__name__):
            super().__setattr__(name, value)


_HOMES = {
    "Batch": "millrace.batch",
    "Column": "millrace.schema",
    "Dataset": "millrace.dataset",
    "Labels": "millrace.labels",
    "Memory": "millrace.memory",
    "MillraceError": "millrace.errors",
    "Race": "millrace.dataset",
    "Retention": "millrace.dataset",
    "Schema": "millrace.schema",
    "backfill": "millrace.backfill",
    "count": "millrace.memory",
    "distinct": "millrace.memory",
    "explain": "millrace.explain",
    "feed": "millrace.feed",
    "high": "millrace.memory",
    "infer": "millrace.infer",
    "ingest": "millrace.ingest",
    "last_value": "millrace.memory",
    "learn": "millrace.learn",
    "low": "millrace.memory",
    "mean": "millrace.memory",
    "new": "millrace.new",
    "pause": "millrace.control",
    "pin": "millrace.control",
    "promote": "millrace.control",
    "replay": "millrace.replay",
    "rollback": "millrace.control",
    "run": "millrace.run",
    "since": "millrace.memory",
    "status": "millrace.status",
    "total": "millrace.memory",
    "validate": "millrace.validate",
    "verify": "millrace.proof",
}

__all__ = ["expect", *_HOMES]  # noqa: PLE0604 - the names are those of the table above


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "expect":
        return importlib.import_module("millrace.expect")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'millrace' has no attribute {name!r}")
