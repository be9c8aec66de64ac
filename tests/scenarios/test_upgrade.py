"""What becomes of the models when a library that learns was upgraded?

Their pickles are never loaded in hope: each is built again from the log, and joins when it has caught up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from millrace import fold, models, pickles
from millrace.catalog import load as dataset_of
from millrace.errors import MillraceError
from millrace.infer import infer, load
from millrace.ingest import ingest
from millrace.status import status
from millrace.tables import Table
from tests.conftest import settled
from tests.shop import Shop

HOUR = """
    event  a{0}  {0}:00  amount=30 country=DE
    event  b{0}  {0}:10  amount=80 country=FR
    label  a{0}  {0}:20  true
    label  b{0}  {0}:30  false
"""


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, this is another River."""
    models.environment()
    other = models.environment().replace("river ", "river 9.")
    monkeypatch.setattr(models, "environment", lambda: other)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("upgrade") / "place"
    place.mkdir()
    with settled(place, mlflow_store) as shop:
        for hour in range(10, 14):
            shop.arrive(HOUR.format(hour))
            shop.tick()
        yield shop


def said(shop: Shop, event: str) -> dict[str, tuple[int, bool]]:
    """By which version each model predicted an event, and whether it was served."""
    rows = shop.table("predictions").filter(event_id=event).select("model", "version", "served").iter_rows()
    return {model: (version, served) for model, version, served in rows}


def test_after_an_upgrade_the_models_are_built_again_and_nothing_is_left_unsaid(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, log = lived.digests(), lived.log()
    versions = max(lived.table("checkpoints")["version"].drop_nulls().to_list())
    upgrade(monkeypatch)
    lived.arrive(HOUR.format(14))
    report = lived.tick()
    assert not report.problems
    assert lived.log()[: len(log)] == log
    assert {model: version > versions for model, (version, _) in said(lived, "a14").items()} == {"prior": True, "logistic": True}
    assert [served for _, served in said(lived, "a14").values()].count(True) == 1
    assert lived.digests()["logistic"][0] == before["logistic"][0] + 2
    checkpoints = lived.table("checkpoints")
    folded = checkpoints.filter((pl.col("model") == "logistic") & (pl.col("environment") == models.environment()))
    at = folded.filter(pl.col("version").is_null(), seq=before["logistic"][0])["digest"].to_list()
    assert at == [before["logistic"][1]]  # the same examples, and in truth the same River


def test_a_model_that_has_not_caught_up_predicts_no_more_and_the_base_rate_is_served(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(monkeypatch)
    monkeypatch.setattr(fold, "COMMIT_EVERY", 3)
    lived.arrive(HOUR.format(14))
    ingest("shop")
    report = infer("shop")
    assert said(lived, "a14")["prior"][1] is True and "logistic" not in said(lived, "a14")
    [problem] = report.problems
    assert "model 'logistic' does not predict: v" in problem and "river 0." in problem and "here river 9." in problem
    assert problem.endswith("it is built again from the log, now at seq 3 of 8")
    for hour in (15, 16):
        lived.tick()
        lived.arrive(HOUR.format(hour))
    lived.tick()
    assert "logistic" in said(lived, "a16")


def test_events_that_were_taken_up_before_the_upgrade_are_predicted_by_versions_of_today(
    lived: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    lived.arrive(HOUR.format(14))
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(sys.modules["millrace.infer"], "_predict", killed)
        lived.tick()
    versions = max(lived.table("checkpoints")["version"].drop_nulls().to_list())
    upgrade(monkeypatch)
    lived.tick()
    assert all(version > versions for version, _ in said(lived, "a14").values())


def test_the_old_environment_goes_on_beside_the_new_one(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as new:
        upgrade(new)
        lived.arrive(HOUR.format(14))
        lived.tick()
    here = lived.table("checkpoints").filter(environment=models.environment())["version"].drop_nulls().to_list()
    lived.arrive(HOUR.format(15))
    lived.tick()
    assert said(lived, "a15") and all(version in here for version, _ in said(lived, "a15").values())


def test_a_version_of_another_environment_is_never_loaded(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    row = lived.table("checkpoints").drop_nulls("version").row(-1, named=True)
    assert load(dataset_of("shop"), row["version"], row["sha256"])
    upgrade(monkeypatch)
    with (
        monkeypatch.context() as hope,
        pytest.raises(MillraceError, match=r"made in another environment \(river 0\..*not loaded"),
    ):
        hope.setattr(pickles, "loads", lambda *_: pytest.fail("it was loaded in hope"))
        load(dataset_of("shop"), row["version"], row["sha256"])


def test_a_version_that_is_not_on_record_is_never_loaded(lived: Shop) -> None:
    row = lived.table("checkpoints").drop_nulls("version").row(-1, named=True)
    other = lived.table("checkpoints").filter(seq=0)["sha256"][0]
    with pytest.raises(MillraceError, match="unknown version 999 of shop: it is not on record"):
        load(dataset_of("shop"), 999, row["sha256"])
    with pytest.raises(MillraceError, match=f"has the sha256 {row['sha256']} on record, not {other}"):
        load(dataset_of("shop"), row["version"], other)


DOUBLED = """def doubled(x):
    return {"amount": 2 * x["amount"]}


def logistic():
    return compose.FuncTransformer(doubled) | linear_model.LogisticRegression()


def before():"""


def test_a_version_goes_on_with_the_functions_that_it_was_made_with(shop: Shop) -> None:
    shop.change("def logistic():", DOUBLED)
    shop.arrive(HOUR.format(10))
    shop.tick()
    shop.change("2 * x[", "5000 * x[")
    shop.arrive(HOUR.format(11))
    report = shop.tick()
    assert "defined otherwise" in str(report)
    row = Table("shop", "checkpoints").read(where=pl.col("model") == "logistic").drop_nulls("version").row(-1, named=True)
    function = load(dataset_of("shop"), row["version"], row["sha256"])["doubled"].func
    assert function({"amount": 1.0}) == {"amount": 2.0}
    assert dataset_of("shop").models["logistic"]()["doubled"].func({"amount": 1.0}) == {"amount": 5000.0}
    assert "logistic" in said(shop, "a11")
    assert status("shop").problems
