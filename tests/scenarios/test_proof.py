"""Is what is on record what the log gives, and is what was changed by hand found and named?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from millrace import bits, checkpoints, models, tables
from millrace.backfill import backfill
from millrace.errors import MillraceError
from millrace.proof import VerifyReport, verify
from millrace.replay import replay
from millrace.status import status
from millrace.tables import Table
from tests.conftest import settled, undone
from tests.shop import Shop

HOUR = """
    event  a{0}  1{0}:00  amount=30
    event  b{0}  1{0}:01  amount=40 country=FR
    label  a{0}  1{0}:30  true
    label  b{0}  1{0}:31  false
"""
SECOND_DAY = """
    event  beast  2026-01-06T10:00:00Z  amount=666
    label  early  2026-01-06T10:02:00Z  true
    label  beast  2026-01-06T10:30:00Z  true
    event  early  2026-01-06T10:00:00Z  amount=12
    label  a0     2026-01-06T10:31:00Z  false
    event  never  2026-01-06T10:40:00Z  amount=0.1
    event  late   2026-01-06T10:40:00Z
"""
THIRD_DAY = """
    event  z     2026-01-08T10:00:00Z  amount=77
    label  late  2026-01-08T10:00:01Z  true
    label  z     2026-01-08T10:00:02Z  true
"""
FRAGILE = '''
class Fragile(linear_model.LogisticRegression):
    """Cannot learn an amount of 666."""

    def learn_one(self, x, y):
        if x["amount"] == 666:
            raise ValueError("the number of the beast")
        super().learn_one(x, y)


def fragile():
    return compose.Select("amount") | Fragile()


dataset = Dataset('''


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Shop:
    """A life that was lived once for all tests: ten ticks with a promotion, skipped examples, early and late labels."""
    with settled(tmp_path_factory.mktemp("life"), mlflow_store) as shop:
        shop.change("dataset = Dataset(", FRAGILE)
        shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "fragile": fragile}')
        for rows in [*map(HOUR.format, range(5)), SECOND_DAY, THIRD_DAY]:
            shop.arrive(rows)
            shop.tick()
    return shop


@pytest.fixture
def lived(whole: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That life, as it was lived: what a test does to it is undone."""
    with undone(whole, monkeypatch) as shop:
        yield shop.place


def tamper(name: str, where: pl.Expr, **columns: Any) -> None:
    """Change rows of a table, as one who knows Delta would."""
    from deltalake import write_deltalake

    frame = Table("shop", name).read()
    changed = [pl.when(where).then(value).otherwise(pl.col(column)).alias(column) for column, value in columns.items()]
    write_deltalake(str(tables.folder("shop") / name), frame.with_columns(changed), mode="overwrite")


def problem(report: VerifyReport) -> str:
    """The one problem that there is."""
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


def contents(place: Path) -> dict[Path, int]:
    """Every file of the tables, the states and MLflow, and when it was changed."""
    return {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and "cache" not in path.parts}


def test_what_was_lived_through_is_proven_whole_and_nothing_is_changed(lived: Path) -> None:
    before, told = contents(lived), dict[str, tuple[int, int]]()
    found = status("shop")
    assert (found.models["fragile"].skips, found.quarantined, found.corrections, found.labels) == (1, 0, 1, 15)
    report = verify("shop", every=True, progress=lambda what, at, end: told.update({what: (at, end)}))
    assert report.problems == []
    assert str(report).splitlines() == [
        "examples: 13 of 13 compared and the same",
        "outcomes: 12 of 12 compared and the same",
        "checkpoints of prior: 8 of 8 compared and the same, 13 examples folded again",
        "checkpoints of logistic: 8 of 8 compared and the same, 13 examples folded again",
        "checkpoints of fragile: 8 of 8 compared and the same, 13 examples folded again",
        "predictions: 45 of 45 compared and the same",
        "states: 26 of 26 compared and the same",
        "versions in MLflow: 24 of 24 compared and the same",
        "promotions: 2 of 2 compared and the same",
    ]
    assert told.keys() == {
        "the log",
        "the outcomes",
        "prior",
        "logistic",
        "fragile",
        "the predictions",
        "the states",
        "the versions",
        "the race",
    }
    assert all(at == end for at, end in told.values())
    assert {path for path in contents(lived).items() ^ before.items() if "mlflow.db" not in path[0].name} == set()


def test_one_model_is_proven_without_the_race(lived: Path) -> None:
    report = verify("shop", "fragile")
    assert report.problems == []
    assert [(one.things, one.same) for one in report.proofs if one.things != "checkpoints of fragile"] == [
        ("examples", 13),
        ("outcomes", 12),
        ("predictions", 15),
        ("states", 8),
        ("versions in MLflow", 8),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": pl.lit(True)}, "label is True on record, and made again False"),
        ({"x": pl.struct(amount=pl.lit(40.1), country=pl.lit("FR"))}, "x.amount is 40.1 on record, and made again 40.0"),
        ({"label_source": pl.lit("human")}, "label_source is 'human' on record, and made again 'natural'"),
        ({"weight": pl.lit(2.0)}, "weight is 2.0 on record, and made again 1.0"),
        ({"event_arrival": pl.lit(13)}, "event_arrival is 13 on record, and made again 14"),
    ],
)
def test_an_example_that_was_changed_is_named(lived: Path, change: dict[str, pl.Expr], said: str) -> None:
    tamper("examples", pl.col("event_id") == "b3", **change)
    found = [line for line in verify("shop").problems if line.startswith("examples")]
    assert f"seq 8 (event 'b3'): {said}; a table was changed by hand: restore" in found[0]


def test_a_changed_label_and_what_follows_from_it_are_named(lived: Path) -> None:
    tamper("examples", pl.col("event_id") == "b3", label=pl.lit(True))
    named = [line.partition(":")[0] for line in verify("shop", every=True).problems]
    assert named[:4] == ["examples", "checkpoints of prior", "checkpoints of logistic", "checkpoints of fragile"]


def test_examples_in_another_order_are_named(lived: Path) -> None:
    tamper("examples", pl.col("seq").is_in([3, 4]), seq=7 - pl.col("seq"))
    assert "examples: seq 3 (event 'a1'): arrival is 8 on record, and made again 7" in verify("shop").problems[0]


def test_an_example_that_is_there_twice_is_named(lived: Path) -> None:
    log = Table("shop", "examples")
    log.append(log.read(where=pl.col("seq") == 5), {"another": 1})
    assert "seq 5 (event 'a2'): is on record, and cannot be made again" in verify("shop").problems[0]


def test_a_feature_a_label_or_an_event_that_was_changed_is_named_by_its_example(lived: Path) -> None:
    tamper("labels", pl.col("event_id") == "a1", label_source=pl.lit("human"))
    assert "seq 3 (event 'a1'): label_source is 'natural' on record, and made again 'human'" in verify("shop").problems[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probabilities": pl.lit([0.25, 0.75])}, "probabilities is [0.25, 0.75] on record, and made again [0."),
        ({"error": pl.lit("it was tired")}, "error is 'it was tired' on record, and made again None"),
        ({"served": pl.lit(True)}, "served is True on record, and made again False"),
        ({"answered": pl.lit(True)}, "answered is True on record, and made again False"),
        ({"version": pl.lit(2)}, "version is 2 on record, and made again "),
    ],
)
def test_a_prediction_that_was_changed_is_named(lived: Path, change: dict[str, pl.Expr], said: str) -> None:
    tamper("predictions", (pl.col("event_id") == "never") & (pl.col("model") == "fragile"), **change)
    assert f"predictions: event 'never' (arrival 26), fragile v18 at seq 10: {said}" in problem(verify("shop"))


def test_a_prediction_that_is_gone_and_one_too_many_are_named(lived: Path) -> None:
    table = Table("shop", "predictions")
    one = table.read(where=(pl.col("event_id") == "never") & (pl.col("model") == "fragile"))
    tamper("predictions", (pl.col("event_id") == "never") & (pl.col("model") == "fragile"), origin=pl.lit("elsewhere"))
    assert "fragile v18 at seq 10: is not on record" in problem(verify("shop"))
    Table("shop", "predictions").append(pl.concat([one, one]), {"another": 1})
    assert "fragile v18 at seq 10: is on record, and cannot be made again" in problem(verify("shop"))


def test_a_prediction_by_a_version_of_another_environment_is_counted_and_not_compared(lived: Path) -> None:
    tamper("checkpoints", pl.col("version") == 18, environment=pl.lit("another"))
    tamper("predictions", pl.col("version") == 18, probabilities=pl.lit([0.25, 0.75]))
    report = verify("shop")
    assert report.problems == []
    assert "predictions: 41 of 45 compared and the same; 4 by versions of another environment not compared" in str(report)


def test_a_state_that_was_changed_is_named_and_so_is_one_that_is_needed_and_gone(lived: Path) -> None:
    newest = checkpoints.newest(Table("shop", "checkpoints"), ["logistic"])["logistic"]
    path = lived / "root" / "shop" / "states" / f"{newest.sha256}.pkl"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    said = problem(verify("shop"))
    assert f"{path} (logistic at seq 13) was changed, its sha256 is" in said
    assert "remove it (version 23 in MLflow has what was recorded), and run: millrace replay shop logistic" in said
    path.unlink()
    assert f"{path} (logistic at seq 13) is gone; run: millrace replay shop logistic" in problem(verify("shop"))


def test_a_state_that_only_a_version_needs_may_be_gone_since_mlflow_has_it(lived: Path) -> None:
    first = Table("shop", "checkpoints").read("sha256", where=(pl.col("model") == "logistic") & (pl.col("seq") == 2))["sha256"][0]
    (lived / "root" / "shop" / "states" / f"{first}.pkl").unlink()
    report = verify("shop")
    assert report.problems == []
    assert "states: 25 of 26 compared and the same; 1 are no longer beside the tables" in str(report)
    assert "predictions: 45 of 45 compared and the same\n" in str(report)


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_an_artifact_that_was_changed_or_is_gone_is_named(lived: Path, harm: str) -> None:
    path = sorted((lived / "mlruns" / "artifacts").rglob("*.pkl"), key=lambda path: path.stat().st_mtime_ns)[4]
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes() + b"!")
    said = problem(verify("shop"))
    assert "versions in MLflow: v5 (logistic at seq 2)" in said
    assert ("was changed, its sha256 is" in said) == (harm == "changed")


def test_without_mlflow_its_versions_are_said_to_be_unproven(lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("millrace.tracking._PATIENCE", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = verify("shop")
    assert report.problems == []
    assert "versions in MLflow: 0 of 24 compared and the same; not proven from v1 (prior at seq 0) on: " in str(report)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": pl.lit("fragile")}, "model is 'fragile' on record, and by the rule 'logistic'"),
        ({"before": pl.lit("fragile")}, "before is 'fragile' on record, and by the rule 'prior'"),
        ({"reason": pl.lit("it is nicer")}, "reason is 'it is nicer' on record, and by the rule 'mean log loss lower"),
        ({"evidence": pl.lit("{}")}, "evidence is '{}' on record, and by the rule '{\"labels\":"),
        ({"seq": pl.lit(3)}, "seq is 3 on record, and by the rule 12"),
    ],
)
def test_a_promotion_that_was_changed_is_named(lived: Path, change: dict[str, pl.Expr], said: str) -> None:
    tamper("promotions", pl.col("number") == 1, **change)
    found = problem(verify("shop"))
    assert "promotions: promotion 1 (" in found
    assert said in found


def test_a_promotion_too_many_and_one_that_is_gone_are_named(lived: Path) -> None:
    two = Table("shop", "promotions").read()
    Table("shop", "promotions").append(two.tail(1).with_columns(number=3, seq=12, outcome=12), {"another": 1})
    assert "promotion 3 (prior at seq 12): is on record, and by the rule there is none" in problem(verify("shop"))
    tamper("promotions", pl.col("number") > 1, outcome=pl.lit(99))
    assert "promotions: promotion 2 (" in problem(verify("shop"))
    assert "is not on record" in problem(verify("shop"))


def test_promotions_of_a_model_that_is_no_longer_there_and_those_after_them_are_proven(lived: Path) -> None:
    path = lived / "datasets" / "shop.py"
    path.write_text(path.read_text().replace('"logistic": logistic, ', ""))
    report = verify("shop")
    assert report.problems == []
    assert "promotions: 2 of 2 compared and the same" in str(report)
    assert "predictions: 45 of 45 compared and the same\n" in str(report)
    tamper("promotions", pl.col("number") == 2, reason=pl.lit("it is nicer"))
    assert "promotion 2 (prior at seq" in problem(verify("shop"))


def test_where_it_is_not_on_record_which_models_raced_it_is_said_what_is_unproven(lived: Path) -> None:
    path = lived / "datasets" / "shop.py"
    path.write_text(path.read_text().replace('"logistic": logistic, ', ""))
    tamper("standings", pl.lit(True), rule=pl.col("rule").str.replace(r',"models":\[.*?\]', ""))
    report = verify("shop")
    assert report.problems == []
    assert "promotions: 0 of 2 compared and the same; not proven from number 1 on: logistic is no longer in" in str(report)


def test_the_first_checkpoint_that_differs_is_named(lived: Path) -> None:
    table = Table("shop", "checkpoints")
    row = checkpoints.newest(table, ["logistic"])["logistic"]
    checkpoints.advance(table, checkpoints.Checkpoint(**{**vars(row), "digest": "0" * 64}))
    said = f"the first difference is at seq 13: its checkpoint has digest {'0' * 64}, the log gives {row.digest}"
    assert f"checkpoints of logistic: {said}; if the examples are proven, run:" in problem(verify("shop", "logistic"))


def test_digests_that_would_cost_too_much_are_not_compared_but_for_the_last(lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.proof._SHARE", -1)
    assert [(one.same, one.recorded) for one in verify("shop").proofs[2:5]] == [(1, 8)] * 3
    assert [(one.same, one.recorded) for one in verify("shop", every=True).proofs[2:5]] == [(8, 8)] * 3


def test_ticks_go_on_beside_a_proof(shop: Shop) -> None:
    shop.arrive(HOUR.format(0))
    shop.tick()
    beside = list[str]()

    def tell(what: str, at: int, end: int) -> None:
        if what not in beside:
            beside.append(what)
            shop.arrive(HOUR.format(len(beside)))
            shop.tick()

    assert verify("shop", every=True, progress=tell).problems == []
    assert beside == ["the log", "the outcomes", "prior", "logistic", "the predictions", "the states", "the versions", "the race"]
    assert verify("shop", every=True).problems == []


def test_of_a_model_that_is_not_exact_it_is_said_first_and_a_difference_is_no_problem(lived: Path) -> None:
    tamper("definitions", pl.col("model") == "fragile", doubts=pl.lit(["model: it draws"]))
    tamper("predictions", (pl.col("event_id") == "never") & (pl.col("model") == "fragile"), probabilities=pl.lit([0.25, 0.75]))
    tamper("checkpoints", (pl.col("seq") == 13) & (pl.col("model") == "fragile"), digest=pl.lit("0" * 64))
    report = verify("shop", every=True)
    assert report.problems == []
    lines = str(report).splitlines()
    assert lines[0] == "fragile is not exact, and may differ when it is made again: model: it draws"
    assert "checkpoints of fragile: 7 of 8" in lines[5] and "as may be of a model that is not exact" in lines[5]
    assert (
        "predictions: 30 of 45" in lines[6]
        and "by hand" not in lines[6]
        and "event 'never' (arrival 26), fragile v18" in lines[6]
    )


def test_in_another_environment_nothing_is_folded_and_nothing_is_put_on_record(
    lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(lived / "root")
    monkeypatch.setattr(models, "environment", lambda: "another")
    report = verify("shop")
    assert report.problems == []
    assert "checkpoints of prior: 0 of 0 compared and the same; 8 of another environment" in str(report)
    assert contents(lived / "root") == before


def bring_in(shop: Shop, day: int = 4) -> None:
    """Bring in a day of history: an event an hour, each answered within half of it."""
    at = f"2026-01-{day:02}T{{:02}}:{{:02}}:00Z".format
    asked = [{"event_id": f"h{day}-{i}", "event_time": at(i, 0), "amount": i, "country": "DE"} for i in range(20)]
    told = [{"event_id": f"h{day}-{i}", "label": i % 2 == 0, "label_time": at(i, 30)} for i in range(20)]
    files = [shop.place / f"{kind}-{day}.ndjson" for kind in ("asked", "told")]
    for file, rows in zip(files, (asked, told), strict=True):
        file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    backfill("shop", files[:1], files[1:])


def test_predictions_made_in_a_backfill_are_proven_beside_live_ones(shop: Shop) -> None:
    bring_in(shop)
    shop.arrive(HOUR.format(0))
    shop.tick()
    report = verify("shop", every=True)
    assert report.problems == []
    assert "predictions: 4 of 4 compared and the same\n" in str(report)
    assert "predictions of logistic in backfills: 20 of 20 compared and the same" in str(report)
    tamper("predictions", (pl.col("event_id") == "h4-7") & (pl.col("model") == "logistic"), probabilities=pl.lit([0.25, 0.75]))
    said = problem(verify("shop", "logistic"))
    assert "predictions of logistic in backfills: " in said and "'h4-7'" in said and "[0.25, 0.75]" in said


def test_predictions_that_another_environment_made_in_a_backfill_are_counted_and_not_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(shop)
    before, note = contents(shop.place / "root"), "backfills: 0 of 20 compared and the same; 20 by another definition, in another"
    monkeypatch.setattr(models, "environment", lambda: "another")
    report = verify("shop")
    assert (report.problems, str(report).count(note)) == ([], 2)
    assert contents(shop.place / "root") == before
    shop.arrive(HOUR.format(0))
    shop.tick()  # the models are folded in this environment, too
    report = verify("shop")
    assert (report.problems, str(report).count(note)) == ([], 2)
    bring_in(shop, day=6)
    assert "logistic in backfills: 20 of 40 compared and the same; 20 by another definition, in another" in str(verify("shop"))


def test_predictions_that_another_definition_made_in_a_backfill_are_counted_and_not_compared(shop: Shop) -> None:
    bring_in(shop)
    shop.change("LogisticRegression()", "LogisticRegression(l2=0.5)")
    replay("shop", "logistic")
    report = verify("shop")
    assert report.problems == []
    assert "logistic in backfills: 0 of 20 compared and the same; 20 by another definition" in str(report)
    assert "prior in backfills: 20 of 20 compared and the same\n" in str(report)


def test_a_model_that_was_declared_between_two_backfills_is_proven_of_what_it_predicted(shop: Shop) -> None:
    bring_in(shop)
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "other": other}')
    bring_in(shop, day=5)
    report = verify("shop")
    assert report.problems == []
    assert "predictions of other in backfills: 20 of 20 compared and the same\n" in str(report)
    assert "predictions of logistic in backfills: 40 of 40 compared and the same\n" in str(report)


def test_of_a_backfill_that_is_not_complete_only_what_was_compared_is_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(shop)
    append = Table.append

    def refusing(table: Table, frame: pl.DataFrame, cursors: Mapping[str, int]) -> None:
        if table.cursor("backfill/logistic") > 50:
            raise MillraceError("the disk is full")
        append(table, frame, cursors)

    monkeypatch.setattr("millrace.hindsight.CHUNK", 8)
    monkeypatch.setattr(Table, "append", refusing)
    with contextlib.suppress(MillraceError):
        bring_in(shop, day=5)
    report = verify("shop")
    assert report.problems == []
    assert "predictions of logistic in backfills: 20 of 28 compared and the same; 8 by another definition, in another env" in str(
        report
    )


def test_floats_are_compared_by_their_bits() -> None:
    recorded = pl.DataFrame({"seq": [1, 2, 3], "x": [[float("nan")], [0.0], [0.3]], "y": [float("nan"), 0.5, 0.0]})
    assert bits.difference(recorded, recorded.reverse(), "seq") is None
    again = recorded.with_columns(x=pl.Series([[float("nan")], [0.0], [0.1 + 0.2]]), y=pl.Series([float("nan"), 0.5, -0.0]))
    assert str(bits.difference(recorded, again, "seq")) == "x is [0.3] on record, and made again [0.30000000000000004]"
    again = recorded.with_columns(x=pl.Series([[float("nan")], [-0.0], [0.3]]))
    assert str(bits.difference(recorded, again, "seq")) == "x is [0.0] on record, and made again [-0.0]"
