"""How is a command asked, and how does it answer?"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from millrace.errors import MillraceError, unknown


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


def command(function: Callable[..., Any]) -> click.Command:
    """Make a command that also answers as JSON."""
    json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, for machines.")
    return millrace.command()(json(function))


def answer(report: Any, as_json: bool) -> None:
    """Show a stage's report; what did not work makes the exit code 1."""
    if as_json:
        click.echo(orjson.dumps(report, default=_plain, option=orjson.OPT_INDENT_2))
    else:
        for line in str(report).splitlines():
            click.echo(f"{report.dataset}: {line}")
    succeed(report)


def succeed(report: Any) -> None:
    """Raise what did not work, so that the exit code is 1.

    Raises
    ------
    MillraceError
        With all problems of the report.
    """
    if problems := list(getattr(report, "problems", [])):
        raise MillraceError("; ".join(problems))


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(type(value).__name__)
