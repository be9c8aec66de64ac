"""What a dataset expects is declared without Great Expectations, and checked by it."""

from __future__ import annotations

import datetime as dt
import html.parser
import inspect
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace import expect
from millrace.errors import DatasetError
from millrace.expect import Expectation
from millrace.expectations import Findings, _batch_definition, check

AIRPORTS = ["EWR", "JFK", "LGA"]


def at(day: int) -> dt.datetime:
    return dt.datetime(2013, 1, day, tzinfo=dt.UTC)


FLIGHTS = pl.DataFrame(
    {
        "origin": ["JFK", "XXX", None, "LGA"],
        "distance": [1400.0, 200.0, None, 1000.0],
        "seats": [180, 2**60 + 1, None, 20],
        "late": [True, None, False, True],
        "event_time": [at(1), at(2), at(3), at(4)],
    },
    schema_overrides={"event_time": pl.Datetime("us", "UTC")},
)


# --- Declared -----------------------------------------------------------------------------------------------


def test_arguments_are_known_by_position_and_by_name() -> None:
    by_position = expect.column_values_to_be_between("distance", 0, 5000, mostly=0.9)
    by_name = expect.column_values_to_be_between(mostly=0.9, max_value=5000, min_value=0, column="distance")
    assert by_position == by_name
    assert hash(by_position) == hash(by_name)
    assert by_position == Expectation(
        "column_values_to_be_between",
        {"column": "distance", "min_value": 0, "max_value": 5000, "mostly": 0.9},
    )


def test_an_expectation_reads_as_it_was_written() -> None:
    expectation = expect.column_max_to_be_between("event_time", max_value=at(2), strict_max=True)
    assert repr(expectation) == (
        "expect.column_max_to_be_between('event_time', max_value=2013-01-02T00:00:00+00:00, strict_max=True)"
    )
    long = expect.column_values_to_be_in_set("dest", [f"airport {i}" for i in range(1000)])
    assert len(str(long)) < 250


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_what_is_shown_of_a_value_is_short_and_on_one_line(value: Any) -> None:
    text = expect.shown(value)
    assert text.isprintable()
    assert isinstance(value, list) or len(text) <= 80


def test_an_expectation_survives_pickling() -> None:
    expectation = expect.column_values_to_be_in_set("origin", AIRPORTS)
    assert pickle.loads(pickle.dumps(expectation)) == expectation


def test_declaring_imports_nothing_heavy() -> None:
    code = (
        "import sys; from millrace import expect; expect.column_mean_to_be_between('distance', 1, 2);"
        "print([name for name in ('great_expectations', 'pandas', 'numpy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("column_values_in_set", "did you mean 'column_values_to_be_in_set'"),
        ("expect_column_mean_to_be_between", "did you mean 'column_mean_to_be_between'"),
        ("column_values_to_match_like_pattern", "in an SQL database alone"),
    ],
)
def test_an_unknown_expectation_is_refused_when_it_is_declared(name: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        getattr(expect, name)
    assert not hasattr(expect, name)


@pytest.mark.parametrize(
    ("positional", "named", "said"),
    [
        (["origin"], {}, "missing a required argument: 'value_set'"),
        (["origin", AIRPORTS], {"mostyl": 0.9}, "unexpected keyword argument 'mostyl'"),
        (["origin", AIRPORTS, 0.9], {}, "too many positional arguments"),
    ],
)
def test_wrong_arguments_are_refused_when_they_are_declared(positional: list[Any], named: Any, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        expect.column_values_to_be_in_set(*positional, **named)


def test_the_table_of_names_and_parameters_is_great_expectations_own() -> None:
    check(FLIGHTS, [expect.table_row_count_to_equal(4)])  # imports it without its warnings
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    theirs = {name for name in list_registered_expectation_implementations() if name.startswith("expect_")}
    assert {f"expect_{name}" for name in [*expect.NAMES, *expect.IN_A_DATABASE]} == theirs
    assert set(expect.NAMES) <= set(dir(expect))

    # Ours to give, or of no use to a dataset: they have no say in which rows fail.
    set_by_us = {
        "batch_id",
        "meta",
        "result_format",
        "condition_parser",
        "catch_exceptions",
        "rendered_content",
    }
    unused = {"id", "notes", "severity", "windows", "library_metadata"}
    for name in expect.NAMES:
        fields = get_expectation_impl(f"expect_{name}").__fields__
        ours = expect.signature(name).parameters
        assert set(ours) == set(fields) - set_by_us - unused, name
        assert {key for key, parameter in ours.items() if parameter.default is inspect.Parameter.empty} == {
            key for key, field in fields.items() if field.required
        }, name
        positional = [key for key, parameter in ours.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        assert positional == [key for key in fields if key in positional], name


# --- Checked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expectation", "rows"),
    [
        (expect.column_values_to_be_in_set("origin", AIRPORTS), {1: "'XXX'"}),
        (expect.column_values_to_be_in_set("origin", set(AIRPORTS)), {1: "'XXX'"}),
        (expect.column_values_to_match_regex("origin", "^(J|L)"), {1: "'XXX'"}),
        (expect.column_values_to_not_be_null("origin"), {2: "None"}),
        (expect.column_values_to_be_between("distance", 500, 1200), {0: "1400.0", 1: "200.0"}),
        (expect.column_values_to_be_between("seats", 50, 2**60), {1: str(2**60 + 1), 3: "20"}),
        (expect.column_values_to_be_in_set("seats", [180, 2**60, 20]), {1: str(2**60 + 1)}),
        (expect.column_values_to_be_in_set("late", [True]), {2: "False"}),
        (expect.column_values_to_be_between("event_time", at(2), at(3)), {0: at(1), 3: at(4)}),
        (expect.column_values_to_be_in_set("event_time", [at(1), at(2), at(3)]), {3: at(4)}),
        (
            expect.column_values_to_be_between("distance", 1500, row_condition="origin == 'JFK'"),
            {0: "1400.0"},
        ),
    ],
    ids=str,
)
def test_rows_are_marked(expectation: Expectation, rows: dict[int, Any]) -> None:
    got = {at: value.isoformat() if isinstance(value, dt.datetime) else value for at, value in rows.items()}
    expected = {at: [f"expect {expectation}: got {value}"] for at, value in got.items()}
    assert check(FLIGHTS, [expectation]) == Findings(expected)


def test_rows_are_marked_by_what_is_expected_of_several_columns() -> None:
    frame = pl.DataFrame({"left": [3, 1, 2, None], "right": [1, 3, 2, 1], "name": ["a", "b", "a", "c"]})
    greater = expect.column_pair_values_a_to_be_greater_than_b("left", "right")
    assert check(frame, [greater]).rows.keys() == {1, 2, 3}
    assert check(frame, [greater]).rows[1] == [f"expect {greater}: got left 1, right 3"]

    both = expect.column_pair_values_a_to_be_greater_than_b(
        "left", "right", or_equal=True, ignore_row_if="either_value_is_missing"
    )
    assert check(frame, [both]).rows.keys() == {1}
    assert check(frame, [expect.multicolumn_sum_to_equal(["left", "right"], 4)]).rows.keys() == {3}

    twins = pl.DataFrame({"day": [1, 1, 2], "name": ["a", "a", "a"]})
    assert check(twins, [expect.compound_columns_to_be_unique(["day", "name"])]).rows.keys() == {0, 1}


@pytest.mark.parametrize(
    ("expectation", "observed"),
    [
        (expect.column_mean_to_be_between("distance", 1000, 3000), f"observed {2600 / 3}"),
        (expect.column_max_to_be_between("event_time", max_value=at(3)), f"observed '{at(4).isoformat()}'"),
        (expect.column_distinct_values_to_be_in_set("origin", AIRPORTS), "unexpected ['XXX']"),
        (expect.column_distinct_values_to_contain_set("origin", AIRPORTS), "missing ['EWR']"),
        (expect.column_proportion_of_non_null_values_to_be_between("late", 0.9), "observed 0.75"),
        (expect.table_row_count_to_equal(5), "observed 4"),
        (expect.table_column_count_to_equal(4), "observed 5"),
        (expect.column_to_exist("dest"), "not so"),
        (expect.column_values_to_be_of_type("origin", "float64"), "observed 'str'"),
    ],
    ids=str,
)
def test_the_batch_is_marked(expectation: Expectation, observed: str) -> None:
    assert check(FLIGHTS, [expectation]) == Findings({}, [f"expect {expectation}: {observed}"])


def test_what_is_said_of_the_columns_sees_them_all() -> None:
    in_place = [
        expect.column_to_exist("late", 3),
        expect.table_columns_to_match_ordered_list(FLIGHTS.columns),
    ]
    assert check(FLIGHTS, in_place) == Findings()


def test_a_row_has_its_reasons_in_the_order_of_the_expectations() -> None:
    expectations = [
        expect.column_values_to_be_between("seats", 0, 500),
        expect.column_mean_to_be_between("distance", 0, 1),
        expect.column_values_to_be_in_set("origin", AIRPORTS),
        expect.column_values_to_be_between("distance", 500),
        expect.column_values_to_be_in_set("origin", AIRPORTS),  # said twice, answered twice
    ]
    findings = check(FLIGHTS, expectations)
    assert [reason.split(":")[0] for reason in findings.rows[1]] == [f"expect {expectations[i]}" for i in (0, 2, 3, 4)]
    assert len(findings.batch) == 1


@pytest.mark.parametrize(("mostly", "marked"), [(0.6, set()), (0.7, {1}), (1.0, {1})])
def test_with_mostly_rows_are_marked_when_the_whole_fails(mostly: float, marked: set[int]) -> None:
    two_of_three = expect.column_values_to_be_in_set("origin", AIRPORTS, mostly=mostly)
    assert check(FLIGHTS, [two_of_three]).rows.keys() == marked


@settings(max_examples=30, deadline=None)  # the first one imports Great Expectations
@given(st.lists(st.none() | st.integers(2**60, 2**60 + 3), min_size=1, max_size=20))
def test_wide_integers_are_not_confused_when_nulls_are_among_them(values: list[int | None]) -> None:
    frame = pl.DataFrame({"n": values}, schema={"n": pl.Int64})
    rows = check(frame, [expect.column_values_to_not_be_in_set("n", [2**60 + 1])]).rows
    assert list(rows) == [at for at, value in enumerate(values) if value == 2**60 + 1]
    rows = check(frame, [expect.column_values_to_be_unique("n")]).rows
    assert list(rows) == [at for at, value in enumerate(values) if value and values.count(value) > 1]


def test_dates_categories_and_decimals_are_compared() -> None:
    frame = pl.DataFrame(
        {
            "day": [dt.date(2013, 1, 1), dt.date(2013, 1, 2), None],
            "kind": ["a", "b", None],
            "price": [1.5, 2.5, None],
        },
        schema={"day": pl.Date, "kind": pl.Categorical, "price": pl.Decimal(10, 2)},
    )
    findings = check(
        frame,
        [
            expect.column_values_to_be_between("day", dt.date(2013, 1, 2)),
            expect.column_values_to_be_in_set("kind", ["b"]),
            expect.column_values_to_be_between("price", 2),
        ],
    )
    assert {at: len(reasons) for at, reasons in findings.rows.items()} == {0: 3}


@pytest.mark.parametrize("kind", [pl.String, pl.Float64, pl.Int64, pl.Boolean, pl.Datetime("us", "UTC"), pl.Date])
def test_a_column_of_nulls_breaks_nothing_but_what_is_said_of_nulls(kind: Any) -> None:
    frame = pl.DataFrame({"x": [None, None]}, schema={"x": kind})
    findings = check(frame, [expect.column_values_to_be_unique("x"), expect.column_values_to_not_be_null("x")])
    assert findings.rows.keys() == {0, 1}
    assert findings.batch == []


def test_a_single_row_can_be_checked() -> None:
    one = pl.DataFrame({"x": [1.0]})
    findings = check(one, [expect.column_stdev_to_be_between("x", 1, 2), expect.column_mean_to_be_between("x", 0, 2)])
    assert not findings.rows
    nothing = pl.DataFrame({"x": [None]}, schema={"x": pl.Float64})
    assert len(check(nothing, [expect.column_mean_to_be_between("x", 0, 2)]).batch) == 1


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (expect.column_mean_to_be_between("price", 0, 1), "there is no column 'price'"),
        (expect.column_mean_to_be_between("origin", 0, 1), "Cannot perform reduction 'mean'"),
        (expect.column_values_to_be_between("event_time", dt.datetime(2013, 1, 1)), "Invalid comparison"),  # noqa: DTZ001 - it is to be refused
        (expect.column_values_to_be_between("distance"), "cannot both be None"),
        (expect.column_values_to_be_in_set("origin", AIRPORTS, mostly=2), "less than or equal to 1"),
        (expect.column_values_to_match_regex("origin", "("), "Invalid regular expression"),
        (expect.column_values_to_not_be_null("origin", row_condition="gate == 1"), "'gate' is not defined"),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_an_error_of_the_dataset(expectation: Expectation, said: str) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        check(FLIGHTS, [expect.table_row_count_to_equal(4), expectation])
    message = str(caught.value)
    assert message.startswith(f"expect.{expectation}: ")
    assert "the columns are: origin (String), distance (Float64)" in message
    assert "\n" not in message


def test_nothing_to_check_imports_nothing_heavy() -> None:
    code = (
        "import sys, polars as pl; from millrace import expect, expectations;"
        "print(expectations.check(pl.DataFrame({'x': [1]}), []),"
        "expectations.check(pl.DataFrame({'x': []}), [expect.column_values_to_not_be_null('x')]),"
        "[name for name in ('great_expectations', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "Findings(rows={}, batch=[]) Findings(rows={}, batch=[]) []"


def test_a_first_check_is_silent_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import polars as pl; from millrace import expect, expectations;"
        "expectations.check(pl.DataFrame({'x': [1]}), [expect.column_kl_divergence_to_be_less_than("
        "'x', {'bins': [0, 1, 2], 'weights': [0.5, 0.5]}, 0.1), expect.column_mean_to_be_between('x', 2, 3)])"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_checks_leave_nothing_behind() -> None:
    def kept() -> list[int]:
        context = _batch_definition().data_asset.datasource.data_context
        (source,) = context.data_sources.all().values()
        (asset,) = source.assets
        frames = source.get_execution_engine().batch_manager.batch_data_cache
        stores = [context.suites.all(), context.checkpoints.all(), context.validation_definitions.all()]
        return [len(asset.batch_definitions), len(frames), *(len(list(store)) for store in stores)]

    expectations = [expect.column_values_to_be_in_set("origin", AIRPORTS)]
    check(FLIGHTS, expectations)
    before = kept()
    for _ in range(20):
        check(FLIGHTS, expectations)
    assert before == kept() == [1, 1, 0, 0, 0]


def test_checks_beside_each_other_do_not_mix() -> None:
    found: dict[int, list[int]] = {}

    def one(bad: int) -> None:
        frame = pl.DataFrame({"x": [1 if at == bad else 0 for at in range(5)]})
        found[bad] = list(check(frame, [expect.column_values_to_be_in_set("x", [0])]).rows)

    threads = [threading.Thread(target=one, args=(bad,)) for bad in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {bad: [bad] for bad in range(5)}


def test_the_log_is_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("great_expectations")
    before = logger.level
    with pytest.raises(DatasetError):
        check(FLIGHTS, [expect.column_mean_to_be_between("origin", 0, 1)])
    assert logger.level == before
    assert caplog.records == []


# --- Data Docs ----------------------------------------------------------------------------------------------


class _Page(html.parser.HTMLParser):
    """What a page would load, where it leads, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src") and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_data_docs_keep_a_page_of_each_check_that_loads_nothing(tmp_path: Path) -> None:
    bad = FLIGHTS.with_columns(origin=pl.lit("<script>alert(1)</script>"))
    expectations = [
        expect.column_values_to_be_in_set("origin", AIRPORTS),
        expect.column_mean_to_be_between("distance", 0, 1),
        expect.column_quantile_values_to_be_between("distance", {"quantiles": [0.5], "value_ranges": [[0, None]]}),
    ]
    check(bad, expectations, docs=tmp_path)
    check(FLIGHTS, expectations[2:], docs=tmp_path)
    check(FLIGHTS, expectations[2:], docs=tmp_path, name="labels")

    pages = sorted(tmp_path.glob("*/*.html"))
    assert [page.parent.name for page in pages] == ["events", "events", "labels"]
    assert [page.stem.rsplit("-")[-1] for page in pages] == ["broken", "met", "met"]
    assert not list(tmp_path.rglob(".*")), "nothing unfinished"

    index = _Page((tmp_path / "index.html").read_text())
    assert index.links == [f"{page.parent.name}/{page.name}" for page in reversed(pages)]
    for path in [*pages, tmp_path / "index.html"]:
        text = path.read_text()
        page = _Page(text)
        assert not {"script", "link", "img", "iframe", "footer"} & set(page.tags)
        assert "url(" not in text and "http://" not in text and "https://" not in text
        assert "default-src 'none'" in text
        assert all((path.parent / link).exists() for link in page.links if not link.startswith("#"))

    first = _Page(pages[0].read_text())
    assert "<script>alert(1)</script>" in first.words, "data is text"
    assert any("866.6" in word for word in first.words), "the mean that was observed"


def test_a_page_stays_small_however_many_rows_fail(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(5000)})
    assert len(check(frame, [expect.column_values_to_be_between("x", max_value=-1)], docs=tmp_path).rows) == 5000
    (page,) = tmp_path.glob("events/*.html")
    assert page.stat().st_size < 50_000
