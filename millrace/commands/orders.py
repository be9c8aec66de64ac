"""Commands by which a person changes who is served, and whether models learn; each with its reason."""

from __future__ import annotations

import click

from millrace.commands.group import answer, command

_REASON = click.option("--reason", default="", help="Why; it is kept with the order, and shown.")


@command
@click.argument("dataset")
@click.argument("model", required=False)
@_REASON
@click.option("--dry-run", is_flag=True, help="Change nothing: what would the rule of the race do now, and what is missing?")
def promote(dataset: str, model: str | None, reason: str, dry_run: bool, as_json: bool) -> None:
    """Make a MODEL the champion of a DATASET, whatever the race says.

    \b
    Example: millrace promote flights recent --reason "the tree has seen a broken feed"
             millrace promote flights --dry-run
    """
    from millrace.control import promote as order

    answer(order(dataset, model, reason, dry_run), as_json)


@command
@click.argument("dataset")
@_REASON
def rollback(dataset: str, reason: str, as_json: bool) -> None:
    """Make the champion before the present one of a DATASET champion again; a second rollback takes the first one back.

    \b
    Example: millrace rollback flights --reason "worse on the new route"
    """
    from millrace.control import rollback as order

    answer(order(dataset, reason), as_json)


@command
@click.argument("dataset")
@click.argument("what", required=False, metavar="[VERSION|MODEL]")
@_REASON
@click.option("--off", is_flag=True, help="Lift the pin.")
def pin(dataset: str, what: str | None, reason: str, off: bool, as_json: bool) -> None:
    """Let nothing change by itself: the race of a DATASET promotes nobody; a VERSION (or a MODEL's newest) stays served.

    \b
    Example: millrace pin flights --reason "no surprises over the holidays"
             millrace pin flights v12 --reason "until the audit is done"
             millrace pin flights --off --reason "the audit is done"
    """
    from millrace.control import pin as order

    answer(order(dataset, what, reason, off), as_json)


@command
@click.argument("dataset")
@_REASON
@click.option("--off", is_flag=True, help="Learn again, from the next tick on.")
def pause(dataset: str, reason: str, off: bool, as_json: bool) -> None:
    """Stop learning a DATASET; predicting and serving go on, and what waits is learned later, in the same order.

    \b
    Example: millrace pause flights --reason "labels of today are wrong at the source"
             millrace pause flights --off --reason "corrected"
    """
    from millrace.control import pause as order

    answer(order(dataset, reason, off), as_json)
