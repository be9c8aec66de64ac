"""Does it show in the log, or in a model, how rows were cut into files and grouped into ticks?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from millrace import catalog, models, state
from millrace.clock import from_microseconds
from millrace.examples import as_examples
from millrace.learner import learn_until_error
from tests.shop import Shop

_EVENT = st.tuples(st.just("event"), st.integers(0, 3), st.integers(0, 90), st.sampled_from([10.0, 30.0, 31.0, 2000.0]))
_LABEL = st.tuples(st.just("label"), st.integers(0, 3), st.integers(0, 90), st.booleans())
_ROWS = st.lists(st.one_of(_EVENT, _LABEL), min_size=1, max_size=12)
"""Events and labels of three days in any order of arrival: labels before their events, equal times, ids again within a
horizon of a day and after it, corrections, bad rows."""


def _line(row: tuple[str, int, int, float | bool]) -> bytes:
    kind, number, minutes, value = row
    moment = (
        f"2026-01-{5 + minutes // 30:02d}T{minutes % 30:02d}:00:00Z"
        if minutes % 30 < 24
        else f"2026-01-{5 + minutes // 30:02d}T23:59:59Z"
    )
    if kind == "event":
        return orjson.dumps({"event_id": f"id{number}", "event_time": moment, "amount": value, "country": "DE"}) + b"\n"
    return orjson.dumps({"event_id": f"id{number}", "label": value, "label_time": moment}) + b"\n"


def _live(shop: Shop, rows: list[tuple[str, int, int, float | bool]], cuts: list[bool], ticks: list[bool]) -> object:
    """Let the rows arrive: a new file where ``cuts`` says so or the kind changes, a tick after it where ``ticks`` says so."""
    shop.change("    race=", "    id_horizon=timedelta(days=1),\n    race=")
    held: list[bytes] = []
    for i, row in enumerate(rows):
        held.append(_line(row))
        last = i + 1 == len(rows)
        if last or cuts[i] or rows[i + 1][0] != row[0]:
            shop.put(f"{row[0]}s-{i:04d}.ndjson", b"\n" * i + b"".join(held))  # no two files of the same bytes
            held = []
            if ticks[i] or last:
                shop.tick()
    found = shop.status()
    accounts = (
        found.rows,
        found.events,
        found.labels,
        found.corrections,
        found.quarantined,
        found.duplicates,
        found.events_waiting,
        found.labels_waiting,
        found.late,
    )
    answered = sorted(shop.table("predictions").filter("answered")["arrival"])
    x = shop.table("examples").select("seq", "event_id", "label", "arrival", "label_arrival", "clock", "x").rows()
    return accounts, answered, found.clock, x, shop.digests(), sorted(shop.table("quarantine")["arrival"])


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=_ROWS, cuts=st.lists(st.booleans(), min_size=12, max_size=12), ticks=st.lists(st.booleans(), min_size=12, max_size=12)
)
def test_neither_files_nor_ticks_show(
    shop: Shop, mlflow_store: Path, rows: list[tuple[str, int, int, float | bool]], cuts: list[bool], ticks: list[bool]
) -> None:
    at_once = _live(shop.afresh(mlflow_store), rows, [False] * 12, [False] * 12)
    assert _live(shop.afresh(mlflow_store), rows, cuts, ticks) == at_once


@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_state_is_the_same_in_processes_of_other_hash_seeds(shop: Shop, seed: str) -> None:
    shop.arrive("\n".join(f"event  {i}  10:{i:02d}  amount={i} country={['DE', 'FR', 'IT'][i % 3]}" for i in range(40)))
    shop.arrive("\n".join(f"label  {i}  11:{i:02d}  {'true' if i % 3 else 'false'}" for i in range(40)))
    code = "from millrace.run import run; run('shop')"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    here = models.build(catalog.load("shop"), "logistic")
    assert learn_until_error(here, as_examples(shop.table("examples"))) == (40, None)
    assert shop.digests()["logistic"] == (40, state.digest(here))


def test_a_mean_over_a_stretch_of_time_is_rivers(shop: Shop) -> None:
    from datetime import timedelta

    from river import feature_extraction, linear_model, stats, utils

    shop.change("from river import compose,", "from river import compose, feature_extraction, stats, utils,")
    shop.change(
        "dataset = Dataset(",
        """def recent():
    how = utils.TimeRolling(stats.Mean, period=timedelta(minutes=5))
    return feature_extraction.TargetAgg(by="country", how=how) | linear_model.LogisticRegression()


dataset = Dataset(""",
    )
    shop.change('models={"logistic": logistic}', 'models={"logistic": logistic, "recent": recent}')
    shop.arrive("\n".join(f"event  {i}  10:{i:02d}  country={['DE', 'FR'][i % 2]}" for i in range(40)))
    shop.arrive("\n".join(f"label  {i}  11:{i:02d}  {'true' if i % 3 else 'false'}" for i in range(40)))
    assert shop.tick().problems == []
    assert shop.status().models["recent"].skips == 0
    how = utils.TimeRolling(stats.Mean, period=timedelta(minutes=5))
    plain = feature_extraction.TargetAgg(by="country", how=how) | linear_model.LogisticRegression()
    rows = as_examples(shop.table("examples"))
    for _, _, moment, label, _, x in rows:
        plain.learn_one(x, label, t=from_microseconds(moment).replace(tzinfo=None))
    here = models.build(catalog.load("shop"), "recent")
    assert learn_until_error(here, rows) == (40, None)
    assert here.predict_proba_one(rows[-1][-1]) == plain.predict_proba_one(rows[-1][-1])
