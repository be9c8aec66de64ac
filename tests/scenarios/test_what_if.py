"""What would the features of past events be by today's definitions, and how good would models have been with them?"""

from __future__ import annotations

import math
from typing import Any

import pytest

from millrace import catalog, models
from millrace.errors import MillraceError
from millrace.tables import Table
from millrace.validate import validate
from millrace.what_if import recompute
from tests.shop import Shop

TABLE = """
    event  a  10:00  amount=30
    event  b  10:10  amount=40 country=FR
    label  a  10:30  true
    label  b  10:40  false
    event  c  11:00  amount=50
    label  c  11:30  true
"""
AMOUNT = 'features=[pl.col("amount"), '


@pytest.fixture
def lived(shop: Shop) -> Shop:
    """The shop after three events and their labels."""
    shop.arrive(TABLE)
    shop.tick()
    return shop


def what_if(shop: Shop) -> list[tuple[str, dict[str, Any]]]:
    """The features in the what-if log, by event."""
    return list(shop.table("what_if").select("event_id", "x").iter_rows())


def test_changed_features_are_computed_beside_the_log_which_stays_as_it_was(lived: Shop) -> None:
    before = lived.table("features").rows(), lived.table("examples").rows(), lived.digests()
    lived.change(AMOUNT, 'features=[(pl.col("amount") * (pl.col("amount") - 40)).alias("amount"), pl.lit(1.0).alias("one"), ')
    told: list[tuple[str, int, int]] = []
    report = recompute("shop", lambda *said: told.append(said))
    assert (report.events, report.changed, report.problems) == (3, {"amount": 3, "one": 3, "country": 0}, [])
    assert "amount differs from what was logged for 3 of them" in str(report)
    assert "country" not in str(report)
    assert "this is not log and wait" in str(report)
    assert [x for _, x in what_if(lived)] == [
        {"amount": -300.0, "one": 1.0, "country": "DE"},
        {"amount": 0.0, "one": 1.0, "country": "FR"},
        {"amount": 500.0, "one": 1.0, "country": "DE"},
    ]
    assert told[-1][1] == told[-1][2] == Table("shop", "features").cursor("infer")
    assert (lived.table("features").rows(), lived.table("examples").rows(), lived.digests()) == before


def test_validate_takes_them_and_says_so(lived: Shop) -> None:
    with pytest.raises(MillraceError, match="--what-if"):
        validate("shop", "logistic", what_if=True, keep=False)
    logged = validate("shop", "logistic", cadences=["label"], keep=False)
    recompute("shop")
    same = validate("shop", "logistic", cadences=["label"], what_if=True, keep=False)
    assert [one.loss for one in same.scores] == [one.loss for one in logged.scores]
    assert "features are those of the what-if log" in same.notes[0]

    lived.change(AMOUNT, 'features=[(pl.col("amount") * (pl.col("amount") - 40)).alias("amount"), ')
    recompute("shop")
    changed = validate("shop", "logistic", cadences=["label"], what_if=True, keep=False)
    model, [a, b, c] = models.build(catalog.load("shop"), "logistic"), [x for _, x in what_if(lived)]
    shares = [model.predict_proba_one(a)[True], model.predict_proba_one(b)[False]]
    model.learn_one(a, True)
    model.learn_one(b, False)
    shares.append(model.predict_proba_one(c)[True])
    losses = [logged.scores[0].loss, pytest.approx(sum(-math.log(share) for share in shares) / 3)]
    assert [one.loss for one in changed.scores] == losses
    again = validate("shop", "logistic", cadences=["label"], keep=False)
    assert [one.loss for one in again.scores] == [one.loss for one in logged.scores] != losses


def test_what_was_there_is_replaced_when_all_is_computed_and_not_before(lived: Shop) -> None:
    recompute("shop")
    before = what_if(lived)
    lived.change(AMOUNT, 'features=[(pl.col("amount") + 1).alias("amount"), ')

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        recompute("shop", stop)
    assert what_if(lived) == before
    assert [path.name for path in (lived.place / "root" / "shop").glob("what_if*")] == ["what_if"]
    recompute("shop")
    assert [x["amount"] for _, x in what_if(lived)] == [31.0, 41.0, 51.0]


def test_a_feature_of_another_type_is_another_wherever_it_has_a_value(lived: Shop) -> None:
    lived.change(AMOUNT, 'features=[pl.col("amount").cast(pl.Int64).cast(pl.String).alias("amount"), ')
    lived.change('pl.col("country")]', 'pl.col("country").eq("FR").alias("country")]')
    report = recompute("shop")
    assert report.changed == {"amount": 3, "country": 3}
    assert what_if(lived)[1] == ("b", {"amount": "40", "country": True})


def test_where_nothing_arrived_there_is_nothing_to_compute(shop: Shop) -> None:
    with pytest.raises(MillraceError, match=r"nothing has arrived for shop yet: .* try: millrace feed shop"):
        recompute("shop")
