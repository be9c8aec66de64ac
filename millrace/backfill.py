"""What would the models have said of what had happened before they were there?

History is brought in, joined and folded as if it had been lived through. Then each model goes over it once more, and is asked
as it would have been in service. These predictions are marked as made in a backfill: they were never served. When all models
have made theirs, the race is run over them, so it begins with evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import polars as pl

from millrace import answers, bits, catalog, history, interventions, layout, parallel, tables
from millrace.clock import MICROSECOND, write_duration
from millrace.dataset import Dataset
from millrace.errors import ConflictError, MillraceError, UsageError
from millrace.fold import FoldReport, fold_alone
from millrace.hindsight import Hindsight, Stretch, answered_before
from millrace.infer import InferReport, infer
from millrace.ingest import IngestReport
from millrace.join import JoinReport, join
from millrace.outcomes import OutcomesReport, mature
from millrace.parallel import Progress
from millrace.publish import PublishReport, publish
from millrace.race import RaceReport, score
from millrace.tables import Table


@dataclass
class ModelReport:
    """How far a model's fold came, and how many ``predictions`` it made."""

    fold: FoldReport
    predictions: int = 0
    problem: str | None = None

    def __str__(self) -> str:
        said = f"{self.fold}; {self.predictions:,} predictions"
        return f"{said}; {self.problem}" if self.problem else said


@dataclass
class BackfillReport:
    """What a backfill did: the reports of its steps. ``waiting`` events still wait for predictions, and with them the race."""

    dataset: str
    cadence: timedelta
    ingest: IngestReport
    infer: InferReport | None = None
    join: JoinReport | None = None
    outcomes: OutcomesReport | None = None
    models: list[ModelReport] = field(default_factory=list)
    waiting: int = 0
    race: RaceReport | None = None
    publish: PublishReport | None = None

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        found = list(self.infer.problems) if self.infer else []
        for one in self.models:
            found += [f"{one.fold.model}: {problem}" for problem in (one.fold.problem, one.problem) if problem]
        return found + (self.publish.problems if self.publish else [])

    def __str__(self) -> str:
        said: list[object] = [self.ingest, self.join, self.outcomes, *self.models]
        if self.race:
            turns = len(self.race.promoted)
            said.append(f"{self.race.scored:,} labels scored, {turns:,} promotions, champion: {self.race.champion}")
        said.append(self.publish)
        if any(one.predictions for one in self.models):
            said.append(f"these predictions are as if the models had been published every {write_duration(self.cadence)}")
        if self.waiting:
            said.append(history.waits(self.dataset, self.waiting))
        return "\n".join(map(str, filter(None, said)))


def backfill(
    name: str,
    events: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    cadence: timedelta | None = None,
    progress: Progress | None = None,
    docs: Path | None = None,
) -> BackfillReport:
    """Bring in history, and let the models learn it and race over it. Run again, it goes on where it was cut off.

    Parameters
    ----------
    name
        The dataset.
    events, labels
        Files in the formats of the landing folder, which stay where they are; none, to go on with what was brought in.
    cadence
        As if the models had been published so often, at multiples of it since 1970 (UTC). By default as the dataset says.
    progress
        Is told how far each model has come.
    docs
        A folder into which Great Expectations writes its Data Docs of what it checked.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or file, the files are too large, or the dataset's file is broken; when a backfill that
        was cut off has another cadence; when learning is paused.
    MillraceError
        When events are older than those that have arrived; nothing was brought in.
    """
    dataset = catalog.load(name)
    if cadence is not None and cadence < MICROSECOND:
        raise UsageError(f"cadence {cadence} must be longer than nothing; write 1h or 1d")
    if paused := interventions.pausing(name):
        raise UsageError(f"{name} is {paused}; a backfill learns: first run: millrace pause {name} --off --reason …")
    if tables.created(name):
        answers.check(dataset)
        for _, last in history.unpredicted(name):
            _begun(dataset, last, cadence)
    report = BackfillReport(name, cadence or dataset.cadence, history.bring_in(name, events, labels, docs))
    report.infer, report.join, report.outcomes = infer(name), join(name), mature(name)
    # What another process brings in from now on waits for the next run: here, some models would see it, and others not.
    joined = Table(name, "examples").cursor("join")
    todo = answered_before(dataset, [one for one in history.unpredicted(name) if one[-1] <= joined])
    for _, last, _ in todo:
        report.cadence = _cadence(dataset, last, cadence)
    waiting = history.waiting(name) * len(dataset.racing)
    report.models = parallel.each(_folded_and_asked, [(name, model, todo) for model in dataset.racing], waiting, progress)
    report.waiting = _complete(dataset)
    report.race, report.publish = score(name), publish(name)
    return report


def _begun(dataset: Dataset, last: int, wanted: timedelta | None) -> tuple[Table, timedelta]:
    """Return the cadence at which the predictions of a stretch were begun (zero: they were not), and the table that says so."""
    table = Table(dataset.name, "predictions")
    begun = table.cursor(f"cadence/{last}") * MICROSECOND
    if begun and wanted not in (None, begun):
        raise UsageError(
            f"predictions of {dataset.name} were begun as if published every {write_duration(begun)}, and are not complete; to "
            f"complete them first, run: millrace replay {dataset.name} --backfill"
        )
    return table, begun


def _cadence(dataset: Dataset, last: int, wanted: timedelta | None) -> timedelta:
    """Return the cadence of the predictions of a stretch, which is put on record before the first."""
    table, begun = _begun(dataset, last, wanted)
    if not begun:
        chosen = wanted or dataset.cadence
        try:
            table.append(_none(dataset), {f"cadence/{last}": chosen // MICROSECOND})
        except ConflictError:
            return _cadence(dataset, last, wanted)
        return chosen
    return begun


def _none(dataset: Dataset) -> pl.DataFrame:
    return pl.DataFrame(schema=layout.schemas(dataset)["predictions"])


def _folded_and_asked(name: str, model: str, todo: Sequence[Stretch], progress: Progress) -> ModelReport:
    """Bring a model to the head of the log, and make its predictions of these stretches."""
    report = ModelReport(fold_alone(name, model, progress))
    if report.fold.problem is None or report.fold.suspended:
        try:
            for stretch in todo:
                report.predictions += _predict(catalog.load(name), model, stretch, progress)
        except MillraceError as error:
            report.problem = str(error)
    return report


def _complete(dataset: Dataset) -> int:
    """Put on record which stretches all models have predicted; return how many events wait."""
    for _, last in history.unpredicted(dataset.name):
        table = Table(dataset.name, "predictions")
        if any(table.cursor(f"backfill/{model}") < last for model in dataset.racing):
            break
        try:
            table.append(_none(dataset), {"backfill": last})
        except ConflictError:
            continue  # another process did the same
    return history.waiting(dataset.name)


def _predict(dataset: Dataset, model: str, stretch: Stretch, progress: Progress) -> int:
    """Make a model's predictions of a stretch, and store those that are not yet there; return how many these are."""
    made, cursor, table, (first, last, _) = 0, f"backfill/{model}", Table(dataset.name, "predictions"), stretch
    if table.cursor(cursor) >= last:
        return 0
    going = Hindsight(dataset, model, stretch, table.cursor(f"cadence/{last}"))
    ours = f"{going.lineage}/{last}"
    for upto, said in going.said(progress):
        while True:
            table = Table(dataset.name, "predictions")
            done = table.cursor(cursor)
            new = said.filter(pl.col("arrival") > done)
            after = {cursor: upto, f"predictions/{model}": table.cursor(f"predictions/{model}") + new.height}
            if done < first or table.cursor(ours) == done:  # else another definition, or environment, has begun
                after |= {ours: upto}
            try:
                if done < upto:
                    table.append(new, after)
                    made += new.height
                break
            except ConflictError:
                continue
    return made


def differing(dataset: Dataset, model: str, stretch: Stretch, progress: Progress = parallel.silent) -> bits.Difference | None:
    """Make a model's predictions of a stretch again, and compare them with the stored ones, to the bit.

    Parameters
    ----------
    dataset, model
        All of these predictions were made by this definition of the model, in this environment.
    stretch
        As :func:`millrace.hindsight.answered_before` gives it.
    progress
        Is told how far it has come.

    Returns
    -------
    Difference or None
        The first that differs, in order of arrival; None where all are the same.
    """
    table, (start, last, _) = Table(dataset.name, "predictions"), stretch
    going = Hindsight(dataset, model, stretch, table.cursor(f"cadence/{last}"))
    for upto, again in going.said(progress):
        here = (pl.col("model") == model) & (pl.col("origin") == "backfill") & pl.col("arrival").is_between(start, upto)
        found = bits.difference(table.read(where=here).drop("at"), again.drop("at"), "arrival")
        if found:
            return found
        start = upto + 1
    return None
