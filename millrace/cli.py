"""What can be asked from a terminal?

One command a stage, the same functions as the tasks and a notebook use; none needs a server. Exit codes: 0 it worked,
1 it failed, 2 it was asked wrongly.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import orjson

from millrace import catalog, screen
from millrace.clock import parse_duration, parse_moment, write_moment
from millrace.errors import InexactModelWarning, MillraceError, UsageError, unknown


class _Commands(click.Group):
    """The commands; one that does not exist is answered with those that do."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millrace")
def millrace() -> None:
    """Online machine learning in production, the batch way."""


def _command(function: Callable[..., Any]) -> click.Command:
    """Make a command that also answers as JSON."""
    json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, for machines.")
    return millrace.command()(json(function))


def _answer(report: Any, as_json: bool) -> None:
    """Show a stage's report; what did not work makes the exit code 1."""
    problems = list(getattr(report, "problems", []))
    if as_json:
        click.echo(orjson.dumps(report, default=_plain, option=orjson.OPT_INDENT_2))
    else:
        for line in str(report).splitlines():
            click.echo(f"{report.dataset}: {line}")
    if problems:
        raise MillraceError("; ".join(problems))


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(type(value).__name__)


@_command
def datasets(as_json: bool) -> None:
    """What datasets there are.

    \b
    Example: millrace datasets
    """
    found, broken = catalog.load_all()
    if as_json:
        listed = [
            {"dataset": d.name, "task": d.task, "description": d.description, "models": d.racing, "path": str(d.path)}
            for d in found
        ]
        click.echo(orjson.dumps({"datasets": listed, "broken": [str(error) for error in broken]}, option=orjson.OPT_INDENT_2))
    else:
        screen.datasets(found)
    if broken:
        raise MillraceError("\n".join(map(str, broken)))


@_command
@click.argument("dataset", required=False)
def status(dataset: str | None, as_json: bool) -> None:
    """Where everything stands, what waits, and what is wrong; of one DATASET, or of all.

    \b
    Example: millrace status flights
    """
    from millrace.status import status as status_of

    if dataset is None:
        found, broken = catalog.load_all()
        all_of_them = [status_of(one.name) for one in found]
        if as_json:
            click.echo(b"[" + b",\n".join(one.as_json() for one in all_of_them) + b"]")
        else:
            screen.statuses(all_of_them)
        if broken:
            raise MillraceError("\n".join(map(str, broken)))
        return
    one = status_of(dataset)
    if as_json:
        click.echo(one.as_json())
    else:
        screen.status(one)


@_command
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

    _answer(stage(dataset, docs), as_json)


@_command
@click.argument("dataset")
def infer(dataset: str, as_json: bool) -> None:
    """Predict a DATASET's new events with every model's published version.

    \b
    Example: millrace infer flights
    """
    from millrace.infer import infer as stage

    _answer(stage(dataset), as_json)


@_command
@click.argument("dataset")
def learn(dataset: str, as_json: bool) -> None:
    """Learn from a DATASET's new answers: join, fold, score, promote, publish.

    \b
    Example: millrace learn flights
    """
    from millrace.learn import learn as stage

    with screen.progress() as progress:
        report = stage(dataset, progress)
    _answer(report, as_json)


@_command
@click.argument("dataset")
def run(dataset: str, as_json: bool) -> None:
    """Make one tick of a DATASET, now: ingest, infer, learn.

    \b
    Example: millrace run flights
    """
    from millrace.run import run as stage

    with screen.progress() as progress:
        report = stage(dataset, progress)
    _answer(report, as_json)


@_command
@click.argument("dataset")
@click.argument("model", required=False)
@click.option("--verify", is_flag=True, help="Change nothing: fold again, and compare with every checkpoint on record.")
@click.option("--every", is_flag=True, help="In verifying, compare the digest of every checkpoint, whatever it costs.")
def replay(dataset: str, model: str | None, verify: bool, every: bool, as_json: bool) -> None:
    """Build a DATASET's models again from the first example of its log; one MODEL, or all.

    A state that was lost comes back; a definition that was changed is accepted, and the model is learned anew.

    \b
    Example: millrace replay flights recent
             millrace replay flights --verify
    """
    from millrace.replay import replay as rebuild
    from millrace.replay import verify as prove

    if every and not verify:
        raise UsageError("--every says which digests are compared; write: --verify --every")
    with screen.progress() as progress:
        report = prove(dataset, model, every, progress) if verify else rebuild(dataset, model, progress)
    _answer(report, as_json)


@_command
@click.argument("dataset")
@click.option("--keep", default="30d", show_default=True, help="How long files that were taken in are kept: 12h, 30d, 8w.")
def maintain(dataset: str, keep: str, as_json: bool) -> None:
    """Join a DATASET's small files, and remove what nothing needs any more; a tick does it, too, when there are many.

    \b
    Example: millrace maintain flights --keep 60d
    """
    from millrace.maintain import maintain as stage

    _answer(stage(dataset, parse_duration(keep)), as_json)


@millrace.command()
@click.argument("dataset")
@click.option("--since", help="Only events since this time, such as 2013-01-22 or 2013-01-22T12:00Z.")
@click.option("--all", "everyone", is_flag=True, help="The shadows' predictions, too.")
def predictions(dataset: str, since: str | None, everyone: bool) -> None:
    """What was served of a DATASET: one JSON object a line.

    \b
    Example: millrace predictions flights --since 2013-01-22
    """
    import polars as pl

    from millrace import tables, task
    from millrace.tables import Table

    one = catalog.load(dataset)
    if not tables.created(dataset):
        return
    wanted = pl.lit(True) if everyone else pl.col("served")
    if since:
        wanted = wanted & (pl.col("event_time") >= parse_moment(since))
    columns = ("event_id", "event_time", "model", "version", "seq", "served", "answered", "at")
    rows = Table(dataset, "predictions").read(*columns, *task.columns(one), where=wanted)
    for row in rows.iter_rows(named=True):
        click.echo(orjson.dumps({k: write_moment(v) if isinstance(v, datetime) else v for k, v in row.items()}))


@_command
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
    _answer(stage(dataset, span[0], span[1], parse_duration(every), form), as_json)


@millrace.command()
def demo() -> None:
    """The main job on real flights, through real Prefect flows: three weeks day by day, then two days hour by hour.

    \b
    Example: millrace demo
    """
    quiet = {"PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    sys.exit(subprocess.call([sys.executable, "-m", "flows.demo"], env={**quiet, **os.environ}))


def main() -> None:
    """Run the command line, and turn every error into a message and an exit code."""
    warnings.showwarning = _warn
    try:
        code = millrace.main(standalone_mode=False)
    except click.exceptions.NoSuchOption as error:
        known = [
            name for option in (error.ctx.command.params if error.ctx else []) for name in option.opts if name.startswith("--")
        ]
        code = _fail(str(unknown("option", error.option_name, [*known, "--help"])), 2)
    except click.ClickException as error:
        hint = f"; see: {error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else ""
        code = _fail(error.format_message().rstrip(".") + hint, 2)
    except UsageError as error:
        code = _fail(str(error), 2)
    except MillraceError as error:
        code = _fail(str(error), 1)
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _fail("stopped; what was committed stands, and the next run goes on from there", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        if os.environ.get("PYTHONDEVMODE"):
            raise
        code = _fail(f"unexpected {type(error).__name__}: {error}; this is a fault in millrace; PYTHONDEVMODE=1 shows where", 1)
    sys.exit(code or 0)


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None, line: str | None = None
) -> None:
    where = "" if issubclass(category, InexactModelWarning) else f" ({filename}:{lineno})"
    click.echo(f"millrace: warning: {message}{where}", err=True)


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        click.echo(f"millrace: {line}", err=True)
    return code
