"""Commands that ask about the past: a model is a fold over its log, so each question has an exact answer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from millrace import screen
from millrace.clock import parse_duration, parse_moment
from millrace.commands.group import answer, command, succeed
from millrace.dataset import PRIOR

_FILES: dict[str, Any] = {"multiple": True, "type": click.Path(path_type=Path)}


@command
@click.argument("dataset")
@click.argument("model", required=False)
@click.option("--verify", is_flag=True, help="Change nothing: fold and predict again, and compare with all that is on record.")
@click.option("--every", is_flag=True, help="In verifying, compare the digest of every checkpoint, whatever it costs.")
@click.option("--to", help="MODEL as it was at this time, or at this seq, as a version in MLflow: 2013-01-20T12:00Z, 12000.")
@click.option(
    "--backfill", is_flag=True, help="Bring in history in one go, and race over it; alone, go on with one that was cut off."
)
@click.option("--events", **_FILES, help="A file of past events to bring in: Parquet, CSV, NDJSON; may be repeated.")
@click.option("--labels", **_FILES, help="A file of their labels; may be repeated.")
@click.option(
    "--cadence", help="In a backfill: predictions as if models had been published so often; the dataset's own by default."
)
@click.option(
    "--what-if", is_flag=True, help="Compute past events' features by today's definitions, beside the log, for validate."
)
@click.option(
    "--policy",
    multiple=True,
    metavar="KEY=VALUE",
    help="What would have been served: minimum=500, models=a+b, cadence=1d; may be repeated; declared: as the file says now.",
)
def replay(
    dataset: str,
    model: str | None,
    verify: bool,
    every: bool,
    to: str | None,
    backfill: bool,
    events: tuple[Path, ...],
    labels: tuple[Path, ...],
    cadence: str | None,
    what_if: bool,
    policy: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build a DATASET's models again from the first example of its log; one MODEL, or all.

    A state that was lost comes back; a definition that was changed is accepted, and the model is learned anew. Other
    questions about the past, one at a time: is it all as recorded (--verify), what did a model know then (--to), what if
    Millrace had been there before (--backfill), the features had been others (--what-if), or another rule had decided who is
    served (--policy).

    \b
    Example: millrace replay flights recent
             millrace replay flights --verify
             millrace replay flights recent --to 2013-01-20T12:00Z
             millrace replay flights --events events.parquet --labels labels.parquet
             millrace replay flights --what-if
             millrace replay flights --policy minimum=500 --policy models=recent+linear
    """
    from millrace.past import ask

    asked: dict[str, Any] = {"verify": verify, "every": every, "to": to, "backfill": backfill, "events": events, "labels": labels}
    every_so_often = parse_duration(cadence) if cadence else None
    with screen.progress() as progress:
        report = ask(dataset, model, **asked, cadence=every_so_often, what_if=what_if, policy=policy, progress=progress)
    answer(report, as_json)


@command
@click.argument("dataset")
@click.argument("models", nargs=-1, metavar="[MODEL|FILE.PY:FUNCTION]...")
@click.option("--from", "first", help="Events from this time, such as 2013-01-08; the first by default.")
@click.option("--to", "last", help="To (and without) this time; the last by default.")
@click.option(
    "--delay", default="arrival", show_default=True, help="When answers come: arrival, labels, none, or 2h after the question."
)
@click.option(
    "--cadence", "cadences", multiple=True, help="How often the model is published: 1h, 1d, label (each); several give the curve."
)
@click.option(
    "--start",
    default="cold",
    show_default=True,
    help="What models know at first: cold, warm (what was known then), or a version, v12.",
)
@click.option("--stretches", default=1, show_default=True, help="Judge so many stretches of equal length apart, and together.")
@click.option("--unscored", help="So much time at the beginning is learned and does not count: 7d.")
@click.option("--by", help="The loss by the values of this feature or raw column.")
@click.option("--against", default=PRIOR, show_default=True, help="The model to compare with.")
@click.option("--what-if", is_flag=True, help="With the features of the what-if log: see millrace replay --what-if.")
def validate(
    dataset: str,
    models: tuple[str, ...],
    first: str | None,
    last: str | None,
    delay: str,
    cadences: tuple[str, ...],
    start: str,
    stretches: int,
    unscored: str | None,
    by: str | None,
    against: str,
    what_if: bool,
    as_json: bool,
) -> None:
    """Judge MODELs of a DATASET, or ideas, by progressive validation over any stretch of its log.

    \b
    Example: millrace validate flights recent --cadence label --cadence 1h --cadence 1d --unscored 7d
             millrace validate flights ideas.py:deeper_tree --by origin
    """
    click.echo(f"{dataset}: loading its log, River and the models …", err=True)
    from millrace.validate import validate as judge

    with screen.progress() as progress:
        report = judge(
            dataset,
            *models,
            first=parse_moment(first) if first else None,
            last=parse_moment(last) if last else None,
            delay=delay,
            cadences=cadences,
            start=start,
            stretches=stretches,
            unscored=parse_duration(unscored) if unscored else timedelta(0),
            by=by,
            against=against,
            what_if=what_if,
            progress=progress,
        )
    if as_json:
        answer(report, as_json)
    else:
        screen.validation(report)
        succeed(report)


@command
@click.argument("dataset")
@click.argument("event_id")
@click.option("--from-nothing", is_flag=True, help="Fold each model from its fresh state, not from the checkpoint before: slow.")
def explain(dataset: str, event_id: str, from_nothing: bool, as_json: bool) -> None:
    """Everything about one event of a DATASET: its file, features, predictions and labels, and each prediction made again.

    \b
    Example: millrace explain flights 2013-01-01-UA1545-EWR-0515
    """
    from millrace.explain import explain as tell

    with screen.progress() as progress:
        report = tell(dataset, event_id, from_nothing, progress)
    answer(report, as_json)
