"""What has a validation found, and where is it kept?

Beside the tables, as a picture, a page and numbers, under a name made of what was asked and of the log's position; and as
a run in MLflow.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from millrace import clock, tables, tracking
from millrace.clock import write_moment
from millrace.dataset import PRIOR, Dataset
from millrace.errors import RegistryError, writing
from millrace.registry import legal
from millrace.settings import settings
from millrace.validation import charts, page
from millrace.validation.scores import Score

if TYPE_CHECKING:
    from mlflow import MlflowClient

_AT_ONCE = 1_000
"""MLflow takes no more metrics in a call."""


@dataclass
class ValidateReport:
    """What was asked, the place of the log at which it was asked, and the scores.

    Parameters
    ----------
    delay
        When answers came: ``arrival``, ``labels``, ``none``, or so long after the question: ``2h``.
    start
        What the models knew at the beginning: ``cold``, ``warm``, or a version.
    loss
        The name of the dataset's loss.
    arrival, seq
        The position of the log that was seen: the same question at the same position gives the same numbers.
    against
        The model to which the others are compared.
    by
        The column of the segments, or None.
    scores
        One a stretch, model and cadence, in this order; of several stretches first the one over all of them.
    lines
        How to hand on the best idea: what to add to the dataset's file.
    picture, page, run
        Where it is drawn, and the run in MLflow.
    notes, problems
        What to know before the numbers are believed; and what did not work.
    """

    dataset: str
    delay: str
    start: str
    loss: str
    arrival: int
    seq: int
    against: str = PRIOR
    by: str | None = None
    scores: list[Score] = field(default_factory=list)
    lines: str | None = None
    picture: Path | None = None
    page: Path | None = None
    run: str | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"answers by {self.delay}, {self.start} start, at arrival {self.arrival:,} and seq {self.seq:,} of the log"]
        said += [_line(score, self.loss) for score in self.scores]
        return "\n".join([*said, *self.notes])

    def markdown(self) -> str:
        """Return it with a table of the scores."""
        metrics = list(dict.fromkeys(name for score in self.scores for name in score.metrics))
        head = [
            "model",
            "cadence",
            "from",
            "to",
            f"{self.loss} loss",
            f"better than {self.against}",
            *metrics,
            "labels",
            "refreshes",
        ]
        rows = [head, ["---"] * 4 + ["---:"] * (len(head) - 4)]
        for one in self.scores:
            gain = f"{one.gain.gain:+.4f} ({one.gain.low:+.4f} to {one.gain.high:+.4f})" if one.gain else "–"
            values = [_rounded(one.metrics.get(name)) for name in metrics]
            times = [f"{moment:%Y-%m-%d %H:%M}" for moment in (one.start, one.end)]
            counts = [f"{one.labelled:,}", f"{one.refreshes:,}"]
            rows.append([one.model, one.cadence, *times, _rounded(one.loss), gain, *values, *counts])
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        asked = f"Answers by {self.delay}, {self.start} start, at arrival {self.arrival:,} and seq {self.seq:,} of the log."
        kept = [f"Drawn: `{self.page}`"] if self.page else []
        return "\n\n".join([asked, table, *self.notes, *kept])


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _line(score: Score, loss: str) -> str:
    said = f"{score.model} at {score.cadence}, {write_moment(score.start)} to {write_moment(score.end)}: {loss} loss "
    said += "–" if score.loss is None else f"{score.loss:.4f} over {score.labelled:,} labels"
    if score.gain:
        said += f", {score.gain.gain:+.4f} better than {score.gain.over} [{score.gain.low:+.4f}, {score.gain.high:+.4f}]"
    return said


def keep(dataset: Dataset, report: ValidateReport, asked: dict[str, Any]) -> None:
    """Draw a report, write it beside the tables, and log it as a run; say in the report where.

    Parameters
    ----------
    asked
        What was asked, by name: the run's parameters.
    """
    folder = tables.folder(dataset.name) / "validations"
    name = hashlib.sha256(orjson.dumps([asked, report.arrival, report.seq], default=str)).hexdigest()[:12]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        report.picture, report.page = folder / f"{name}.png", folder / f"{name}.html"
        report.picture.write_bytes(charts.draw(report))
        page.write(report, report.page)
        numbers = folder / f"{name}.json"
        numbers.write_bytes(orjson.dumps(asdict(report), default=str, option=orjson.OPT_INDENT_2))
    try:
        report.run = _logged(dataset, report, asked, [report.picture, report.page, numbers])
    except RegistryError as error:
        report.problems.append(f"the run is not in MLflow: {error}")


def _logged(dataset: Dataset, report: ValidateReport, asked: dict[str, Any], files: list[Path]) -> str:
    """Log a report as a run of the experiment ``<dataset>-validate``; return the run's id."""
    from mlflow.entities import Param, RunTag

    experiment = settings().shared_name(f"{dataset.name}-validate")
    with tracking.asking(f"log the validation of {dataset.name}") as client:
        where = tracking.experiment(client.tracking_uri, experiment, f"Ad-hoc progressive validation: {dataset.description}")
        models = ", ".join(dict.fromkeys(score.model for score in report.scores))
        tags = {"dataset": dataset.name, "mlflow.source.name": "millrace", "mlflow.note.content": str(report)}
        run = str(client.create_run(where, tags=tags, run_name=models[:250]).info.run_id)
        position = {"arrival": report.arrival, "seq": report.seq}
        params = [Param(name, str(value)[:500]) for name, value in {**asked, **position}.items()]
        client.log_batch(run, params=params, tags=[RunTag("models", models[:500])])
        _log_scores(client, run, report)
        for file in files:
            client.log_artifact(run, str(file))
        client.set_terminated(run)
    return run


def _log_scores(client: MlflowClient, run: str, report: ValidateReport) -> None:
    """Log each score's course, a step a window, and what it comes to."""
    from mlflow.entities import Metric

    metrics, done = [], set[tuple[str, str]]()
    for score in report.scores:
        of = f"{score.model} {score.cadence}"
        at = clock.microseconds(score.end) // 1000
        if (score.model, score.cadence) in done:  # of several stretches the first is all of them
            continue
        done.add((score.model, score.cadence))
        for step, window in enumerate(score.windows):
            metrics.append(Metric(legal(f"loss over time {of}"), window.loss, at, step))
        whole = {"loss": score.loss, **score.metrics, **({"gain": score.gain.gain} if score.gain else {})}
        metrics += [Metric(legal(f"{name} {of}"), value, at, 0) for name, value in whole.items() if value is not None]
    for first in range(0, len(metrics), _AT_ONCE):
        client.log_batch(run, metrics=metrics[first : first + _AT_ONCE])
