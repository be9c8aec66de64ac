"""What does a person get for a table of history: a dataset's file that works, and words for all that was found in it?"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace import catalog, models
from millrace.clock import write_duration
from millrace.drafting import dates, sheet, timeline
from millrace.drafting.leak import leak
from millrace.errors import MillraceError, UsageError
from millrace.new import NewReport, new, write
from millrace.status import status
from tests.conftest import CHECKOUT

START = datetime(2013, 1, 1)  # noqa: DTZ001 - a person's table names no zone
CHURN = """\
customer,date,plan,age,churned
c1,2013-01-20,basic,31,yes
c2,2013-01-21,plus,44,no
c3,2013-01-22,basic,27,no
"""


def table(rows: int = 60, seed: int = 1) -> pl.DataFrame:
    """A made-up table: whether a customer leaves depends on the plan and the age."""
    source = random.Random(seed)
    plans = [source.choice(["basic", "plus"]) for _ in range(rows)]
    ages = [source.randrange(18, 80) for _ in range(rows)]
    left = [source.random() < (0.7 if plan == "basic" else 0.2) for plan in plans]
    when = [START + timedelta(hours=9 * i) for i in range(rows)]
    named = [f"c{i}" for i in range(rows)]
    return pl.DataFrame({"customer": named, "date": when, "plan": plans, "age": ages, "churned": left})


def written(place: Path, content: str | pl.DataFrame, file: str = "history.csv", **asked: str) -> NewReport:
    """What `write` makes of a table, with label and time as they are called here."""
    path = place / file
    if isinstance(content, pl.DataFrame):
        content.write_csv(path)
    else:
        path.write_text(content)
    return write("churn", path, **{"label": "churned", "time": "date", **asked})


def said(report: NewReport) -> str:
    return "\n".join(report.found)


def test_the_file_says_what_the_table_holds(place: Path) -> None:
    report = written(place, table(), id="customer")
    dataset = catalog.load("churn")
    assert (dataset.task, report.events, report.labels) == ("binary", 60, 60)
    assert dataset.event.dtypes == {"plan": pl.String, "age": pl.Float64}
    assert (dataset.event.id, dataset.event.time) == ("customer", "date")
    assert (dataset.labels.id, dataset.labels.label) == ("customer", "churned")
    assert list(dataset.models) == ["logistic", "recent", "adaptive_tree", "boosting"]
    assert str(dataset.expect[0]) == "column_values_to_be_in_set('plan', ['basic', 'plus'])"
    assert dataset.description == "What is `churned` of a row of history.csv? Asked at its `date`, answered at once."


def test_the_history_is_written_as_files_that_can_land(place: Path) -> None:
    report = written(place, CHURN + "c4,2013-01-23,plus,,\n", id="customer")
    events, labels = map(pl.read_parquet, report.history)
    assert events.row(0) == ("c1", datetime(2013, 1, 20, tzinfo=UTC), "basic", 31.0)
    assert labels.select("customer", "churned").rows() == [("c1", True), ("c2", False), ("c3", False)]
    assert events.height == 4
    assert "rows without a label, events that were never answered: 1" in said(report)


@pytest.mark.parametrize(
    ("label", "kept", "task", "names"),
    [
        (lambda i: i % 3 == 0, ["plan", "age"], "binary", ["logistic", "recent", "adaptive_tree", "boosting"]),
        (lambda i: i % 3 == 0, ["age"], "binary", ["logistic", "recent", "adaptive_tree", "boosting"]),
        (lambda i: ["red", "green", "blue"][i % 3], ["plan", "age"], "multiclass", ["softmax", "adaptive_tree", "boosting"]),
        (lambda i: i % 4, ["age"], "multiclass", ["softmax", "adaptive_tree", "boosting"]),
        (lambda i: i * 0.37 % 7, ["plan", "age"], "regression", ["linear", "recent", "adaptive_tree", "boosting"]),
        (lambda i: i * 0.37 % 7, ["plan"], "regression", ["linear", "recent", "adaptive_tree", "boosting"]),
    ],
)
def test_for_each_task_and_kind_of_feature_the_file_is_clean_and_its_models_learn(
    place: Path, label: Callable[[int], object], kept: list[str], task: str, names: list[str]
) -> None:
    rows = table().with_columns(pl.Series("churned", [label(i) for i in range(60)]))
    report = written(place, rows.select("date", *kept, "churned"))
    dataset = catalog.load("churn")
    assert dataset.task == task
    assert list(dataset.models) == names
    for name in dataset.models:
        model = models.build(dataset, name)
        for age, answer in enumerate(rows["churned"].to_list()):
            x = {"age": float(age), "plan": "plus", "hour": "1", "weekday": "2"}
            if name == "boosting":
                model.learn_one(x, answer, t=datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=9 * age))
            else:
                model.learn_one(x, answer)
        assert model.predict_one(x) is not None
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(CHECKOUT / "pyproject.toml"), "--no-cache", str(report.path)]
    ours = ["--config", "lint.isort.known-first-party=['millrace']"]
    for command in (["check", *ours], ["format", "--check"]):
        done = subprocess.run([*ruff, *command, *config], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "mapped"),
    [
        (["yes", "no", "no"], [True, False, False]),
        (["0", "1", "1"], [False, True, True]),
        (["true", "false", "true"], [True, False, True]),
        (["2", "1", "1"], [True, False, False]),
        (["stays", "goes", "stays"], [False, True, False]),
    ],
)
def test_two_values_are_true_and_false_and_it_is_said_which(place: Path, values: list[str], mapped: list[bool]) -> None:
    rows = table(3).with_columns(pl.Series("churned", values))
    report = written(place, rows)
    assert pl.read_parquet(report.history[1])["churned"].to_list() == mapped
    assert "true" in said(report)
    assert ("was taken for true" in said(report)) == (values[0] in ("2", "stays"))


@pytest.mark.parametrize(
    ("separator", "way"),
    [
        (",", "%Y-%m-%d"),
        (";", "%d.%m.%Y %H:%M"),
        ("\t", "%m/%d/%Y"),
        ("|", "%Y-%m-%dT%H:%M:%S+00:00"),
        (",", "%s"),
        (",", "%Y%m%d"),
    ],
)
def test_separators_and_ways_to_write_a_date_make_no_difference(place: Path, separator: str, way: str) -> None:
    days = table(40).with_columns(pl.datetime_range(START, START + timedelta(days=39), "1d", eager=True).alias("date"))
    moments = pl.col("date").dt.epoch("s") if way == "%s" else pl.col("date").dt.strftime(way)
    text = days.with_columns(moments)
    (place / "history.csv").write_text(text.write_csv(separator=separator))
    report = write("churn", place / "history.csv", "churned", "date", "customer")
    events = pl.read_parquet(report.history[0])
    assert events["date"].to_list() == [moment.replace(tzinfo=UTC) for moment in days["date"]]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    moments=st.lists(st.datetimes(datetime(1975, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=8),  # noqa: DTZ001
    way=st.sampled_from(
        ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p"]
    ),
)
def test_a_time_that_is_written_is_read_again(moments: list[datetime], way: str) -> None:
    # That a day after the 12th is among them tells months and days apart.
    known = [moment.replace(microsecond=0) for moment in [*moments, datetime(2013, 1, 20)]]  # noqa: DTZ001
    times, _ = dates.parse(pl.Series([moment.strftime(way) for moment in known]))
    assert times.to_list() == [moment.replace(tzinfo=UTC) for moment in known]


@settings(derandomize=True, max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.permutations(range(12)), file=st.sampled_from(["t.csv", "t.parquet", "t.ndjson", "t.csv.gz"]))
def test_every_format_holds_the_same_table(tmp_path: Path, rows: list[int], file: str) -> None:
    made, path = table(12)[rows].with_columns(pl.col("date").dt.strftime("%Y-%m-%d %H:%M")), tmp_path / file
    if file.endswith("parquet"):
        made.write_parquet(path)
    elif file.endswith("ndjson"):
        made.write_ndjson(path)
    else:
        made.write_csv(path, compression="gzip" if file.endswith(".gz") else "uncompressed")
    read = sheet.read(path)
    assert read.frame.equals(made.with_columns(pl.col("age").cast(pl.Float64)))
    assert list(read.lines) == list(range(1, 13) if file in ("t.parquet", "t.ndjson") else range(2, 14))


def test_answers_that_come_later_have_their_time_and_a_window(place: Path) -> None:
    rows = table().with_columns((pl.col("date") + pl.duration(hours=50)).alias("known_at"))
    report = written(place, rows, label_time="known_at")
    dataset = catalog.load("churn")
    assert (dataset.labels.time, dataset.labels.window) == ("known_at", timedelta(days=7))
    labels = pl.read_parquet(report.history[1])
    assert labels["known_at"][0] == datetime(2013, 1, 3, 2, tzinfo=UTC)
    assert "answers come by `known_at`, half of them within 50h" in said(report)


def test_an_answer_later_than_ids_are_known_moves_that_horizon(place: Path) -> None:
    written(place, table().with_columns((pl.col("date") + pl.duration(days=100)).alias("known_at")), label_time="known_at")
    assert catalog.load("churn").id_horizon == timedelta(days=364)


@pytest.mark.parametrize(
    ("rows", "hours", "days", "cadences"),
    [
        (60, 9, 22.125, ["1h", "6h", "1d"]),
        (200, 24, 199, ["1d", "1w", "4w"]),
        (25_000, 1, 19_999 / 24, ["1d", "1w", "13w"]),
    ],
)
def test_the_cadences_are_those_of_the_events_that_are_judged(
    place: Path, rows: int, hours: int, days: float, cadences: list[str]
) -> None:
    when = [START + timedelta(hours=hours * i) for i in range(rows)]
    report = written(place, table(rows).with_columns(pl.Series("date", when)))
    assert when[-1].replace(tzinfo=UTC) - report.judged_from == timedelta(days=days)
    assert [write_duration(cadence) for cadence in report.cadences] == cadences


def test_ids_are_made_where_there_are_none(place: Path) -> None:
    report = written(place, table(), file="last year.csv")
    assert pl.read_parquet(report.history[0])["event_id"][41] == "last year-000042"


def test_an_id_that_comes_twice_is_followed_by_the_row(place: Path) -> None:
    report = written(place, CHURN + "c1,2013-01-23,plus,31,no\n", id="customer")
    events = pl.read_parquet(report.history[0])
    assert events["event_id"].to_list() == ["c1-000001", "c2-000002", "c3-000003", "c1-000004"]
    assert events["customer"].to_list() == ["c1", "c2", "c3", "c1"]
    assert "`customer` is no id of a row: 'c1' comes again in line 5" in said(report)


@pytest.mark.parametrize("column", ["event_id", "event_time"])
def test_an_id_that_comes_twice_under_a_name_of_the_events_own_is_left_out(place: Path, column: str) -> None:
    content = CHURN.replace("customer", column) + "c1,2013-01-23,plus,31,no\n"
    report = written(place, content, id=column)
    assert list(catalog.load("churn").event.dtypes) == ["plan", "age"]
    events, labels = map(pl.read_parquet, report.history)
    assert events.columns == ["event_id", "date", "plan", "age"]
    assert events["event_id"].to_list() == labels["event_id"].to_list() == ["c1-000001", "c2-000002", "c3-000003", "c1-000004"]
    assert f"`{column}` is left out, for the name is the event's own" in said(report)


def test_rows_out_of_order_are_said(place: Path) -> None:
    assert "not in order of time" in said(written(place, table()[::-1]))


def test_what_no_model_should_see_is_left_out_and_said(place: Path) -> None:
    source = random.Random(2)
    words = ["red", "slow", "late", "angry", "friendly", "asked", "bill", "again", "phone"]
    rows = table().with_columns(
        pl.Series("remark", [" ".join(source.choices(words, k=7)) for _ in range(60)]),
        pl.Series("token", [f"{source.randrange(10**12):x}" for _ in range(60)]),
        pl.Series("row", range(60)),
        pl.lit("EUR").alias("currency"),
        pl.lit(None).cast(pl.String).alias("blank"),
        (pl.col("date") - pl.duration(days=400)).dt.strftime("%d.%m.%Y").alias("since"),
        pl.Series("postcode", [f"0{source.randrange(9)}000" for _ in range(60)]),
    )
    report = written(place, rows, id="customer")
    text = said(report)
    for sentence in (
        "`remark` is no feature: free text",
        "`token` is no feature: nearly all values are different",
        "`row` is no feature: the numbers of the rows",
        "`currency` is no feature: always 'EUR'",
        "`blank` is no feature: without any value",
        "`since` is no feature: a date",
    ):
        assert sentence in text
    dataset = catalog.load("churn")
    assert dataset.event.dtypes["postcode"] == pl.String
    file = report.path.read_text()
    assert 'CATEGORIES = ("plan", "postcode")' in file
    assert 'NUMBERS = ("age",)' in file
    assert set(dataset.event.dtypes) == {"plan", "age", "remark", "token", "row", "currency", "blank", "since", "postcode"}


@pytest.mark.parametrize("known", ["number", "category"])
def test_a_column_that_knows_the_label_is_named_and_not_seen(place: Path, known: str) -> None:
    leaky = pl.col("churned").cast(pl.Float64) * 10 + pl.col("age") / 100
    if known == "category":
        leaky = pl.when("churned").then(pl.lit("closed")).otherwise(pl.lit("open"))
    report = written(place, table().with_columns(leaky.alias("account")), id="customer")
    assert "`account` is no feature: it alone predicts the label nearly perfectly" in said(report)
    assert 'NUMBERS = ("age",)' in report.path.read_text()


def test_where_all_that_is_left_knows_the_label_it_is_seen_and_said(place: Path) -> None:
    rows = table().select("date", pl.col("churned").cast(pl.Float64).alias("account"), "churned")
    report = written(place, rows)
    assert "`account` is a feature, for there is no other: it alone predicts the label nearly perfectly" in said(report)
    assert 'NUMBERS = ("account",)' in report.path.read_text()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=40, max_size=80))
def test_the_area_under_the_curve_is_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import roc_auc_score

    from millrace.drafting import leak as module  # the function has the module's name elsewhere

    numbers, labels = zip(*[(float(x), y) for x, y in rows] + [(0.0, True), (1.0, False)], strict=True)
    area = roc_auc_score(labels, numbers)
    both = pl.DataFrame({"x": numbers, "y": labels})
    assert module._area(both) == pytest.approx(max(area, 1 - area), abs=1e-12)


@pytest.mark.parametrize(
    ("column", "label", "evidence"),
    [
        ([float(i**3) for i in range(50)], [i / 7 for i in range(50)], "rank correlation 1.0000"),
        ([f"v{i % 5}" for i in range(50)], [float(i % 5) for i in range(50)], "share of the variance 1.0000"),
        ([float(i % 3) for i in range(60)], ["abc"[i % 3] for i in range(60)], "100.0% of the errors"),
        ([f"id{i}" for i in range(60)], ["abc"[i % 3] for i in range(60)], None),
        ([float(i) for i in range(20)], [i > 9 for i in range(20)], None),
    ],
)
def test_what_is_a_leak(column: list[object], label: list[object], evidence: str | None) -> None:
    found = leak(pl.Series(column), pl.Series(label))
    assert found is None if evidence is None else evidence in str(found)


@pytest.mark.parametrize(
    ("content", "asked", "said"),
    [
        (CHURN, {"label": "churn"}, "unknown column 'churn'; did you mean 'churned'?"),
        (CHURN, {"time": "dates"}, "did you mean 'date'?"),
        (CHURN, {"id": "date"}, "column 'date' is named twice"),
        (CHURN, {"task": "ranking"}, "unknown task 'ranking'"),
        (CHURN.replace("2013-01-21", "soon"), {}, r"history.csv:3: date 'soon' is no date; write 2013-01-20"),
        (CHURN.replace("2013-01-21", ""), {}, r"history.csv:3: there is no date \(1 such rows\)"),
        (CHURN.replace("c2", ""), {"id": "customer"}, r"history.csv:3: there is no customer"),
        (CHURN.replace("2013-01-2", "01/0"), {}, "can be read as 01/20/2013 and as 20/01/2013|is no date"),
        (CHURN.replace("yes", "no"), {}, "is 'no' in all 3 rows that have one: there is nothing to learn"),
        (CHURN.replace("yes", "").replace("no", ""), {}, "has no values"),
        (CHURN.replace("2013-01-21", "2013-01-20").replace("2013-01-22", "2013-01-20"), {}, "in all rows: without an order"),
        (CHURN.replace("44", '"44,5"'), {}, "history.csv:3: age '44,5' is written with a comma"),
        (CHURN.replace("plus,44,no", "plus,44"), {}, "history.csv:3: the line has 4 fields, and the header 5 columns"),
        (CHURN.replace("plan", "*"), {}, r"column '\*' has a name that Polars takes for a pattern"),
        (CHURN.replace("plan", "age"), {}, "history.csv:1: the header names 'age' twice"),
        ("date,churned\n2013-01-20,yes\n2013-01-21,no\n", {}, "no column is left that models could see"),
        ("customer\nc1\n", {}, "the header has one column alone"),
        ("customer,date,churned\n", {}, "has no rows"),
    ],
)
def test_a_table_that_is_not_as_was_said_teaches(place: Path, content: str, asked: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        written(place, content, **asked)
    assert catalog.names() == []
    assert not (place / "root" / "churn").exists()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"reason {i}" for i in range(500)], "500 different texts, such as 'reason 0' in line 2: too many for classes"),
        ([str(i * 1.5) if i % 9 else "cheap" for i in range(500)], "is numbers, but 'cheap' in line 2 is none"),
    ],
)
def test_a_label_of_five_hundred_texts_is_none_of_classes(place: Path, labels: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        written(place, table(500).with_columns(pl.Series("churned", labels)))


def test_a_file_that_is_not_there_or_cannot_be_read_teaches(place: Path) -> None:
    (place / "history.csv").write_text(CHURN)
    with pytest.raises(UsageError, match=r"there is no file .*histry.csv; .* has history.csv"):
        write("churn", place / "histry.csv", "churned", "date")
    (place / "book.xlsx").write_bytes(b"PK")
    with pytest.raises(UsageError, match="save it as one of these"):
        write("churn", place / "book.xlsx", "churned", "date")
    (place / "latin.csv").write_bytes(CHURN.replace("plus", "plüs").encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin.csv:3: the text is not UTF-8 .*iconv"):
        write("churn", place / "latin.csv", "churned", "date")
    (place / "torn.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(MillraceError, match="cannot be read"):
        write("churn", place / "torn.parquet", "churned", "date")


@pytest.mark.parametrize("name", ["Churn", "1st", "my churn", "class", "", "../churn"])
def test_a_name_that_cannot_be_one_is_refused_with_one_that_can(place: Path, name: str) -> None:
    (place / "history.csv").write_text(CHURN)
    with pytest.raises(UsageError, match=r"is no name of a dataset: .* such as [a-z]"):
        write(name, place / "history.csv", "churned", "date")


def test_a_dataset_that_is_there_is_never_overwritten(place: Path) -> None:
    report = written(place, CHURN)
    again = written(place, CHURN)  # a run that was cut off is begun again
    assert again.found == report.found
    report.path.write_text(mine := report.path.read_text() + "\n# mine\n")
    with pytest.raises(UsageError, match="is there already, and is never overwritten"):
        written(place, CHURN)
    assert report.path.read_text() == mine


def alone(place: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of MLflow, and one process: others would import everything again."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    (place / "mlruns").mkdir()
    shutil.copy(mlflow_store, place / "mlruns" / "mlflow.db")


def test_a_history_is_brought_in_and_judged_at_three_cadences(
    place: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(place, mlflow_store, monkeypatch)
    written(place, table(80), id="customer")  # a run that was cut off here: the next goes on
    report = new("churn", place / "history.csv", "churned", "date", "customer")
    assert report.problems == []
    assert (status("churn").events, status("churn").examples) == (80, 80)
    assert report.validation is not None
    scores = {(score.model, score.cadence): score for score in report.validation.scores}
    assert {cadence for _, cadence in scores} == {"6h", "1d", "1w"}
    assert {model for model, _ in scores} == {"prior", "logistic", "recent", "adaptive_tree", "boosting"}
    assert all(score.labelled == 61 and score.skipped == 0 for score in scores.values())  # 9 h apart, from a week on


@pytest.mark.parametrize(
    ("apart", "unanswered", "labelled"),
    [
        (timedelta(seconds=20), 0, 15),  # six minutes in all: the first quarter of them does not count
        (timedelta(days=1), 30, 19),  # the last twenty with a label, from a day on
    ],
)
def test_fast_events_and_a_tail_that_nobody_answered_are_judged(
    place: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, apart: timedelta, unanswered: int, labelled: int
) -> None:
    alone(place, mlflow_store, monkeypatch)
    monkeypatch.setattr(timeline, "_JUDGED", 20)
    when = [START + i * apart for i in range(60)]
    answers = [None if i >= 60 - unanswered else i % 3 == 0 for i in range(60)]
    table().with_columns(date=pl.Series(when), churned=pl.Series(answers)).write_csv(place / "history.csv")
    report = new("churn", place / "history.csv", "churned", "date", "customer")
    assert report.validation is not None
    assert {score.labelled for score in report.validation.scores} == {labelled}
