"""Does the fold keep its promises where features remember earlier events and labels wait, by every policy?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from millrace import catalog, models
from millrace.examples import as_examples
from millrace.explain import explain
from millrace.learner import learn_until_error
from millrace.proof import verify
from millrace.remembered import Remembered
from millrace.tables import Table
from millrace.validate import validate
from tests.conftest import settled
from tests.faults.life import POLICIES, account
from tests.shop import TEXT, Shop

DEFINITION = (
    TEXT.replace("Race, Schema\n", "Race, Schema, count, total\n")
    .replace('compose.Select("amount") |', 'compose.Select("amount", "count_by_country_1h", "total_amount_by_country_1d") |')
    .replace(
        "    race=",
        """    memory=[count().by("country").last("1h"), total("amount").by("country").last("1d")],
    weight=1.0 + pl.col("amount") / 100.0,
    race=""",
    )
)
STORY = """
    event  a  10:00  amount=30
    event  b  10:05  amount=0.1 country=FR
    label  b  11:00  true
    event  c  11:10  amount=50
    label  a  11:30  false
    event  d  10:40  amount=70
    event  e  12:30  amount=40
    label  e  12:45  true
    event  f  2026-01-06T09:00:00Z  amount=20 country=FR
    label  early  2026-01-06T09:30:00Z  true
    event  early  2026-01-06T10:20:00Z  amount=0.7
    label  d  2026-01-06T10:30:00Z  true
    event  g  2026-01-06T12:00:00Z  amount=90
    label  c  2026-01-06T12:10:00Z  true
    event  h  2026-01-06T12:40:00Z  amount=10
    label  f  2026-01-06T13:00:00Z  false
    event  z  2026-01-08T10:00:00Z  amount=60
"""
"""``d`` comes late, the labels of ``early`` before its event and of ``c`` after its window; of ``g`` and ``h`` none comes."""
ROWS = STORY.strip().splitlines()
EVENTS = [row.split()[1] for row in ROWS if row.split()[0] == "event"]


@dataclass
class Life:
    """A shop that lived through the story in four ticks, by a policy, and what was said in it."""

    shop: Shop
    learn: str
    said: str
    account: dict[str, Any]


def said(shop: Shop) -> str:
    """What must not depend on files and ticks, to the bit."""
    x = shop.table("features").select("event_id", "memory", "x").rows()
    return repr((shop.table("examples").rows(), shop.table("outcomes").rows(), x, shop.digests()))


def declare(shop: Shop, learn: str) -> Shop:
    shop.define(DEFINITION)
    shop.change("window=timedelta(days=1)", f'window="1d", default=False, learn="{learn}"')
    return shop


@pytest.fixture(scope="module", params=POLICIES)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Iterator[Life]:
    place = tmp_path_factory.mktemp("life") / "place"
    place.mkdir()
    with settled(place, mlflow_store) as shop:
        declare(shop, request.param)
        for start in range(0, len(ROWS), 5):
            shop.arrive("\n".join(ROWS[start : start + 5]))
            assert shop.tick().problems == []
        yield Life(shop, request.param, said(shop), account(shop))


def test_everything_on_record_is_what_the_log_gives(life: Life) -> None:
    proof = verify("shop", every=True)
    assert proof.problems == []
    assert f"memory of features: {len(EVENTS)} of {len(EVENTS)} compared and the same" in str(proof)
    assert life.account["status"]["memory"] == {"keys": 2, "late": 1, "null_keys": 0}


def test_each_event_is_explained_to_the_bit(life: Life) -> None:
    for event in ("d", "g", "early"):
        found = explain("shop", event)
        assert found.problems == [], event
        assert [(one.name, one.remade.same) for one in found.memory] == [
            ("count_by_country_1h", True),
            ("total_amount_by_country_1d", True),
        ]
        assert found.predictions, event
        assert all(one.same for said in found.predictions for one in said.remade), event


def test_validation_is_a_plain_loop_in_the_order_of_the_log(life: Life) -> None:
    """Each example is learned before the first later event that comes when its answer is there."""
    dataset, model, said = catalog.load("shop"), models.build(catalog.load("shop"), "logistic"), dict[str, Any]()
    rows = Table("shop", "examples").read().sort("seq")
    log = deque(zip(as_examples(rows), rows["clock"], strict=True))
    events = Table("shop", "features").read().sort("event_time", "arrival")
    for event, time, x in events.select("event_id", "event_time", "x").rows():
        while log and log[0][0][1] in said and log[0][1] <= time:
            assert learn_until_error(model, [log.popleft()[0]]) == (1, None)
        said[event] = model.predict_proba_one({name: value for name, value in x.items() if value is not None})
    final = {one[1]: one[3] for one in as_examples(rows) if life.learn != "provisional" or one[1] != "z"}
    losses = [dataset.race_loss.of(said[event], final[event]) for event in events["event_id"] if event in final]
    (score,) = (one for one in validate("shop", "logistic", cadences=["label"], keep=False).scores if one.model == "logistic")
    assert (score.labelled, score.loss) == (len(losses), float(np.mean(losses)))


class Crash(BaseException):
    """What a killed process looks like from within."""


def test_kills_at_each_commit_leave_no_trace(life: Life, shop: Shop) -> None:
    """Each attempt comes one commit further: it is killed right after it, or right before the next."""
    declare(shop, life.learn)
    attempts = commits = 0

    def killing(original: Any) -> Any:
        def killed(*arguments: Any) -> None:
            nonlocal commits
            commits += 1
            if commits == 2:
                raise Crash
            original(*arguments)
            if attempts % 2:
                raise Crash

        return killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "append", killing(Table.append))
        patch.setattr(Remembered, "keep", killing(Remembered.keep))
        for start in range(0, len(ROWS), 5):
            shop.arrive("\n".join(ROWS[start : start + 5]))
            while True:
                attempts, commits = attempts + 1, 0
                try:
                    assert shop.tick().problems == []
                    break
                except Crash:
                    continue
    assert attempts > 50
    assert account(shop) == life.account


@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.booleans(), min_size=len(ROWS), max_size=len(ROWS)),
    ticks=st.sets(st.integers(0, len(ROWS) - 2), max_size=3),
)
def test_neither_files_nor_ticks_show(life: Life, shop: Shop, mlflow_store: Path, cuts: list[bool], ticks: set[int]) -> None:
    one, held = declare(shop.afresh(mlflow_store), life.learn), list[str]()
    for at, row in enumerate(ROWS):
        held.append(row)
        last = at + 1 == len(ROWS)
        if cuts[at] or at in ticks or last:
            one.arrive("\n".join(held))
            held = []
        if at in ticks or last:
            assert one.tick().problems == []
    assert said(one) == life.said
