"""What did a model know at a place of its log, whatever of it is still kept?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from millrace import catalog, checkpoints, models, state
from millrace.asof import learner_at, publish_at
from millrace.errors import MillraceError
from millrace.registry import CHAMPION, Registry
from millrace.replay import replay
from millrace.tables import Table
from millrace.validate import validate
from tests.conftest import settled
from tests.scenarios.test_explain import HOUR
from tests.shop import Shop

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Shop]:
    """The shop after three ticks: two examples an hour."""
    with settled(tmp_path_factory.mktemp("asof"), mlflow_store) as shop:
        for hour in range(3):
            shop.arrive(HOUR.format(hour))
            shop.tick()
        yield shop


def states(shop: Shop, model: str) -> dict[int, Path]:
    """The files of a model's states, by seq."""
    rows = shop.table("checkpoints").filter(model=model)
    return {row["seq"]: shop.place / "root" / "shop" / "states" / f"{row['sha256']}.pkl" for row in rows.to_dicts()}


def digests(shop: Shop, model: str) -> dict[int, str]:
    """The digests on record, by seq."""
    return dict(shop.table("checkpoints").filter(model=model).select("seq", "digest").iter_rows())


def aliases() -> dict[str, int | None]:
    """The versions that the aliases name."""
    registry = Registry(catalog.load("shop"))
    return {alias: registry.version_of(alias) for alias in (CHAMPION, "prior", "logistic")}


def served(shop: Shop) -> dict[str, int]:
    """The versions that predicted the newest event."""
    last = shop.table("predictions").filter(pl.col("arrival") == pl.col("arrival").max())
    return dict(last.select("model", "version").iter_rows())


def test_where_maintenance_removed_the_state_before_an_older_one_is_folded_on_or_none(lived: Shop) -> None:
    recorded = digests(lived, "logistic")
    assert sorted(recorded) == [0, 2, 4, 6]
    for removed in ((4,), (4, 2), (4, 2, 0)):
        for seq in removed:
            states(lived, "logistic")[seq].unlink(missing_ok=True)
        assert state.digest(replay("shop", "logistic", to=4)) == recorded[4]
    told: list[tuple[str, int, int]] = []
    learner_at(catalog.load("shop"), "logistic", 4, lambda *said: told.append(said))
    assert told == [("logistic", 4, 4)]
    warm = validate("shop", "logistic", first=NOON, start="warm", cadences=["label"], keep=False)
    assert warm.scores[1].labelled == 2

    report = publish_at("shop", "logistic", 3)
    assert (report.seq, report.digest) == (3, state.digest(replay("shop", "logistic", to=3)))
    assert state.digest(state.load(Registry(catalog.load("shop")).download(report.version or 0))) == report.digest


def test_what_only_asks_puts_no_definition_on_record(lived: Shop) -> None:
    lived.change('models={"logistic": logistic}', 'models={"logistic": logistic, "another": logistic}')
    before = lived.table("definitions").rows()
    another = replay("shop", "another", to=4)
    assert state.digest(another) == digests(lived, "logistic")[4]
    validate("shop", "another", first=NOON, start="warm", keep=False)
    assert lived.table("definitions").rows() == before

    lived.change("linear_model.LogisticRegression()", "linear_model.LogisticRegression(l2=0.1)")
    with pytest.raises(MillraceError, match=r"'logistic' is defined otherwise .*: millrace replay shop logistic"):
        replay("shop", "logistic", to=4)


def test_a_state_that_is_a_version_already_is_told_and_no_place_is_made_one_twice(lived: Shop) -> None:
    before, rows = aliases(), lived.table("checkpoints").height
    assert publish_at("shop", "logistic", 6).version == before["logistic"]
    assert lived.table("checkpoints").height == rows
    first = publish_at("shop", "logistic", 3)
    assert first.version not in (None, *before.values())
    assert publish_at("shop", "logistic", "2026-01-05T11:30Z").version == first.version
    assert lived.table("checkpoints").height == rows + 1
    assert aliases() == before


def test_what_was_made_of_a_past_state_is_never_served(lived: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = aliases()
    with monkeypatch.context() as elsewhere:  # there it is a version of its own, at the place of the one that serves
        elsewhere.setattr(models, "environment", lambda: "river 0.1")
        made = publish_at("shop", "logistic", 6)
    assert made.version not in (None, *before.values())
    published = checkpoints.published(Table("shop", "checkpoints"), ["logistic"])["logistic"]
    assert published.version == before["logistic"]
    lived.arrive("event  late  13:00")
    lived.tick()
    assert (served(lived), aliases()) == ({model: before[model] for model in ("prior", "logistic")}, before)


def test_where_nothing_arrived_it_is_said(shop: Shop) -> None:
    for to in (0, 3, "2026-01-05"):
        with pytest.raises(MillraceError, match=r"nothing has arrived for shop yet: .* try: millrace feed shop"):
            replay("shop", "logistic", to=to)
        with pytest.raises(MillraceError, match="nothing has arrived for shop yet"):
            publish_at("shop", "logistic", to)


def test_a_day_without_hyphens_is_a_seq_and_where_there_is_none_both_are_told(lived: Shop) -> None:
    with pytest.raises(MillraceError, match=r"has no seq 20260105; it goes from 1 to 6 .*; if it is a day, write 2026-01-05$"):
        publish_at("shop", "logistic", "20260105")
    with pytest.raises(MillraceError, match=r"has no seq 12345678; it goes from 1 to 6 \(0 is before the first\)$"):
        publish_at("shop", "logistic", "12345678")
