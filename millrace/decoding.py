"""Which lines do a file's bytes hold, and what does each line say, when any of it may be broken?"""

from __future__ import annotations

import contextlib
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

BLOCK = 2 << 20  # bytes read at once; measured: smaller ones cost calls, larger ones gain nothing
_STEP = 1 << 16  # compressed bytes fed at once
_BLANK = b" \t\r"
_BOM = b"\xef\xbb\xbf"
_KINDS = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}

# A string, to be stepped over, or what JSON or Polars does not know as a number: NaN, Infinity and integers
# beyond 128 bits.
_LITERAL = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|NaN|-?Infinity|(?<![\d.eE+-])-?\d{39,}+(?![\d.eE])')
_CSV_FIELD = r'"[^"]*+(?:""[^"]*+)*+"|[^",\n][^,\n]*+|'
_FIELD = re.compile(f"({_CSV_FIELD}),")
_RECORD = re.compile(f"(?:{_CSV_FIELD})(?:,(?:{_CSV_FIELD}))*+(?=\\r?(?:\\n|\\Z))".encode())


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a text that are not blank, as offsets into its bytes, so that no line is copied unasked.

    Attributes
    ----------
    data
        The text's bytes.
    starts, ends
        Where each line starts and where it ends, its line end (``\\n`` or ``\\r\\n``) left out.
    numbers
        The 1-based number of each line in the text; blank lines count.

    Examples
    --------
    >>> lines = Lines.of(b"one\\r\\n\\nthree")
    >>> [lines[i] for i in range(len(lines))], lines.numbers.tolist()
    ([b'one', b'three'], [1, 3])
    """

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, data: bytes) -> Lines:
        """Find the lines of a text; a byte order mark at its start is skipped."""
        array = np.frombuffer(data, np.uint8)
        newlines = np.flatnonzero(array == ord("\n"))
        starts = np.concatenate([[len(_BOM) if data.startswith(_BOM) else 0], newlines + 1])
        ends = np.concatenate([newlines, [len(data)]])
        solid = np.flatnonzero(ends > starts)
        starts, ends = starts[solid], ends[solid]
        if b"\r" in data:
            ends -= array[ends - 1] == ord("\r")
        doubtful = np.flatnonzero(array[starts] <= ord(" "))
        blank = [i for i in doubtful if not data[starts[i] : ends[i]].strip(_BLANK)]
        if blank:
            starts, ends, solid = (np.delete(offsets, blank) for offsets in (starts, ends, solid))
        return cls(data, starts, ends, solid + 1)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> bytes:
        """Copy one line's bytes, without its line end."""
        return self.data[self.starts[i] : self.ends[i]]

    def cut(self, first: int, last: int) -> Lines:
        """Keep the lines ``first <= i < last``."""
        return Lines(self.data, self.starts[first:last], self.ends[first:last], self.numbers[first:last])

    def span(self, block: range) -> bytes:
        """Copy the bytes from the first line of a block to its last, blank lines in between included."""
        return self.data[self.starts[block.start] : self.ends[block.stop - 1]]

    def blocks(self) -> Iterator[range]:
        """Walk over the lines in order, in ranges of about `BLOCK` bytes, each of at least one line."""
        bounds = np.searchsorted(self.starts, np.arange(0, len(self.data), BLOCK))
        edges = np.unique(np.append(bounds, len(self))).tolist()
        for first, last in itertools.pairwise(edges):
            yield range(first, last)


def undecodable(data: bytes) -> str | None:
    """Say where bytes stop being UTF-8, the first byte being number 1, or None when they do not.

    Examples
    --------
    >>> undecodable(b"caf\\xe9")
    'invalid UTF-8 at byte 4'
    """
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return f"invalid UTF-8 at byte {error.start + 1}"
    return None


def gunzip(data: bytes) -> tuple[bytes, str | None]:
    """Decompress gzip, or as much of it as can be read.

    Parameters
    ----------
    data
        One gzip member or several in a row; zero bytes after a member are padding.

    Returns
    -------
    tuple
        What could be decompressed, and what stopped it, or None when it is whole.

    Examples
    --------
    >>> import gzip
    >>> gunzip(gzip.compress(b"one\\n") + gzip.compress(b"two\\n"))
    (b'one\\ntwo\\n', None)
    >>> gunzip(gzip.compress(b"one\\n") + b"rubbish")
    (b'one\\n', 'incorrect header check')
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            step = data[at : at + _STEP]
            if not step:
                return b"".join(pieces), "it ends in the middle"
            before = member.copy()
            try:
                pieces.append(member.decompress(step))
            except zlib.error as error:
                pieces.append(_rescue(before, step))
                return b"".join(pieces), str(error).rpartition(": ")[2]
            at += len(step) - len(member.unused_data)
        while data[at : at + 1] == b"\0":
            at += 1
    return b"".join(pieces), None


def _rescue(member: zlib._Decompress, step: bytes) -> bytes:
    """Decompress byte by byte up to the one that fails, whose call would lose what came before it."""
    pieces = []
    for i in range(len(step)):
        try:
            pieces.append(member.decompress(step[i : i + 1]))
        except zlib.error:
            break
    return b"".join(pieces)


def objects(text: bytes, columns: Sequence[str]) -> pl.DataFrame | None:
    """Read JSON objects, one a line, every value as text; None when Polars takes a line for none."""
    try:
        return pl.read_ndjson(text, schema=dict.fromkeys(columns, pl.String))
    except pl.exceptions.PolarsError:
        return None


def judged(lines: Lines, columns: Sequence[str]) -> tuple[pl.DataFrame, list[bytes], dict[int, str]]:
    """Read JSON objects where some lines may be none.

    Returns
    -------
    tuple
        What `objects` reads of the good lines; these lines, with what JSON does not know made strings; and why
        the others are bad, by their place among the lines.
    """
    kept: dict[int, bytes] = {}
    faults: dict[int, str] = {}
    for i in range(len(lines)):
        kept[i] = lines[i]
        if reason := _fault(kept[i]):
            quoted = _quoted(kept[i])
            if quoted == kept[i] or _fault(quoted):
                faults[i] = reason
                del kept[i]
            else:
                kept[i] = quoted
    frame = objects(b"\n".join(kept.values()), columns)
    if frame is not None and frame.height == len(kept):
        return frame, list(kept.values()), faults
    frames = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    for i, line in list(kept.items()):  # integers beyond 128 bits are JSON, but not to Polars
        kept[i] = _quoted(line)
        alone = objects(kept[i], columns)
        if alone is not None and alone.height == 1:
            frames.append(alone)
        else:
            faults[i] = "a JSON object with a number that is out of range: write it as a string"
            del kept[i]
    return pl.concat(frames), list(kept.values()), dict(sorted(faults.items()))


def _fault(line: bytes) -> str | None:
    """Say why a line is not a JSON object, or None."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        message = re.sub(r"line 1 (column \d+) .*", r"\1", str(error))
        return undecodable(line) or f"not a JSON object: {message}"
    return None if isinstance(value, dict) else f"not a JSON object: {_KINDS.get(type(value), 'a number')}"


def _quoted(line: bytes) -> bytes:
    """Make strings of the literals that only some writers and readers know, such as Python's NaN."""
    return _LITERAL.sub(lambda m: m[0] if m[0].startswith(b'"') else b'"' + m[0] + b'"', line)


def completed(frame: pl.DataFrame, text: bytes, line: Callable[[int], bytes]) -> pl.DataFrame:
    """Add ``missing`` and write nested values as JSON, by a second look at the lines that need one.

    `frame` is what `objects` read of the block `text`, and `line` gives the line of a row.
    """
    columns, height = frame.columns, frame.height
    # A column that no line can name needs no look; a backslash could spell its name differently.
    unnamed = {
        c for c in columns if frame.get_column(c).null_count() == height and b"\\" not in text and orjson.dumps(c) not in text
    }
    nested = b"[" in text or text.count(b"{") > height
    doubtful = np.zeros(height, bool)
    for column in (frame.get_column(c) for c in columns if c not in unnamed):
        if column.null_count():
            doubtful |= column.is_null().to_numpy()
        if nested:  # Polars does not escape all that JSON text must
            doubtful |= _bracketed(column).to_numpy()
    absences: dict[tuple[str, ...], int] = {tuple(c for c in columns if c in unnamed): 0}
    codes = np.zeros(height, np.int64)
    written: dict[str, dict[int, str]] = {c: {} for c in columns}
    for i in np.flatnonzero(doubtful).tolist():
        value = orjson.loads(line(i))
        codes[i] = absences.setdefault(tuple(c for c in columns if c not in value), len(absences))
        for c in columns if nested else ():
            if isinstance(value.get(c), dict | list):
                with contextlib.suppress(orjson.JSONEncodeError):  # deeper than orjson writes
                    written[c][i] = orjson.dumps(value[c]).decode()
    for c, texts in written.items():
        if not texts:
            continue
        column, places = frame.get_column(c), pl.Series(list(texts), dtype=pl.Int64)
        first = _bracketed(column.gather(places))  # of a key that is doubled, the first value counts
        new = pl.Series(list(texts.values()), dtype=pl.String).filter(first)
        frame = frame.with_columns(column.clone().scatter(places.filter(first), new))
    missing = pl.Series("@missing", [list(names) for names in absences], pl.List(pl.String))
    every = missing.new_from_index(0, height) if len(absences) == 1 else missing.gather(codes)
    return frame.with_columns(every)


def _bracketed(column: pl.Series) -> pl.Series:
    """Say which texts may be nested values."""
    return (column.str.starts_with("{") | column.str.starts_with("[")).fill_null(False)


def records(lines: Lines) -> Lines:
    """Join the lines of each record whose quotes hold line ends.

    A quote that is never closed, or closed in the middle of a field, costs its own line only.
    """
    if b'"' not in lines.data or not len(lines):
        return lines
    starts, ends = lines.starts, lines.ends.copy()
    first = np.ones(len(lines), bool)
    quoted = np.logical_or.reduceat(np.frombuffer(lines.data, np.uint8) == ord('"'), starts)
    after = 0
    for i in np.flatnonzero(quoted).tolist():
        record = _RECORD.match(lines.data, starts[i], ends[-1]) if i >= after else None
        if record and record.end() > ends[i] + 1:
            after = int(np.searchsorted(starts, record.end() - 1, "right"))
            first[i + 1 : after] = False
            ends[i] = ends[after - 1]
    return Lines(lines.data, starts[first], ends[first], lines.numbers[first])


def fields(record: bytes) -> list[str | None] | str:
    """Split a record into its fields, an empty one without quotes being null, or say why that cannot be done."""
    if reason := undecodable(record):
        return reason
    text = record.decode()
    if '"' not in text:
        return [part or None for part in text.split(",")]
    parts = _FIELD.findall(text + ",")
    if sum(map(len, parts)) + len(parts) != len(text) + 1:
        return "quotes do not match: a field that opens with one must close with one, and double those inside"
    if '""' in text:
        return [part[1:-1].replace('""', '"') if part[:1] == '"' else part or None for part in parts]
    return [part[1:-1] if part[:1] == '"' else part or None for part in parts]
