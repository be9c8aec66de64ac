"""Commands that do something: a stage, one tick, upkeep, and data to try things on."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import click

from millrace import screen
from millrace.clock import parse_duration, parse_moment
from millrace.commands.group import answer, command, millrace, succeed


@command
@click.argument("dataset")
@click.option(
    "--docs", type=click.Path(file_okay=False, path_type=Path), help="Write Great Expectations' Data Docs into this folder."
)
def ingest(dataset: str, docs: Path | None, as_json: bool) -> None:
    """Take in what lies in a DATASET's landing folder.

    \b
    Example: millrace ingest flights --docs data/docs
    """
    from millrace.ingest import ingest as stage

    answer(stage(dataset, docs), as_json)


@command
@click.argument("dataset")
def infer(dataset: str, as_json: bool) -> None:
    """Predict a DATASET's new events with every model's published version.

    \b
    Example: millrace infer flights
    """
    from millrace.infer import infer as stage

    with screen.progress() as progress:
        report = stage(dataset, progress)
    answer(report, as_json)


@command
@click.argument("dataset")
def learn(dataset: str, as_json: bool) -> None:
    """Learn from a DATASET's new answers: join, fold, score, promote, publish.

    \b
    Example: millrace learn flights
    """
    from millrace.learn import learn as stage

    with screen.progress() as progress:
        report = stage(dataset, progress)
    answer(report, as_json)


@command
@click.argument("dataset")
def run(dataset: str, as_json: bool) -> None:
    """Make one tick of a DATASET, now: ingest, infer, learn.

    \b
    Example: millrace run flights
    """
    from millrace.run import run as stage

    with screen.progress() as progress:
        report = stage(dataset, progress)
    answer(report, as_json)


@command
@click.argument("dataset")
@click.option("--keep", default="30d", show_default=True, help="How long files that were taken in are kept: 12h, 30d, 8w.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be removed.")
def maintain(dataset: str, keep: str, dry_run: bool, as_json: bool) -> None:
    """Join a DATASET's small files, and remove what nothing needs any more; a tick does it, too, when there are many.

    \b
    Example: millrace maintain flights --keep 60d
    """
    from millrace.maintain import maintain as stage

    answer(stage(dataset, parse_duration(keep), dry_run), as_json)


@command
@click.argument("dataset")
@click.option("--from", "start", help="From this time, such as 2013-01-01; the beginning by default.")
@click.option("--to", "end", help="To (and without) this time; the end by default.")
@click.option("--every", default="1d", show_default=True, help="How much time a pair of files covers: 15m, 1h, 1d.")
@click.option("--format", "form", default="ndjson", show_default=True, help="ndjson, csv, parquet, ndjson.gz or csv.gz.")
def feed(dataset: str, start: str | None, end: str | None, every: str, form: str, as_json: bool) -> None:
    """Cut a DATASET's stored data into landing files.

    \b
    Example: millrace feed flights --from 2013-01-01 --to 2013-01-22 --every 1d
    """
    from millrace.feed import feed as stage

    span: tuple[datetime | None, ...] = tuple(parse_moment(text) if text else None for text in (start, end))
    answer(stage(dataset, span[0], span[1], parse_duration(every), form), as_json)


@millrace.command()
def demo() -> None:
    """The main job on real flights, through real Prefect flows: three weeks day by day, then two days hour by hour.

    \b
    Example: millrace demo
    """
    quiet = {"PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    sys.exit(subprocess.call([sys.executable, "-m", "flows.demo"], env={**quiet, **os.environ}))


@command
@click.argument("name")
@click.argument("history", type=click.Path(path_type=Path))
@click.option("--label", required=True, help="The column that is to be predicted.")
@click.option("--time", required=True, help="The column that says when.")
@click.option("--id", "identity", help="The column that names an event; made of the file and the row by default.")
@click.option("--label-time", help="The column that says when the label was known; at once by default.")
@click.option("--task", help="binary, multiclass or regression; as the label looks by default.")
def new(
    name: str, history: Path, label: str, time: str, identity: str | None, label_time: str | None, task: str | None, as_json: bool
) -> None:
    """Write the file of a dataset NAME from one table of its HISTORY, bring it in, and show how good models would have been.

    \b
    Example: millrace new churn history.csv --label churned --time date --id customer
    """
    from millrace.new import new as stage

    with screen.progress() as progress:
        report = stage(name, history, label, time, identity, label_time, task, progress)
    if as_json or report.validation is None:
        answer(report, as_json)
    else:
        screen.new(report)
        succeed(report)
