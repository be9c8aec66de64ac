"""What would online learning do with this table?

From one table of history to a dataset in production: its file is written, its history brought in, and what models would
have scored is shown beside ``prior`` and a batch model, at three cadences.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from millrace import catalog, tables
from millrace.drafting import draft, findings, sheet, timeline
from millrace.errors import UsageError, writing
from millrace.settings import settings

if TYPE_CHECKING:
    from millrace.backfill import BackfillReport
    from millrace.parallel import Progress
    from millrace.validation.kept import ValidateReport


@dataclass
class NewReport:
    """What was found in the table, what was written, and how well models would have done.

    Parameters
    ----------
    path
        The dataset's file.
    task
        ``binary``, ``multiclass`` or ``regression``.
    events, labels
        The rows, and those of them with a label.
    found
        What was found, taken and left out, a sentence each.
    judged_from, unscored, cadences
        Models were judged on the events from this time on, at these cadences; so much at the beginning does not count.
    backfill, validation
        What became of the history, and the scores.
    """

    dataset: str
    path: Path
    task: str
    events: int
    labels: int
    found: list[str]
    judged_from: datetime
    unscored: timedelta
    cadences: list[timedelta]
    backfill: BackfillReport | None = None
    validation: ValidateReport | None = None

    @property
    def history(self) -> tuple[Path, Path]:
        """The table's rows as files of events and of labels."""
        folder = settings().root / self.dataset / "history"
        return folder / "events.parquet", folder / "labels.parquet"

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        return [problem for one in (self.backfill, self.validation) if one for problem in one.problems]

    def __str__(self) -> str:
        said = [f"{self.path} was written: {self.task}, {self.events:,} events, {self.labels:,} labels"]
        said += [f"- {sentence}" for sentence in self.found]
        return "\n".join([*said, *(str(one) for one in (self.backfill, self.validation) if one)])


def new(
    name: str,
    path: Path,
    label: str,
    time: str,
    id: str | None = None,
    label_time: str | None = None,
    task: str | None = None,
    progress: Progress | None = None,
) -> NewReport:
    """Write a dataset's file from a table of history, bring the history in, and judge models on it.

    Parameters
    ----------
    name
        What the dataset is to be called.
    path
        The table: CSV (with commas, semicolons, tabs or bars), NDJSON or Parquet; a row an event, with its features, its
        label (empty: never answered) and its time, in any order. Times without a zone are UTC.
    label, time, id
        The columns of the label, of the event's time and of its id. Without ``id`` an event is named after the file and
        its row; an id that comes twice is followed by the row.
    label_time
        The column of the time at which the label became known; without it, answers come at once.
    task
        ``binary``, ``multiclass`` or ``regression``, where the label's values do not tell.
    progress
        Is told how far each model has come.

    Raises
    ------
    UsageError
        When the name is taken or cannot be one, or the table is not as was said: with the line where there is one.
    MillraceError
        When a file cannot be read or written.
    """
    report = write(name, path, label, time, id, label_time, task)

    from millrace.backfill import backfill
    from millrace.validate import validate

    events, labels = report.history
    report.backfill = backfill(name, [events], [labels], progress=progress)
    # Until each has been refreshed once, what would be compared is how long models that know nothing are served.
    report.validation = validate(
        name, first=report.judged_from, cadences=report.cadences, unscored=report.unscored, progress=progress
    )
    return report


def write(
    name: str,
    path: Path,
    label: str,
    time: str,
    id: str | None = None,
    label_time: str | None = None,
    task: str | None = None,
) -> NewReport:
    """Write a dataset's file from a table, and the table's rows as files of events and labels: `new`, before anything learns.

    Parameters and errors are those of `new`.
    """
    _check(name)
    table = sheet.read(path)
    chosen = [column for column in (label, time, id, label_time) if column is not None]
    if twice := next((column for i, column in enumerate(chosen) if column in chosen[:i]), None):
        raise UsageError(f"column {twice!r} is named twice; label, time, id and label time are different columns")
    for column in chosen:
        table.column(column)
    for column in timeline.RESERVED:
        if column in table.frame.columns and column not in chosen:
            table.said.append(
                f"`{column}` is left out: the name is the event's own; where it is that, say --{column[6:]} {column}"
            )
    answer = findings.answer(table, label, task)
    line = timeline.lay(table, answer, time, id, label_time)
    others = [column for column in table.frame.columns if column not in (*chosen, *timeline.RESERVED)]
    raw = [*line.others, *findings.columns(table, others, answer.values)]
    choices = draft.draft(table, answer, line, raw)
    report = NewReport(
        name,
        settings().datasets / f"{name}.py",
        answer.task,
        table.frame.height,
        line.answered,
        list(choices.found),
        line.judged_from,
        line.unscored,
        line.cadences,
    )
    _write(report, choices.text, line.events(raw), line.labels())
    return report


def _check(name: str) -> None:
    """Refuse a name that cannot be one, or under which there is a log already."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        near = re.sub(r"\W+", "_", name.lower()).strip("_")
        near = near if re.match(r"[a-z]", near) and not keyword.iskeyword(near) else f"table_{near}".rstrip("_")
        raise UsageError(
            f"{name!r} is no name of a dataset: lowercase letters, digits and _, a letter first; such as {near[:64]}"
        )
    if name not in catalog.names() and tables.created(name):
        raise UsageError(
            f"{settings().root / name}/ holds the log of a dataset {name!r} whose file is gone; choose another name, or move "
            "that folder away"
        )


def _write(report: NewReport, text: str, events: pl.DataFrame, labels: pl.DataFrame) -> None:
    """Write the history as landing files are, and then the dataset's file, whole or not at all.

    Where the file is there and says the same, a run was cut off: the next goes on with it.
    """
    path = report.path
    if path.exists():
        if path.read_text(encoding="utf-8") == text and all(file.exists() for file in report.history):
            return
        raise UsageError(
            f"{path} is there already, and is never overwritten: choose another name, or move it away together with "
            f"{settings().root / report.dataset}/"
        )
    aside = path.with_name(f".{path.name}.part")
    with writing(path):
        for frame, file in zip((events, labels), report.history, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(file)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
