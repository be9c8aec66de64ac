"""What does bad input get? Every row is somewhere, with its reason, as it came."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import polars as pl
import pytest

from millrace import landing
from tests.shop import Shop

GOOD = '{"event_id": "good", "event_time": "2026-01-05T10:00:00Z", "amount": 30, "country": "DE"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"event_time": "2026-01-05T10:00:00Z", "amount": 1, "country": "DE"}', "missing column 'event_id'"),
        ('{"event_id": null, "event_time": "2026-01-05T10:00:00Z", "amount": 1, "country": "DE"}', "event_id is null"),
        ('{"event_id": "", "event_time": "2026-01-05T10:00:00Z", "amount": 1, "country": "DE"}', "event_id is empty"),
        ('{"event_id": "x", "event_time": "2026-01-05T10:00:00", "amount": 1, "country": "DE"}', "is naive"),
        ('{"event_id": "x", "event_time": "yesterday", "amount": 1, "country": "DE"}', "is no time"),
        ('{"event_id": "x", "event_time": "2126-01-05T10:00:00Z", "amount": 1, "country": "DE"}', "far in the future"),
        (
            '{"event_id": "x", "event_time": "2026-01-05T10:00:00Z", "amount": "much", "country": "DE"}',
            "amount 'much' is no number",
        ),
        ('{"event_id": "x", "event_time": "2026-01-05T10:00:00Z", "amount": 1001, "country": "DE"}', "lies outside 0 to 1000"),
        (
            '{"event_id": "x", "event_time": "2026-01-05T10:00:00Z", "amount": 1, "country": "XX"}',
            "is not known; known: DE, FR, IT",
        ),
        ('{"event_id": "x", "event_time": "2026-01-05T10:00:00Z", "country": "DE"}', "missing column 'amount'"),
        ('{"event_id": "x", "event_time": ', "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
    ],
)
def test_a_bad_row_is_quarantined_as_it_came_and_the_good_one_goes_on(shop: Shop, line: str, reason: str) -> None:
    shop.put("events.ndjson", f"{line}\n{GOOD}\n")
    shop.tick()
    row = shop.table("quarantine").row(0, named=True)
    assert reason in row["reasons"][0]
    assert (row["raw"], row["file"], row["line"]) == (line.encode(), 1, 1)
    assert (shop.status().events, shop.status().quarantined) == (1, 1)


@pytest.mark.parametrize(
    ("label", "reason"),
    [('"maybe"', "is no truth value"), ("null", "label is null"), ("2", "is no truth value")],
)
def test_a_label_that_is_none_is_quarantined(shop: Shop, label: str, reason: str) -> None:
    shop.put("labels.ndjson", f'{{"event_id": "a", "label": {label}, "label_time": "2026-01-05T10:00:00Z"}}\n')
    shop.tick()
    assert reason in shop.reasons()["a"][0]


def test_text_that_says_false_is_false(shop: Shop) -> None:
    shop.put("events.ndjson", GOOD)
    shop.put("labels.csv", "event_id,label,label_time\ngood,False,2026-01-05T11:00:00Z\n")
    shop.tick()
    assert shop.log() == [(1, "good", False)]


def test_a_number_that_is_not_finite_is_null_and_counted(shop: Shop) -> None:
    shop.put("events.csv", "event_id,event_time,amount,country\na,2026-01-05T10:00:00Z,NaN,DE\n")
    shop.tick()
    assert shop.status().nonfinite == 1
    assert shop.table("features")["x"].struct.field("amount").to_list() == [None]


def test_an_extra_column_is_left_out_and_said_once(shop: Shop) -> None:
    for i in range(2):
        shop.put(f"events-{i}.csv", f"event_id,event_time,amount,country,colour\n{i},2026-01-05T10:00:00Z,1,DE,red\n")
        report = shop.tick()
        assert report.ingest is not None
        said = [note for note in report.ingest.notes if "'colour'" in note]
        assert len(said) == (1 if i == 0 else 0)


def test_a_torn_gzip_gives_what_can_be_read_and_the_rest_is_kept_whole(shop: Shop) -> None:
    lines = [GOOD.replace("good", f"id-{i}-{'x' * (i * 37 % 50)}") for i in range(500)]
    whole = gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)
    shop.put("events.ndjson.gz", whole[: len(whole) // 2])
    shop.put("events-2.ndjson", GOOD)
    shop.tick()
    kept = shop.table("quarantine")
    assert whole[: len(whole) // 2] in kept["raw"].to_list()
    assert "gzip is torn" in kept["reasons"].list.join(" ").str.join(" ").item()
    assert 1 < shop.status().events < 500


def test_invalid_utf8_takes_only_its_line(shop: Shop) -> None:
    shop.put("events.ndjson", GOOD.encode() + b"\n" + GOOD.replace("good", "b").encode().replace(b"DE", b"\xff\xfe") + b"\n")
    shop.tick()
    assert (shop.status().events, shop.status().quarantined) == (1, 1)


def test_a_parquet_of_another_schema_is_quarantined_row_by_row_and_one_that_is_none_whole(shop: Shop) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"id": ["a", "b"], "when": [1, 2]}).write_parquet(buffer)
    shop.put("events-1.parquet", buffer.getvalue())
    shop.put("events-2.parquet", b"PAR1 this is none")
    shop.put("events-3.ndjson", GOOD)
    shop.tick()
    found = shop.status()
    assert (found.events, found.quarantined) == (1, 3)
    assert b"PAR1 this is none" in shop.table("quarantine")["raw"].to_list()


def test_a_naive_time_column_in_parquet_is_refused(shop: Shop) -> None:
    buffer = io.BytesIO()
    row = {"event_id": ["a"], "event_time": ["2026-01-05T10:00:00"], "amount": [1.0], "country": ["DE"]}
    pl.DataFrame(row).with_columns(pl.col("event_time").str.to_datetime()).write_parquet(buffer)
    shop.put("events.parquet", buffer.getvalue())
    shop.tick()
    assert "is naive" in shop.reasons()["a"][0]


def test_files_that_are_being_written_are_left_and_strangers_are_said(shop: Shop) -> None:
    for name in ("events.ndjson.tmp", ".events.ndjson", "events.csv.part", "readme.txt"):
        shop.put(name, GOOD)
    shop.put("events.ndjson", GOOD)
    report = shop.tick()
    assert report.ingest is not None
    assert [note.split(" ")[0] for note in report.ingest.notes] == ["readme.txt"]
    assert shop.status().files == 1
    assert sorted(path.name for path in landing.folder("shop").iterdir() if path.is_file()) == [
        ".events.ndjson", "events.csv.part", "events.ndjson.tmp", "readme.txt",
    ]  # fmt: skip


def test_a_file_that_has_not_settled_waits(shop: Shop) -> None:
    shop.change("loss=", "settle=timedelta(hours=1), loss=")
    path = shop.put("events.ndjson", GOOD)
    path.touch()
    shop.tick()
    assert path.exists()
    shop.put("events.ndjson", GOOD.replace("good", "b"))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    shop.tick()
    assert shop.status().events == 1


def test_expectations_quarantine_rows_and_tell_of_the_whole(shop: Shop) -> None:
    shop.change(
        "    race=",
        '    expect=[expect.column_values_to_be_in_set("country", ["DE"]),\n'
        '    expect.column_mean_to_be_between("amount", 500, 600)],\n    race=',
    )
    shop.change("Schema\n", "Schema, expect\n")
    shop.arrive("""
        event  a  10:00  country=DE
        event  b  10:01  country=FR
    """)
    report = shop.tick()
    assert (shop.status().events, shop.status().quarantined) == (1, 1)
    assert "column_values_to_be_in_set" in shop.reasons()["b"][0]
    assert report.ingest is not None
    assert any("column_mean_to_be_between" in note for note in report.ingest.notes)


def test_data_docs_are_written_when_asked_for(shop: Shop, tmp_path: Path) -> None:
    from millrace.ingest import ingest

    shop.change("    race=", '    expect=[expect.column_values_to_not_be_null("amount")],\n    race=')
    shop.change("Schema\n", "Schema, expect\n")
    shop.arrive("event  a  10:00")
    ingest("shop", tmp_path / "docs")
    assert list((tmp_path / "docs").rglob("index.html"))
