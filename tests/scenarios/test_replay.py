"""Is what was recorded what the log gives, and can what was lost be built again?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace import checkpoints
from millrace.errors import MillraceError, UsageError
from millrace.proof import verify
from millrace.replay import replay
from millrace.status import status
from millrace.tables import Table
from tests.conftest import settled
from tests.shop import Shop

TABLE = """
    event  a{0}  1{0}:00  amount=30
    event  b{0}  1{0}:01  amount=40 country=FR
    label  a{0}  1{0}:30  true
    label  b{0}  1{0}:31  false
"""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """The shop after five ticks; each answer is an outcome at once."""
    with settled(tmp_path_factory.mktemp("replay"), mlflow_store) as shop:
        shop.change("    labels=Labels(window=timedelta(days=1)),\n", "")
        for hour in range(5):
            shop.arrive(TABLE.format(hour))
            shop.tick()
        yield shop


def state_of(shop: Shop, model: str) -> Path:
    """The file of a model's newest state."""
    found = checkpoints.newest(Table("shop", "checkpoints"), [model])[model]
    return shop.place / "root" / "shop" / "states" / f"{found.sha256}.pkl"


@pytest.mark.parametrize("harm", ["gone", "torn"])
def test_a_state_that_is_lost_is_named_and_built_again_by_replay(lived: Shop, harm: str) -> None:
    path = state_of(lived, "logistic")
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:100])
    before = lived.digests()
    lived.arrive(TABLE.format(5))
    report = lived.tick()
    assert [problem for problem in report.problems if "millrace replay shop logistic" in problem]
    assert lived.status().models["logistic"].seq == 10  # never silently from zero
    rebuilt = replay("shop", "logistic")
    assert rebuilt.problems == []
    assert lived.digests()["logistic"][0] == 12
    if harm == "torn":
        assert f"{path} (logistic at seq 10) was changed" in verify("shop").problems[0]
        path.unlink()  # as it says: the version in MLflow has what was recorded
    assert verify("shop", every=True).problems == []
    assert lived.digests()["prior"] != before["prior"]


def test_a_rebuilt_model_is_the_same_to_the_last_bit(lived: Shop) -> None:
    before = lived.digests()
    rebuilt = replay("shop")
    assert rebuilt.same == {"prior": True, "logistic": True}
    assert lived.digests() == before


def test_the_race_is_built_again_with_the_promotions_on_record(lived: Shop) -> None:
    before = lived.status()
    for path in (lived.place / "root" / "shop" / "states").iterdir():
        path.unlink()
    replay("shop")
    after = lived.status()
    assert after.champion == before.champion
    assert {name: model.loss for name, model in after.models.items()} == {n: m.loss for n, m in before.models.items()}
    lived.arrive(TABLE.format(5))
    assert lived.tick().problems == []


def test_a_changed_definition_is_refused_and_accepted_by_replay(lived: Shop) -> None:
    lived.change("linear_model.LogisticRegression()", "linear_model.LogisticRegression(l2=0.1)")
    lived.arrive(TABLE.format(5))
    assert "build the model again from the log: millrace replay shop logistic" in lived.tick().problems[0]
    old = lived.status().models["logistic"]
    assert old.seq == 10
    replay("shop", "logistic")
    new = lived.status().models["logistic"]
    assert (new.seq, new.fingerprint != old.fingerprint, new.version != old.version) == (12, True, True)
    lived.arrive(TABLE.format(6))
    assert lived.tick().problems == []
    assert verify("shop", every=True).problems == []


@pytest.mark.parametrize("name", ["checkpoints", "standings", "promotions"])
def test_a_table_that_was_rolled_back_by_hand_is_named_and_made_again_by_replay(lived: Shop, name: str) -> None:
    from deltalake import DeltaTable

    before = lived.status()
    assert before.champion == "logistic"
    table = DeltaTable(str(lived.place / "root" / "shop" / name))
    table.restore(max(table.version() - 3, 0))
    lived.arrive(TABLE.format(5))
    with pytest.raises(MillraceError, match="millrace replay shop"):
        raise MillraceError("; ".join(lived.tick().problems))
    assert replay("shop").problems == []
    assert lived.tick().problems == []
    after = lived.status()
    assert (after.champion, after.models["logistic"].seq) == ("logistic", 12)
    assert verify("shop", every=True).problems == []


def test_examples_that_are_missing_in_the_log_are_named_and_put_back_by_replay(lived: Shop) -> None:
    from deltalake import DeltaTable

    before = lived.table("examples").rows()
    table = DeltaTable(str(lived.place / "root" / "shop" / "examples"))
    table.restore(table.version() - 3)
    assert len(lived.log()) == 4
    (lived.place / "cache" / "shop" / "ids.db").unlink()
    assert "examples: seq 5 (event 'a2'): is not on record" in verify("shop", "logistic").problems[0]
    report = replay("shop")
    assert (report.mended, report.same) == (6, {"prior": True, "logistic": True})
    assert lived.table("examples").rows() == before
    assert verify("shop", every=True).problems == []


def test_a_table_that_was_put_back_from_an_older_copy_is_filled_again_from_the_files(lived: Shop) -> None:
    root = lived.place / "root" / "shop"
    shutil.copytree(root / "events", lived.place / "older")
    lived.arrive(TABLE.format(5))
    lived.tick()
    events, digests = lived.table("events").rows(), lived.digests()
    shutil.rmtree(root / "events")
    shutil.copytree(lived.place / "older", root / "events")
    assert any("rows were taken in, and the tables account for" in line for line in status("shop").problems)
    assert lived.pending()
    assert lived.tick().problems == []
    assert lived.table("events").rows() == events
    assert lived.digests() == digests
    lived.status()


def test_a_table_that_is_gone_is_named(lived: Shop) -> None:
    shutil.rmtree(lived.place / "root" / "shop" / "examples")
    with pytest.raises(MillraceError, match=r"restore the folder .*shop from a copy, or remove it whole"):
        lived.arrive(TABLE.format(5))
        lived.tick()


def test_a_model_that_is_not_there_is_answered_with_those_that_are(lived: Shop) -> None:
    with pytest.raises(UsageError, match="did you mean 'logistic'"):
        replay("shop", "logistics")
