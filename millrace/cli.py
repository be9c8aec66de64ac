"""What happens when something is asked from a terminal, and how does it end?

The commands are in ``millrace.commands``; they call the same functions as the tasks and a notebook do, and none needs a
server. Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly.
"""

from __future__ import annotations

import os
import sys
import warnings

import click

from millrace.commands import orders, past, stages, views  # noqa: F401 - entered into the group
from millrace.commands.group import millrace as millrace
from millrace.errors import InexactModelWarning, MillraceError, UsageError, unknown


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
