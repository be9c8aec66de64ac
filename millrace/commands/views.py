"""Commands that show what there is, and what was said."""

from __future__ import annotations

from datetime import datetime

import click
import orjson

from millrace import catalog, screen
from millrace.clock import parse_moment, write_moment
from millrace.commands.group import command, millrace
from millrace.errors import MillraceError


@command
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


@command
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
