"""What can go wrong, in words that say what to do?"""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MillraceError(Exception):
    """The root of every error that Millrace raises: it failed, and the message says what to do. Exit code 1."""


class UsageError(MillraceError):
    """It was asked for something that there is not. Exit code 2."""


class DatasetError(MillraceError):
    """A dataset's file is broken. The message names the file, the line and what would be right."""


class ConflictError(MillraceError):
    """Another process committed the same step first. Nothing is lost: read again and go on."""


class RegistryError(MillraceError):
    """MLflow did not answer or refused. The tick keeps its work; publishing is made up for later."""


class InexactModelWarning(UserWarning):
    """A part of a model is not exact: folded again, elsewhere, it may differ in the last bit."""


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Tell what could not be written, and that nothing is lost; around whatever writes.

    Raises
    ------
    MillraceError
        In place of an `OSError`, such as of a disk that is full, and of SQLite's.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        said = " ".join(re.sub(r"\x1b\[\d+m", "", str(error)).split())
        raise MillraceError(
            f"{what} cannot be written: {said}; nothing that was committed is lost: make room, or mend what it says, and run it "
            "again"
        ) from error


def unknown(kind: str, name: str, available: Iterable[str]) -> UsageError:
    """Make the error for a name that does not exist.

    Parameters
    ----------
    kind
        What was looked for, such as ``"dataset"``.
    name
        The name that was asked for.
    available
        The names that there are.

    Examples
    --------
    >>> str(unknown("dataset", "fligths", ["flights", "phishing"]))
    "unknown dataset 'fligths'; did you mean 'flights'? available: flights, phishing"
    """
    names = sorted(available)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}; {hint}available: {', '.join(names) or 'none'}")
