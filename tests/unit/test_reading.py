"""Is every row of a file accounted for, whatever the file looks like and however its lines are cut?"""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace import decoding
from millrace.errors import MillraceError, UsageError
from millrace.reading import Reading, read

COLUMNS = ["event_id", "amount"]
ROW = b'{"event_id": "a", "amount": 1}'


def values(reading: Reading, *columns: str) -> list[tuple[Any, ...]]:
    return reading.rows.select(columns or ("@position", "@line", *COLUMNS, "@missing")).rows()


def reasons(reading: Reading) -> list[tuple[int, int, bytes, str]]:
    return reading.bad.rows()


def amount(text: str, beside: bytes = b"") -> list[tuple[object, ...]]:
    return values(read("a.ndjson", f'{{"amount": {text}}}\n'.encode() + beside, ["amount"]), "amount")[:1]


# NDJSON


def test_an_ndjson_file_of_good_bad_and_blank_lines() -> None:
    data = b"\n".join(
        [
            b'\xef\xbb\xbf{"event_id": "a", "amount": 1, "note": "x"}\r',
            b"  \t",
            b'{"event_id": "b", "amount": null}',
            b"nonsense",
            b'["c", 2]',
            b"",
            b'{"amount": true}\r',
            b'{"event_id": "caf\xe9"}',
            b'{"event_id": "d"',
        ]
    )
    reading = read("events.ndjson", data, COLUMNS)
    assert values(reading) == [
        (0, 1, "a", "1", []),
        (1, 3, "b", None, []),
        (4, 7, None, "true", ["event_id"]),
    ]
    assert reasons(reading) == [
        (2, 4, b"nonsense", "not a JSON object: invalid literal, expected 'null': column 1"),
        (3, 5, b'["c", 2]', "not a JSON object: an array"),
        (5, 8, b'{"event_id": "caf\xe9"}', "invalid UTF-8 at byte 18"),
        (6, 9, b'{"event_id": "d"', "not a JSON object: unexpected end of data: column 17"),
    ]
    assert reading.extra == ["note"]
    assert reading.total == 7
    assert reading.raw(pl.Series([4, 2])) == [b'{"amount": true}', b"nonsense"]


def test_the_columns_and_their_types_are_always_the_same() -> None:
    parquet = io.BytesIO()
    pl.DataFrame({"event_id": ["a"], "amount": ["1"]}).write_parquet(parquet)
    text = {"@position": pl.Int64, "@line": pl.Int64, "event_id": pl.String, "amount": pl.String}
    for name, data in [
        ("a.ndjson", b""),
        ("a.jsonl", ROW),
        ("a.csv", b""),
        ("a.csv", b"event_id,amount\n"),
        ("a.csv.gz", b""),
        ("a.parquet", b""),
        ("a.PARQUET", parquet.getvalue()),
        ("a.parquet", b"rubbish"),
    ]:
        reading = read(name, data, COLUMNS)
        assert dict(reading.rows.schema) == text | {"@missing": pl.List(pl.String)}
        assert dict(reading.bad.schema) == {
            "@position": pl.Int64,
            "@line": pl.Int64,
            "raw": pl.Binary,
            "reason": pl.String,
        }


@pytest.mark.parametrize(
    ("json_text", "text"),
    [
        ("12345678901234567890", "12345678901234567890"),
        ("-" + "9" * 60, "-" + "9" * 60),
        ('"007"', "007"),
        ("1.0", "1"),
        ("0.1", "0.1"),
        ("1e5", "100000"),
        ("-0.0", "-0"),
        ("true", "true"),
        ("null", None),
        ('"null"', "null"),
        ('""', ""),
        (r'"caf\u00e9 \ud83d\ude00 \"\n"', 'café 😀 "\n'),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        (r'"NaN \" NaN"', 'NaN " NaN'),
        (r'{"k\"": [1, NaN, "\u0001", "é", {}]}', '{"k\\"":[1,"NaN","\\u0001","é",{}]}'),
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ('"[1, 2"', "[1, 2"),
    ],
)
def test_a_json_value_as_text_does_not_depend_on_its_neighbours(json_text: str, text: str | None) -> None:
    for beside in (
        b"",
        b"{}\n",
        b"nonsense\n",
        b'{"amount": NaN}\n',
        rb'{"amount": "\ud83d"}',
        b'{"amount": [1]}',
    ):
        assert amount(json_text, beside) == [(text,)]


@pytest.mark.parametrize("line", [b"007", b'{"amount": 007}', rb'{"amount": "\ud83d"}', rb'{"x": "\ud83d+ude00"}'])
def test_what_is_not_json_is_not_guessed_at(line: bytes) -> None:
    assert reasons(read("a.ndjson", ROW + b"\n" + line, COLUMNS))[0][:3] == (1, 2, line)


def test_a_number_out_of_range_is_bad() -> None:
    ((_, _, raw, reason),) = reasons(read("a.ndjson", b'{"amount": 1e999}', COLUMNS))
    assert (raw, reason.startswith("not a JSON object: number is infinity")) == (b'{"amount": 1e999}', True)


def test_of_a_doubled_key_the_first_counts() -> None:
    for second in ("2", "null", '{"x": 2}'):
        assert amount(f'1, "amount": {second}') == [("1",)]
        assert amount(f'1, "amount": {second}', b"nonsense") == [("1",)]
    assert amount('null, "amount": 1') == [(None,)]


def test_absent_and_null_are_told_apart_row_by_row() -> None:
    lines = [rb'{"event_id": "a"}', rb'{"event_id": null, "\u0061mount": null}', b'{"amount": 1}', b"{}"]
    reading = read("a.ndjson", b"\n".join(lines), COLUMNS)
    assert [names for (names,) in values(reading, "@missing")] == [["amount"], [], ["event_id"], COLUMNS]
    alone = [read("a.ndjson", line, COLUMNS) for line in lines]
    assert [values(one, "@missing")[0] for one in alone] == values(reading, "@missing")


LINES = [
    ROW,
    ROW + b"\r",
    b"",
    b" \t",
    b"{}",
    b'{"event_id": null, "amount": 12345678901234567890}',
    b'{"amount": 1e5, "event_id": 0.1}',
    b'{"amount": 1.0, "event_id": true, "other": NaN}',
    b'{"amount": NaN, "event_id": -Infinity}',
    b'{"amount": ' + b"7" * 50 + b"}",
    b'{"amount": {"x": [1e300, "\\u0001", null]}, "event_id": []}',
    b'{"amount": {"x": 1}, "amount": {"y": 2}}',
    b'{"amount": "{", "amount": {"y": 2}}',
    rb'{"event_id": "\u00e9\ud83d\ude00", "amount": "[x"}',
    rb'{"event_id": "\ud83d"}',
    rb'{"\u0061mount": 3}',
    b'\xef\xbb\xbf{"event_id": "b"}',
    b'{"event_id": "\xff"}',
    b'{"event_id": "c"',
    b'{"event_id": "d"} {"event_id": "e"}',
    b'{"event_id": "NaN}',
    b"[1]",
    b"null",
    b"NaN",
    b"\x00",
    b"\xff\xfe",
]


def joined(name: str, parts: list[list[bytes]], header: bytes | None = None) -> tuple[object, ...]:
    """Read each part as a file of its own, and put rows and bad rows together as if it were one."""
    rows, bad, position, line = [], [], 0, 0
    for part in parts:
        head = [] if header is None else [header]
        reading = read(name, b"".join(one + b"\n" for one in head + part), COLUMNS)
        shift = line - len(head)
        rows += [(p + position, n + shift, *rest) for p, n, *rest in values(reading)]
        bad += [(p + position, n + shift, *rest) for p, n, *rest in reasons(reading)]
        assert sorted(reading.rows["@position"].to_list() + reading.bad["@position"].to_list()) == list(range(reading.total))
        assert reading.raw(reading.bad["@position"]) == reading.bad["raw"].to_list()
        position, line = position + reading.total, line + len(b"\n".join(part).split(b"\n")) * bool(part)
    return rows, bad


def cuts(lines: list[bytes]) -> st.SearchStrategy[list[list[bytes]]]:
    places = st.lists(st.integers(0, 12), max_size=3)
    return st.lists(st.sampled_from(lines), max_size=12).flatmap(
        lambda drawn: places.map(
            lambda at: [drawn[i:j] for i, j in zip([0, *sorted(at)], [*sorted(at), len(drawn)], strict=True)]
        )
    )


@settings(deadline=None, max_examples=300)
@given(parts=cuts(LINES), block=st.sampled_from([1, 40, 2 << 20]))
def test_any_cut_of_ndjson_lines_into_files_and_blocks_gives_the_same_rows(parts: list[list[bytes]], block: int) -> None:
    # A byte order mark is the one thing that means another at a file's start, so files start with a blank line.
    blank = [[b"", *part] for part in parts]
    whole = [line for part in blank for line in part]
    with pytest.MonkeyPatch.context() as patch:
        together = joined("a.ndjson", [whole])
        patch.setattr(decoding, "BLOCK", block)
        assert joined("a.ndjson", blank) == together
        assert joined("a.ndjson", [whole]) == together


# CSV


def test_a_csv_file_of_good_bad_and_blank_lines() -> None:
    data = b"\xef\xbb\xbf\r\nnote,event_id,amount\r\nx,a,1\r\n\r\n,,\r\ny,b\r\n caf\xe9,c,3\r\nNA,null,4,5\r\nz,d,6"
    reading = read("events.csv", data, COLUMNS)
    assert values(reading) == [(0, 3, "a", "1", []), (1, 5, None, None, []), (5, 9, "d", "6", [])]
    assert reasons(reading) == [
        (2, 6, b"y,b", "2 fields where the header has 3"),
        (3, 7, b" caf\xe9,c,3", "invalid UTF-8 at byte 5"),
        (4, 8, b"NA,null,4,5", "4 fields where the header has 3"),
    ]
    assert reading.extra == ["note"]
    assert reading.raw([5, 0, 2]) == [b"z,d,6", b"x,a,1", b"y,b"]


def test_quoted_fields_may_hold_commas_quotes_and_line_ends() -> None:
    data = b'event_id,"amount"\r\n"a,1","say ""hi"""\r\n"b\r\n\r\n2",3\r\nc,""\r\nd,\r\ne,5" wide\r\n'
    reading = read("events.csv", data, COLUMNS)
    assert values(reading) == [
        (0, 2, "a,1", 'say "hi"', []),
        (1, 3, "b\r\n\r\n2", "3", []),
        (2, 6, "c", "", []),
        (3, 7, "d", None, []),
        (4, 8, "e", '5" wide', []),
    ]
    assert reading.raw([1]) == [b'"b\r\n\r\n2",3']


def test_a_quote_that_is_not_closed_costs_its_own_line_only() -> None:
    reading = read("events.csv", b'event_id,amount\na,"1\nb,2\nc,"3"4\nd,"5"\n', COLUMNS)
    assert values(reading, "@line", "event_id", "amount") == [(3, "b", "2"), (5, "d", "5")]
    assert [(line, raw) for _, line, raw, _ in reasons(reading)] == [(2, b'a,"1'), (4, b'c,"3"4')]
    assert {reason.partition(":")[0] for *_, reason in reasons(reading)} == {"quotes do not match"}


def test_a_csv_header_with_absent_doubled_and_other_columns() -> None:
    reading = read("labels.csv", b"amount,x,amount,\n1,2,3,4\n5,6,7,8\n", COLUMNS)
    assert values(reading) == [(0, 2, None, "1", ["event_id"]), (1, 3, None, "5", ["event_id"])]
    assert reading.extra == ["x", "amount", ""]
    assert values(read("labels.csv", b"x\n1\n", COLUMNS)) == [(0, 2, None, None, COLUMNS)]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"event_id;amount", "the header's fields are separated by semicolons: write the file with commas"),
        (b"event_id\tamount", "the header's fields are separated by tabs: write the file with commas"),
        (b"event_id,\xff", "the header cannot be read: invalid UTF-8 at byte 10"),
        (b'event_id,"amount', "the header cannot be read: quotes do not match"),
    ],
)
def test_a_csv_header_that_is_none_makes_every_row_bad(header: bytes, reason: str) -> None:
    reading = read("events.csv", header + b"\na,1\nb,2\n", COLUMNS)
    assert reading.rows.is_empty()
    assert [(p, n, raw) for p, n, raw, _ in reasons(reading)] == [(0, 2, b"a,1"), (1, 3, b"b,2")]
    assert all(why.startswith(reason) for *_, why in reasons(reading))


RECORDS = [
    b"a,1",
    b"b,2\r",
    b"c,",
    b",",
    b"",
    b" ",
    b" d , 4 ",
    b'"e",""',
    b'"f,\nf","6 ""x"""',
    b'"g\r\n\r\ng",7\r',
    b'h"h,8" wide',
    b"i\ri,9",
    b"\r,\r",
    b"\xef\xbb\xbfj,10",
    "é,日本".encode(),
    b"\xff,11",
    b'"\xff",12',
    b"\x00,\x0b",
    b"k",
    b"l,13,x",
    b'm,"14"x',
    b'n,"15"x",',
]


@settings(deadline=None, max_examples=300)
@given(parts=cuts(RECORDS), block=st.sampled_from([1, 12, 2 << 20]))
def test_any_cut_of_csv_records_into_files_and_blocks_gives_the_same_rows(parts: list[list[bytes]], block: int) -> None:
    whole = [record for part in parts for record in part]
    with pytest.MonkeyPatch.context() as patch:
        together = joined("a.csv", [whole], header=b"event_id,amount")
        patch.setattr(decoding, "BLOCK", block)
        assert joined("a.csv", parts, header=b"event_id,amount") == together
        assert joined("a.csv", [whole], header=b"event_id,amount") == together


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.text(st.sampled_from('ab,"\n\r é'))] * 2), max_size=6))
def test_what_python_writes_as_csv_is_read_back(rows: list[tuple[str, str]]) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
    reading = read("a.csv", written.getvalue().encode(), COLUMNS)
    assert (values(reading, *COLUMNS), reading.bad.height) == (rows, 0)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(["a", "b", "é", ",", '"', '""', '"a"', '"b",', "\n", "\r\n", "\r", " "]), max_size=40))
def test_whole_blocks_of_csv_read_like_single_records(parts: list[str]) -> None:
    data = ("event_id,amount\n" + "".join(parts)).encode()
    whole = read("a.csv", data, COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", 1)
        single = read("a.csv", data, COLUMNS)
    assert (values(whole), reasons(whole)) == (values(single), reasons(single))


# gzip


def test_gzip_of_several_members() -> None:
    data = gzip.compress(ROW + b"\n", mtime=0) + b"\0\0" + gzip.compress(b"\n" + ROW, mtime=0)
    assert values(read("a.ndjson.gz", data, COLUMNS), "@position", "@line") == [(0, 1), (1, 3)]


def test_torn_gzip_keeps_the_complete_lines_and_the_whole_file() -> None:
    lines = [json.dumps({"event_id": f"{i:032b}", "amount": i}).encode() for i in range(5000)]
    whole = gzip.compress(b"\n".join(lines), mtime=0)
    torn = whole[: len(whole) // 2]
    reading = read("events.ndjson.gz", torn, COLUMNS)
    n = reading.rows.height
    assert 1000 < n < 4000
    assert reading.raw(range(n)) == lines[:n]
    (position, line, raw, reason), damaged = reasons(reading)
    assert (position, line, reason) == (n, n + 1, "the file is torn in this line")
    assert lines[n].startswith(raw)
    size = sum(map(len, lines[:n])) + n + len(raw)
    assert damaged == (
        n + 1,
        n + 2,
        torn,
        f"gzip is torn after {size} bytes: it ends in the middle; what could be read was kept",
    )
    assert reading.raw([n, n + 1]) == [raw, torn]


@pytest.mark.parametrize(
    ("data", "lines", "message"),
    [
        (gzip.compress(ROW + b"\n", mtime=0) + b"rubbish", [1], f"{len(ROW) + 1} bytes: incorrect header check"),
        (gzip.compress(ROW + b"\n", mtime=0)[:-8] + b"rubbishy", [1], f"{len(ROW) + 1} bytes: incorrect data check"),
        (gzip.compress(ROW + b"\n", mtime=0)[:-4], [1], f"{len(ROW) + 1} bytes: it ends in the middle"),
        (ROW + b"\n", [], "0 bytes: incorrect header check"),
    ],
    ids=["rubbish behind", "checksum", "cut off", "no gzip"],
)
def test_damaged_gzip(data: bytes, lines: list[int], message: str) -> None:
    reading = read("a.csv.gz" if not lines else "a.jsonl.gz", data, COLUMNS)
    assert [line for (line,) in values(reading, "@line")] == lines
    reason = f"gzip is torn after {message}; what could be read was kept"
    assert reasons(reading) == [(len(lines), len(lines) + 1, data, reason)]


def test_gzip_torn_in_a_csv_header() -> None:
    data = gzip.compress(b"event_id,am", mtime=0)[:-3]
    reading = read("a.csv.gz", data, COLUMNS)
    assert reading.rows.is_empty()
    assert [(p, n, raw) for p, n, raw, _ in reasons(reading)] == [(0, 1, b"event_id,am"), (1, 2, data)]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_gzip_broken_anywhere_loses_no_byte_of_the_file(data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(b"\n".join([ROW] * 20), mtime=0))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    reading = read("a.ndjson.gz", bytes(whole), COLUMNS)
    assert reading.total == 20 or reading.bad["raw"][-1] == bytes(whole)


# Parquet


def parquet(frame: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    frame.write_parquet(written)
    return written.getvalue()


def test_a_parquet_file_keeps_its_types() -> None:
    when = datetime(2013, 1, 1, 5, 15, tzinfo=UTC)
    frame = pl.DataFrame({"time": [when, None], "note": [b"caf\xe9", b"x"], "amount": [1.5, float("nan")], "tags": [["é"], []]})
    reading = read("events.parquet", parquet(frame), ["amount", "event_id", "time"])
    columns = ["@position", "@line", "amount", "event_id", "time", "@missing"]
    assert values(reading, *columns)[0] == (0, 1, 1.5, None, when, ["event_id"])
    assert values(reading, "@position", "@line", "event_id", "@missing")[1] == (1, 2, None, ["event_id"])
    assert reading.rows.schema["time"] == frame.schema["time"]
    assert reading.rows.schema["event_id"] == pl.String
    assert reading.extra == ["note", "tags"]
    assert (reading.total, reading.bad.height) == (2, 0)
    assert reading.raw([1, 0]) == [
        b'{"time": null, "note": "x", "amount": NaN, "tags": []}',
        '{"time": "2013-01-01T05:15:00+00:00", "note": "caf\\\\xe9", "amount": 1.5, "tags": ["é"]}'.encode(),
    ]


def test_an_unreadable_parquet_file_is_one_bad_row() -> None:
    data = parquet(pl.DataFrame({"event_id": ["a", "b"]}))[:-6]
    reading = read("events.parquet", data, COLUMNS)
    ((position, line, raw, reason),) = reasons(reading)
    assert (position, line, raw) == (0, 1, data)
    assert reason.startswith("not a readable Parquet file: ")
    assert reading.rows.is_empty()
    assert reading.raw([0]) == [data]


# Asked wrongly


def test_an_unknown_suffix_is_refused_with_the_known_ones() -> None:
    with pytest.raises(MillraceError, match=r"'events\.xlsx' cannot be read: .* \.ndjson, .* \.csv\.gz"):
        read("events.xlsx", b"", COLUMNS)


@pytest.mark.parametrize("columns", [["event_id", "@line"], ["event_id", "event_id"]])
def test_columns_that_clash_are_refused(columns: list[str]) -> None:
    with pytest.raises(UsageError, match="give the column another name"):
        read("events.ndjson", b"", columns)
