"""What would the features of past events be, by today's definitions?

They are computed again from the stored events and written beside the log, as what-if features, which validation can take
instead of those that were logged. This is not log and wait: they are not what a model saw when it predicted, and the log
itself never changes.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

import polars as pl

from millrace import catalog, features, fold, layout, tables
from millrace.errors import MillraceError
from millrace.parallel import Progress
from millrace.remembered import Remembered
from millrace.tables import Table

NAME = "what_if"
"""The table: ``arrival``, ``event_id``, ``event_time``, ``x``."""
_LOGGED_ALONE = ("versions", "memory", "clock")
"""Columns of ``features`` that it has not."""


@dataclass
class WhatIfReport:
    """How many ``events`` have features by today's definitions, and of how many of them each ``changed``."""

    dataset: str
    events: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"{self.events:,} events have what-if features, by the definitions of today"]
        said += [f"{name} differs from what was logged for {count:,} of them" for name, count in self.changed.items() if count]
        said.append("this is not log and wait: models did not see them when they predicted; the log is as it was")
        return "\n".join([*said, f"to judge models with them: millrace validate {self.dataset} --what-if"])


def recompute(name: str, progress: Progress | None = None) -> WhatIfReport:
    """Compute the features of all stored events again, into the what-if log, which is replaced when it is whole.

    Parameters
    ----------
    name
        The dataset.
    progress
        Is told how far it is, in arrivals.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    MillraceError
        When nothing has arrived for it.
    """
    dataset = catalog.load(name)
    if not tables.created(name):
        raise MillraceError(f"nothing has arrived for {name} yet: there is no event; try: millrace feed {name}")
    report = WhatIfReport(name)
    events, logged = Table(name, "events"), Table(name, "features")
    head = logged.cursor("infer")
    columns = {name: dtype for name, dtype in layout.schemas(dataset)["features"].items() if name not in _LOGGED_ALONE}
    remembering = Remembered(dataset, apart=True) if dataset.remembers else nullcontext()
    with tables.replacing(name, NAME, columns) as table, remembering as memory:
        for after in range(0, head, fold.CHUNK):
            upto = min(after + fold.CHUNK, head)
            here = pl.col("arrival").is_between(after + 1, upto)
            stored = events.read("arrival", "event_id", "event_time", "clock", "raw", where=here)
            x = features.of_events(dataset, stored, report.problems)
            if memory:
                x = x.hstack(memory.fold(stored, x, after, report.problems))
                memory.keep(upto)
            _compare(report, x, logged.read("x", where=here)["x"].struct.unnest())
            rows = stored.drop("clock", "raw").with_columns(x.to_struct("x"))
            table.append(rows, {"infer": upto})
            report.events += rows.height
            if progress:
                progress(NAME, upto, head)
    return report


def _compare(report: WhatIfReport, x: pl.DataFrame, logged: pl.DataFrame) -> None:
    """Count by feature of how many events it is another than was logged."""
    for name, now in zip(x.columns, x.get_columns(), strict=True):
        was = logged[name] if name in logged.columns else pl.repeat(None, x.height, eager=True)
        alike = now.dtype == was.dtype  # else any value is another than it was
        changed = now.ne_missing(was) if alike else now.is_not_null() | was.is_not_null()
        report.changed[name] = report.changed.get(name, 0) + int(changed.sum())
