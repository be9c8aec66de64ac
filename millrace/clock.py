"""What time is it, and how is a time written?

Every time in Millrace is UTC, aware, in microseconds. "Now" comes from here alone, so that a test can set it. No
clock of a machine decides what is learned: windows close on the clock of the data.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from millrace.errors import DatasetError, UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def now() -> datetime:
    """Return the present moment, in UTC.

    Examples
    --------
    >>> now().tzinfo
    datetime.timezone.utc
    """
    return datetime.now(UTC)


def aware(moment: datetime) -> datetime:
    """Return a moment in UTC; refuse one that does not say its time zone.

    Raises
    ------
    UsageError
        When the moment is naive.

    Examples
    --------
    >>> aware(datetime.fromisoformat("2013-01-20T07:00-05:00")).isoformat()
    '2013-01-20T12:00:00+00:00'
    """
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} does not say its time zone; write {moment.isoformat()}Z for UTC")
    return moment.astimezone(UTC)


def parse_moment(text: str) -> datetime:
    """Read a date (midnight UTC) or a time with its zone, as people type them.

    Raises
    ------
    UsageError
        When the text is neither, or a time without a zone.

    Examples
    --------
    >>> parse_moment("2013-01-22").isoformat()
    '2013-01-22T00:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2013-01-22 or 2013-01-22T12:00Z") from None
    if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text):
        return moment.replace(tzinfo=UTC)
    return aware(moment)


def parse_duration(text: str) -> timedelta:
    """Read a length of time, such as ``90s``, ``15m``, ``1h``, ``2d`` or ``1w``.

    Raises
    ------
    UsageError
        When there is no number, no unit, or nothing that passes.

    Examples
    --------
    >>> parse_duration("1h")
    datetime.timedelta(seconds=3600)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if not found or float(found[1]) == 0:
        raise UsageError(f"{text!r} is no length of time; write a number and s, m, h, d or w, such as 1h")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def declared_duration(what: str, given: object, unit: str = "d") -> timedelta:
    """Read a length of time that a dataset's file gives: a timedelta, or a text with a unit; none is allowed.

    Parameters
    ----------
    what
        What is given, for the message: ``labels: window='7'``.
    unit
        What a number alone probably means: d or s.

    Raises
    ------
    DatasetError
        When it has no unit, is no length of time, or is negative.

    Examples
    --------
    >>> declared_duration("memory: last('1h')", "1h")
    datetime.timedelta(seconds=3600)
    >>> declared_duration("labels: window=7", 7)
    Traceback (most recent call last):
    millrace.errors.DatasetError: labels: window=7 has no unit; write '7d' or timedelta(days=7)
    """
    if re.fullmatch(r"\d+(\.\d+)?", number := str(given).strip()):
        keyword = "days" if unit == "d" else "seconds"
        raise DatasetError(f"{what} has no unit; write '{number}{unit}' or timedelta({keyword}={number})")
    if isinstance(given, str) and re.fullmatch(r"0+\s*[smhdw]", given.strip()):
        return timedelta(0)
    try:
        length = parse_duration(given) if isinstance(given, str) else given
    except UsageError as error:
        raise DatasetError(f"{what}: {error}") from None
    if not isinstance(length, timedelta):
        raise DatasetError(f"{what} is no length of time; write '7d' or timedelta(days=7)")
    if length < timedelta(0):
        raise DatasetError(f"{what} must not be negative")
    return length


def write_moment(moment: datetime | None) -> str | None:
    """Write a moment as RFC 3339 in UTC, to the microsecond only where it has any.

    Examples
    --------
    >>> write_moment(datetime(2013, 1, 22, 12, tzinfo=UTC))
    '2013-01-22T12:00:00Z'
    """
    return None if moment is None else aware(moment).isoformat().replace("+00:00", "Z")


def write_duration(length: timedelta) -> str:
    """Write a length of time as people type it, in its largest whole unit.

    Examples
    --------
    >>> write_duration(timedelta(hours=36)), write_duration(timedelta(days=7))
    ('36h', '1w')
    """
    seconds = length.total_seconds()
    unit = next((unit for unit, size in reversed(_UNITS.items()) if seconds % size == 0), "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


def write_about(seconds: float) -> str:
    """Write a length of time to three digits, in the largest unit of which there is one.

    Examples
    --------
    >>> write_about(9_780), write_about(7 * 86_400), write_about(0)
    ('2.72h', '7d', '0s')
    """
    unit = next((unit for unit, size in reversed(_UNITS.items()) if unit != "w" and seconds >= size), "s")
    return f"{seconds / _UNITS[unit]:.3g}{unit}"


def microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970, exactly.

    Examples
    --------
    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    return (aware(moment) - _EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """Return the moment that is so many microseconds after 1970.

    Examples
    --------
    >>> from_microseconds(1000005).isoformat()
    '1970-01-01T00:00:01.000005+00:00'
    """
    return _EPOCH + count * MICROSECOND
