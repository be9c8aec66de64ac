"""What stands in a table of history, as a person has it?

One file with features, label and date side by side. Text becomes numbers where all of a column are numbers; what is
written in a way that could be read wrongly is refused with its line.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from millrace.drafting import dates
from millrace.errors import MillraceError, UsageError, unknown

SUFFIXES = (".csv", ".tsv", ".txt", ".ndjson", ".jsonl", ".parquet")
"""What can be read; the text formats gzipped, too."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MISSING = ("", "na", "n/a", "nan", "null", "?")
_NUMBERS = 0.95
"""A column of which so many values are numbers is one of numbers; the others are mistakes."""
_BLOCK = 20_000


@dataclass(frozen=True)
class Sheet:
    """A table: its columns (Float64, Boolean, String, Date or Datetime), and the line of each row in its file.

    Parameters
    ----------
    said
        What a person should know of how it was read.
    """

    path: Path
    frame: pl.DataFrame
    lines: Sequence[int]
    said: list[str] = field(default_factory=list)

    def column(self, name: str) -> pl.Series:
        """Return a column.

        Raises
        ------
        UsageError
            When there is none of this name; it names the nearest.
        """
        if name not in self.frame.columns:
            raise UsageError(f"{self.path}: {unknown('column', name, self.frame.columns)}")
        return self.frame[name]

    def times(self, name: str, needed: pl.Series | None = None) -> tuple[pl.Series, str]:
        """Return a column as UTC times, and how it was written.

        Parameters
        ----------
        needed
            In which rows there must be one; in all by default.

        Raises
        ------
        UsageError
            When one cannot be read, or is not there: with its line.
        """
        column = self.column(name)
        try:
            times, way = dates.parse(column)
        except UsageError as error:
            raise UsageError(f"{self.path}: column {name!r}: {error}") from None
        if (wrong := (column.is_not_null() & times.is_null()).arg_true()).len():
            rest = f", and so are {wrong.len() - 1:,} more" if wrong.len() > 1 else ""
            raise UsageError(
                f"{self.path}:{self.lines[wrong[0]]}: {name} {str(column[wrong[0]])!r} is no date{rest}; write 2013-01-20, "
                "2013-01-20T12:00:00Z, 20.01.2013, 01/20/2013, or seconds since 1970"
            )
        absent = times.is_null() if needed is None else times.is_null() & needed
        if (rows := absent.arg_true()).len():
            raise UsageError(
                f"{self.path}:{self.lines[rows[0]]}: there is no {name} ({rows.len():,} such rows); without it a row has no "
                "place in the order: fill it in, or leave the rows out"
            )
        return times, way


def read(path: Path) -> Sheet:
    """Read a table from CSV (separated by commas, semicolons, tabs or bars), NDJSON or Parquet.

    Raises
    ------
    UsageError
        When the file is not there, is none of these, or has a line that does not fit.
    """
    if not path.is_file():
        near = sorted(one.name for one in path.parent.glob("*") if one.suffix in SUFFIXES) if path.parent.is_dir() else []
        raise UsageError(f"there is no file {path}" + (f"; {path.parent}/ has {', '.join(near[:8])}" if near else ""))
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: a table is read from {', '.join(SUFFIXES)}; save it as one of these, such as CSV in UTF-8")
    try:
        if suffix == ".parquet":
            frame = pl.read_parquet(path)
            lines: Sequence[int] = range(1, frame.height + 1)
        else:
            text = _text(path)
            frame, lines = _objects(path, text) if suffix in (".ndjson", ".jsonl") else _fields(path, text)
    except (OSError, EOFError, pl.exceptions.ComputeError) as error:
        raise MillraceError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not frame.height:
        raise UsageError(f"{path} has no rows")
    if pattern := next((name for name in frame.columns if name == "*" or re.fullmatch(r"\^.*\$", name)), None):
        raise UsageError(f"{path}: column {pattern!r} has a name that Polars takes for a pattern; rename it")
    said: list[str] = []
    typed = [_typed(path, frame[name], lines, said) for name in frame.columns]
    return Sheet(path, pl.DataFrame([column for column in typed if column is not None]), lines, said)


def _text(path: Path) -> str:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        coding = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
        raise UsageError(
            f"{path}:{line}: the text is not UTF-8 (byte {data[error.start]:#04x}); convert it, such as by "
            f"iconv -f {coding} -t UTF-8 {path.name} > utf8-{path.name}"
        ) from None


def _fields(path: Path, text: str) -> tuple[pl.DataFrame, list[int]]:
    header = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=header.count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = [name.strip() for name in next(records, [])]
    if len(names) < 2 or (twice := next((name for i, name in enumerate(names) if name and name in names[:i]), None)):
        wrong = f"names {twice!r} twice" if len(names) > 1 else f"has one column alone, {header.strip()[:60]!r}"
        raise UsageError(f"{path}:1: the header {wrong}; it names the columns, each once, separated by commas")
    names = [name or f"column_{i + 1}" for i, name in enumerate(names)]
    frames = [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
    lines: list[int] = []
    rows = _rows(path, records, len(names), f"{len(names)} columns, separated by {_SEPARATORS[separator]}")
    while block := list(itertools.islice(rows, _BLOCK)):
        lines += [line for line, _ in block]
        frames.append(pl.DataFrame([row for _, row in block], frames[0].schema, orient="row"))
    return pl.concat(frames), lines


def _rows(path: Path, records: Any, width: int, header: str) -> Iterator[tuple[int, list[str]]]:
    begins = records.line_num + 1
    try:
        for row in records:
            if row and len(row) != width:
                raise UsageError(f"{path}:{begins}: the line has {len(row)} fields, and the header {header}")
            if row:
                yield begins, row
            begins = records.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}:{begins}: {error}") from None


def _objects(path: Path, text: str) -> tuple[pl.DataFrame, list[int]]:
    rows, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise UsageError(f"{path}:{number}: not JSON: {error.msg}; write one object a line") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}:{number}: not a JSON object; write one object a line")
            rows.append(row)
            lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame({name: _values(name, [row.get(name) for row in rows]) for name in names}), lines


def _values(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {int, float} or dict in kinds or list in kinds:
        return pl.Series(name, values, strict=False)
    return pl.Series(name, [value if isinstance(value, str | None) else orjson.dumps(value).decode() for value in values])


def _typed(path: Path, column: pl.Series, lines: Sequence[int], said: list[str]) -> pl.Series | None:
    """Return a column with one of the few types that a dataset keeps; None, and a word, where it has none."""
    dtype, name = column.dtype, column.name
    if dtype.is_numeric():
        wide = column.cast(pl.Float64)
        return pl.select(pl.when(wide.is_finite()).then(wide).alias(name)).to_series()
    if dtype in (pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    if dtype in (pl.Boolean, pl.Date) or isinstance(dtype, pl.Datetime):
        return column
    if dtype != pl.String:
        said.append(f"column {name!r} holds {dtype}, which is no number, text or time: it is left out")
        return None
    text = column.str.strip_chars()
    words = text.filter(text.str.to_lowercase().is_in(_MISSING[1:])).unique().sort()
    if words.len():
        said.append(f"`{name}`: {', '.join(words)} is taken for no value; files to come leave it empty")
    text = pl.select(pl.when(~text.str.to_lowercase().is_in(_MISSING)).then(text).alias(name)).to_series()
    present = text.drop_nulls()
    if not present.len():
        return text
    if present.str.to_lowercase().is_in(["true", "false"]).all():
        return text.str.to_lowercase() == "true"
    if present.str.contains(r"^0\d").any():  # a code, such as a postal one: as a number it would lose its zeros
        return text
    numbers = text.cast(pl.Float64, strict=False)
    numbers = pl.select(pl.when(numbers.is_finite()).then(numbers).alias(name)).to_series()
    odd = (text.is_not_null() & numbers.is_null()).arg_true()
    if not odd.len():
        return numbers
    if present.str.contains(r"^[-+]?\d[\d.,]*$").all() and present.str.contains(",").any():
        raise UsageError(
            f"{path}:{lines[odd[0]]}: {name} {text[odd[0]]!r} is written with a comma, for decimals or thousands: write "
            "1234.5 (polars.read_csv(…, decimal_comma=True) reads decimal commas, and write_csv writes points)"
        )
    if odd.len() <= (1 - _NUMBERS) * present.len():
        said.append(
            f"`{name}`: numbers, but for {odd.len():,} values, which are left out (the first: {text[odd[0]]!r} in line "
            f"{lines[odd[0]]}); in files to come such a row is refused"
        )
        return numbers
    return text
