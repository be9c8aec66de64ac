"""Are the states there from which the models and the race go on?"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from millrace.checkpoints import write_state
from millrace.proof import verify
from tests.scenarios.test_explain import HOUR, rewrite
from tests.shop import Shop


def test_the_race_goes_on_from_the_state_that_was_written_last_wherever_its_row_is(shop: Shop) -> None:
    shop.change("window=timedelta(days=1)", "")  # an answer is final when it is there
    shop.arrive(HOUR.format(0))
    shop.tick()
    race = shop.table("standings")["sha256"][-1]
    older = write_state("shop", b"as it was before it was scored again at the same place")

    def scored_twice(rows: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([rows, rows.with_columns(sha256=pl.lit(older), at=pl.col("at") - timedelta(hours=1))])

    rewrite(shop, "standings", scored_twice)
    states = shop.place / "root" / "shop" / "states"
    (states / f"{older}.pkl").unlink()  # as maintenance does
    assert verify("shop").problems == []
    (states / f"{race}.pkl").unlink()
    assert [f"{race}.pkl (the race at seq 2) is gone" in problem for problem in verify("shop").problems] == [True]
