"""What becomes of an example's weight?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from river import compose, linear_model, preprocessing

from millrace import catalog, explain, replay, validate, verify
from millrace.errors import DatasetError
from millrace.examples import as_examples
from tests.shop import Shop

LABELS = "    labels=Labels(window=timedelta(days=1)),\n"
ROWS = """
    event  a  10:00  amount=30
    event  b  10:05  amount=500
    event  c  10:10  amount=0
    label  a  11:00  true
    label  b  11:01  false
    label  c  11:02  true
    event  d  12:00  amount=200
    event  e  12:10  amount=80
    label  e  13:00  false
    label  d  13:01  true
"""


def weigh(shop: Shop, expression: str) -> None:
    shop.change(LABELS, f"{LABELS}    weight={expression},\n")


def by_hand(rows: Any) -> Any:
    numbers = compose.Select("amount") | preprocessing.StandardScaler()
    words = compose.Select("country") | preprocessing.OneHotEncoder()
    model = (numbers + words) | linear_model.LogisticRegression()
    for _, _, _, label, weight, x in rows:
        model.learn_one(x, label, w=weight)
    return model


def test_it_is_logged_with_the_example_and_models_that_take_one_learn_with_it(shop: Shop) -> None:
    weigh(shop, 'pl.when(pl.col("label")).then(pl.col("amount") / 100).otherwise(pl.col("event_time").dt.hour() - 9)')
    shop.arrive(ROWS)
    assert shop.tick().problems == []
    log = shop.table("examples").sort("seq")
    assert dict(log.select("event_id", "weight").iter_rows()) == {"a": 0.3, "b": 1.0, "c": 0.0, "e": 3.0, "d": 2.0}
    rows = as_examples(log)
    rebuilt = replay("shop", "logistic", to=5)
    assert rebuilt.predict_proba_one(rows[0][-1]) == by_hand(rows).predict_proba_one(rows[0][-1])
    assert ", of weight 0.3\n" in str(explain("shop", "a"))
    assert "of weight" not in str(explain("shop", "b"))
    proven = verify("shop")
    assert proven.problems == [], proven
    judged = validate("shop", "logistic")
    assert judged.problems == []


def test_a_changed_one_counts_from_then_on_and_what_the_old_one_gave_is_no_difference(shop: Shop) -> None:
    weigh(shop, 'pl.col("amount") / 100')
    shop.arrive(ROWS)
    shop.tick()
    shop.change("/ 100", "/ 50")
    assert verify("shop", "prior").problems == []
    shop.arrive("""
        event  f  14:00  amount=40
        label  f  14:30  true
    """)
    shop.tick()
    log = shop.table("examples").sort("seq")
    assert log["weight"].to_list() == [0.3, 5.0, 0.0, 0.8, 2.0, 0.8]
    proven = verify("shop")
    assert proven.problems == []
    assert "5 weights by another weight= than that of" in str(proven)
    shop.change("/ 50", "/ 100")
    assert "6 weights by another weight=" in str(verify("shop", "prior")), "the last is not by today's"


def test_a_changed_function_in_it_is_another_weight(shop: Shop) -> None:
    function = "PART = 100\n\n\ndef part(x):\n    return x / PART if x else 0.0"
    shop.change("\ndataset = Dataset(", f"\n{function}\n\n\ndataset = Dataset(")
    weigh(shop, 'pl.col("amount").map_elements(part, pl.Float64)')
    shop.arrive(ROWS)
    shop.tick()
    assert verify("shop", "prior").problems == []
    shop.change("PART = 100", "PART = 50")
    proven = verify("shop", "prior")
    assert proven.problems == []
    assert "5 weights by another weight= than that of" in str(proven)


def test_a_logged_one_that_was_changed_by_hand_is_found(shop: Shop) -> None:
    weigh(shop, 'pl.col("amount") / 100')
    shop.arrive(ROWS)
    shop.tick()
    DeltaTable(shop.place / "root" / "shop" / "examples").update({"weight": "0.5"}, predicate="seq = 4")
    [problem] = verify("shop", "prior").problems[:1]
    assert "seq 4 (event 'e'): weight is 0.5 on record, and made again 0.8" in problem


def test_however_the_log_is_cut_the_states_are_the_same(shop: Shop, mlflow_store: Path) -> None:
    weigh(shop, 'pl.col("amount") / 300')
    shop.arrive(ROWS)
    shop.tick()
    whole, weights = shop.digests(), shop.table("examples")["weight"].to_list()
    again = shop.afresh(mlflow_store)
    weigh(again, 'pl.col("amount") / 300')
    rows = ROWS.strip().splitlines()
    for cut in (rows[:2], rows[2:5], rows[5:6], rows[6:]):
        again.arrive("\n".join(cut))
        again.tick()
    assert again.digests() == whole
    assert again.table("examples").sort("seq")["weight"].to_list() == weights


def test_one_that_cannot_be_used_counts_as_one_and_is_told(shop: Shop) -> None:
    weigh(shop, 'pl.when(pl.col("amount") > 100).then(pl.lit(None)).otherwise(1 / pl.col("amount") - 0.02)')
    shop.arrive(ROWS)
    [problem] = shop.tick().problems
    assert problem == "4 of 5 weights are no number of 0 or more, and count 1 (first: 'b': None)"
    weights = dict(shop.table("examples").select("event_id", "weight").iter_rows())
    assert weights == {"a": 1 / 30 - 0.02, "b": 1.0, "c": 1.0, "d": 1.0, "e": 1.0}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('pl.col("amuont")', r"weight: ColumnNotFoundError: .*amuont.*; it may use event_id, event_time, amount, country, label"),
        ('pl.col("country")', r"weight is String; a weight is a number of 0 or more, such as pl.col\('amount'\) / 100"),
        ('pl.col("amount").rank()', r"weight is not computed row by row: in batches of 1 it is another"),
        ('pl.col("amount").mean()', r"weight gives 1 rows for \d+ examples; it is computed row by row"),
        ("2", r"weight is 2; write a Polars expression, such as pl.col\('amount'\) / 100"),
    ],
)
def test_one_that_cannot_be_right_is_refused_with_the_file(shop: Shop, expression: str, message: str) -> None:
    weigh(shop, expression)
    with pytest.raises(DatasetError, match=r"shop\.py:\d+: " + message):
        catalog.load("shop")
