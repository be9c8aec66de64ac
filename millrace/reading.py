"""Which rows does a file hold, and which of its lines are no rows?

Only the structure is read here: text stays text, and what a value means is decided later. A line is judged
by itself, so how the same lines are cut into files does not show in the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import polars as pl

from millrace.decoding import Lines, completed, fields, gunzip, judged, objects, records, undecodable
from millrace.errors import MillraceError, UsageError

SUFFIXES = (".ndjson", ".jsonl", ".csv", ".parquet", ".ndjson.gz", ".jsonl.gz", ".csv.gz")
_TAKEN = ("@position", "@line", "@missing")
_Schema = dict[str, pl.DataType]
_PLACE: _Schema = {"@position": pl.Int64(), "@line": pl.Int64()}
_BAD: _Schema = _PLACE | {"raw": pl.Binary(), "reason": pl.String()}
# The good rows of a block of lines, and the reasons of the others by their place among all rows.
_Block = tuple[pl.DataFrame, dict[int, str]]


@dataclass(frozen=True, eq=False)
class Reading:
    """Every row of one file, good or bad.

    Attributes
    ----------
    rows
        The good rows in file order: ``@position`` (Int64, the 0-based place among all rows of the file, good
        and bad), ``@line`` (Int64, 1-based in the decompressed file; for Parquet the number of the row), the
        asked columns in the asked order (String, null where null or absent; for Parquet as they are typed),
        and ``@missing`` (List(String), never null: the asked columns that the row did not have).
    bad
        The other rows in file order: ``@position``, ``@line``, ``raw`` (Binary, the bytes as they came) and
        ``reason`` (String). A file that is damaged is one more row here, with all of its bytes.
    extra
        Columns that were not asked for, in order of appearance. For NDJSON they are looked for in one line
        of each block, so a rare one may be left out.
    """

    rows: pl.DataFrame
    bad: pl.DataFrame
    extra: list[str]
    _raw: Callable[[int], bytes] = field(repr=False)

    @property
    def total(self) -> int:
        """The number of rows, good and bad."""
        return self.rows.height + self.bad.height

    def raw(self, positions: Iterable[int]) -> list[bytes]:
        """Copy the bytes of rows as they came, so that what is rejected later can be kept as it came.

        Parameters
        ----------
        positions
            Places among all rows of the file, such as a column ``@position``.

        Returns
        -------
        list
            For text the line without its line end (for CSV all lines of the record), for Parquet the row as
            one line of JSON.
        """
        return [self._raw(position) for position in positions]


def read(name: str, data: bytes, columns: Sequence[str]) -> Reading:
    """Read the rows of one landing file.

    Blank lines are no rows, but count as lines. Of a key that a JSON object holds twice the first counts.
    Of gzip that is torn or followed by something else, the complete lines are rows.

    Parameters
    ----------
    name
        The file's name; its suffix says what it holds.
    data
        The file's bytes.
    columns
        The columns to read.

    Raises
    ------
    MillraceError
        The suffix is none of `SUFFIXES`.
    UsageError
        A column is asked for twice, or by a name that a reading uses itself.

    Examples
    --------
    >>> reading = read("events.ndjson", b'{"event_id": 7, "origin": null}\\nEWR\\n', ["event_id", "origin"])
    >>> reading.rows.rows()
    [(0, 1, '7', None, [])]
    >>> reading.bad.rows()
    [(1, 2, b'EWR', 'not a JSON object: unexpected character, expected a JSON value: column 1')]
    """
    if clash := [c for i, c in enumerate(columns) if c in _TAKEN or c in columns[:i]]:
        raise UsageError(
            f"cannot read the columns {', '.join(columns)}: {clash[0]!r} is asked for twice or is a name that a "
            f"reading uses itself ({', '.join(_TAKEN)}); give the column another name"
        )
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), None)
    if suffix is None:
        raise MillraceError(f"{name!r} cannot be read: its name must end in one of {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return _parquet(data, columns)

    text, damage = gunzip(data) if suffix.endswith(".gz") else (data, None)
    lines, tail = Lines.of(text), []
    if damage:
        if len(lines) and b"\n" not in text[lines.ends[-1] :]:
            tail.append((int(lines.numbers[-1]), lines[-1], "the file is torn in this line"))
            lines = lines.cut(0, len(lines) - 1)
        last = text.count(b"\n") + (not text.endswith(b"\n") and len(text) > 0)
        reason = f"gzip is torn after {len(text)} bytes: {damage}; what could be read was kept"
        tail.append((last + 1, data, reason))

    extra: dict[str, None] = {}
    if suffix.startswith(".csv"):
        table = records(lines)
        lines = table.cut(1, len(table))
        blocks = _csv(table[0], lines, columns, extra) if len(table) else iter(())
    else:
        blocks = _ndjson(lines, columns, extra)
    return _assemble(lines, tail, columns, blocks, extra)


def _assemble(
    lines: Lines,
    tail: list[tuple[int, bytes, str]],
    columns: Sequence[str],
    blocks: Iterator[_Block],
    extra: dict[str, None],
) -> Reading:
    """Put the blocks one below the other, and behind them what a torn file leaves (line, bytes, reason)."""
    frames = [pl.DataFrame(schema=_texts(columns))]
    reasons: dict[int, str] = {}
    for frame, faults in blocks:
        frames.append(frame)
        reasons |= faults
    positions = np.delete(np.arange(len(lines)), list(reasons))
    place = pl.DataFrame({"@position": positions, "@line": lines.numbers[positions]}, _PLACE)
    rows = pl.concat([place, pl.concat(frames)], how="horizontal")
    bad = [(i, int(lines.numbers[i]), lines[i], reason) for i, reason in reasons.items()]
    bad += [(len(lines) + i, *entry) for i, entry in enumerate(tail)]
    return Reading(
        rows,
        pl.DataFrame(bad, _BAD, orient="row"),
        list(extra),
        lambda i: lines[i] if i < len(lines) else tail[i - len(lines)][1],
    )


def _texts(columns: Sequence[str]) -> _Schema:
    return dict.fromkeys(columns, pl.String()) | {"@missing": pl.List(pl.String)}


def _ndjson(lines: Lines, columns: Sequence[str], extra: dict[str, None]) -> Iterator[_Block]:
    """Read blocks at full speed, and again line by line where one is not all rows."""
    for block in lines.blocks():
        text = lines.span(block)
        # Polars turns half a surrogate pair into a zero character without a word; orjson refuses it.
        halved = b"\\" in text and (b"\\ud" in text or b"\\uD" in text)
        frame = None if halved else objects(text, columns)
        part = lines.cut(block.start, block.stop)
        kept: Lines | list[bytes] = part
        faults: dict[int, str] = {}
        if frame is None or frame.height != len(block):
            frame, kept, faults = judged(part, columns)
        if len(kept):
            extra |= dict.fromkeys(key for key in orjson.loads(kept[0]) if key not in columns)
        yield completed(frame, text, kept.__getitem__), {block[i]: reason for i, reason in faults.items()}


def _csv(header: bytes, lines: Lines, columns: Sequence[str], extra: dict[str, None]) -> Iterator[_Block]:
    """Read blocks at full speed where there is nothing but commas and line ends, else record by record."""
    split = fields(header)
    names = [] if isinstance(split, str) else [name or "" for name in split]
    refusal = f"the header cannot be read: {split}" if isinstance(split, str) else _misread(names, columns)
    places = {c: names.index(c) for c in columns if c in names}
    extra |= dict.fromkeys(name for i, name in enumerate(names) if places.get(name) != i)
    absent = [c for c in columns if c not in places]
    for block in lines.blocks():
        series: dict[int, pl.Series] = {}
        faults = dict.fromkeys(block, refusal or "")
        if not refusal:
            parse = _plain if _is_plain(lines.span(block), len(names)) else _record_by_record
            series, faults = parse(lines, block, len(names), sorted(places.values()))
        height = len(block) - len(faults)
        found = [series[places[c]].alias(c) if c in places and height else _nulls(c, height) for c in columns]
        yield pl.DataFrame([*found, _missing(absent, height)]), faults


def _misread(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """Say why a header of one field, which is none of those asked for, looks like one of several."""
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and names[0] not in columns and separator in names[0]:
            return f"the header's fields are separated by {word}: write the file with commas"
    return None


def _is_plain(text: bytes, width: int) -> bool:
    """Say whether Polars reads a block as its records are read one by one: UTF-8 without anything odd in it."""
    if b'"' in text:
        part = rb'(?:"[^"\r\n]++"|[^",\r\n]*+)'
        record = part + b"(?:,%s){%d}" % (part, width - 1)
        if not re.fullmatch(b"(?:%s\r?\n)*+%s" % (record, record), text):
            return False
    elif b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        return False
    return b"\xef\xbb\xbf" not in text and undecodable(text) is None


_Fields = tuple[dict[int, pl.Series], dict[int, str]]


def _plain(lines: Lines, block: range, width: int, places: list[int]) -> _Fields:
    """Read a block of records at once, those with another number of fields left out."""
    text = lines.span(block)
    first, last = block.start, block.stop
    counts = np.full(len(block), width)
    if not (quoted := b'"' in text):  # else `_is_plain` has counted
        commas = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(",")) + lines.starts[first]
        ends, starts = lines.ends[first:last], lines.starts[first:last]
        counts = 1 + np.searchsorted(commas, ends) - np.searchsorted(commas, starts)
    faults = {first + i: _miscounted(int(counts[i]), width) for i in np.flatnonzero(counts != width).tolist()}
    if len(faults) == len(block) or not places:
        return {}, faults
    if faults or text.count(b"\n") != len(block) - 1:
        text = b"\n".join(lines[i] for i in block if i not in faults)
    schema = {str(i): pl.String for i in range(width)}
    quote = '"' if quoted else None
    frame = pl.read_csv(text, has_header=False, quote_char=quote, schema=schema, columns=places)
    return {i: frame.get_column(str(i)) for i in places}, faults


def _record_by_record(lines: Lines, block: range, width: int, places: list[int]) -> _Fields:
    """Read a block of records one by one."""
    rows: list[list[str | None]] = []
    faults: dict[int, str] = {}
    for i in block:
        row = fields(lines[i])
        if isinstance(row, str):
            faults[i] = row
        elif len(row) != width:
            faults[i] = _miscounted(len(row), width)
        else:
            rows.append(row)
    return {place: pl.Series([row[place] for row in rows], dtype=pl.String) for place in places}, faults


def _miscounted(count: int, width: int) -> str:
    return f"{count} field{'s' * (count != 1)} where the header has {width}"


def _nulls(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], pl.String).new_from_index(0, height)


def _missing(names: list[str], height: int) -> pl.Series:
    return pl.Series("@missing", [names], pl.List(pl.String)).new_from_index(0, height)


def _parquet(data: bytes, columns: Sequence[str]) -> Reading:
    """Read all of a Parquet file, or keep it whole as one bad row."""
    try:
        frame = pl.read_parquet(data) if data else pl.DataFrame()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = f"not a readable Parquet file: {error}"
        bad = pl.DataFrame([(0, 1, data, reason)], _BAD, orient="row")
        return Reading(pl.DataFrame(schema=_PLACE | _texts(columns)), bad, [], lambda _: data)
    present = set(frame.columns)
    found = [frame.get_column(c) if c in present else _nulls(c, frame.height) for c in columns]
    position = pl.int_range(frame.height, dtype=pl.Int64, eager=True)
    missing = _missing([c for c in columns if c not in present], frame.height)
    rows = pl.DataFrame([position.alias("@position"), (position + 1).alias("@line"), *found, missing])
    extra = [c for c in frame.columns if c not in columns]

    def raw(position: int) -> bytes:
        return json.dumps(frame.row(position, named=True), default=_as_text, ensure_ascii=False).encode()

    return Reading(rows, pl.DataFrame(schema=_BAD), extra, raw)


def _as_text(value: object) -> str:
    """Write a value that JSON has no type for: times as ISO 8601, bytes as text, others by their own word."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
