"""What does the shop live through, and what must not depend on what it suffers?"""

from __future__ import annotations

import marshal
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from millrace import catalog, outbox, remembered, views
from millrace.remembered import Remembered
from tests.faults.zygote import Order, Outcome, Zygote
from tests.shop import TEXT, Shop

MODELS = """def leaves():
    return tree.HoeffdingTreeClassifier(grace_period=5)


dataset = Dataset("""
MEMORY = '[count().by("country").last("2h"), since(), mean("amount").by("country").last("1d")]'
POLICIES = ("arrival", "window", "provisional")
DEFINITION = (
    TEXT.replace("preprocessing\n", "preprocessing, tree\n")
    .replace("Race, Schema\n", "Race, Schema, count, mean, since\n")
    .replace("dataset = Dataset(", MODELS)
    .replace('{"logistic": logistic}', '{"logistic": logistic, "leaves": leaves}')
    .replace("    race=", f"    memory={MEMORY},\n    race=")
)
ODDS = [
    """
    event  a  10:00  amount=30
    label  early  10:02  true
    label  a  10:30  true
    """,
    """
    event  c  12:00  amount=50
    event  a  12:00  amount=99
    event  bad  12:01  amount=5000
    label  a  12:31  false
    label  c  11:00  true
    event  early  10:00
    label  a  12:40  true
    """,
    """
    event  last  2026-01-07T10:00:00Z
    label  c  2026-01-07T10:01:00Z  false
    """,
]
"""Early, late, corrected, doubled and bad rows."""


def batches() -> Iterator[str]:
    """Give what arrives between two ticks: orders of two countries, one of which is sent back, and the odd rows."""
    for i, odd in enumerate(ODDS):
        rows = []
        for hour in range(10 + 3 * i, 13 + 3 * i):
            rows += [
                f"event  d{hour}  {hour}:00  country=DE amount={hour}",
                f"event  f{hour}  {hour}:01  country=FR",
                f"label  d{hour}  {hour}:30  true",
                f"label  f{hour}  {hour}:31  false",
            ]
        yield "\n".join([*rows, odd.strip()])


def born(shop: Shop, store: Path, learn: str) -> Shop:
    """Begin anew, with a memory and a policy of labels."""
    one = shop.afresh(store)
    one.define(DEFINITION)
    one.change("window=timedelta(days=1)", f'window="2h", default=False, learn="{learn}"')
    return one


def account(shop: Shop) -> dict[str, Any]:
    """Return all that must not depend on crashes; the file of memory may be gone, and is made again as by the next event."""
    known, dataset = list[Any](), catalog.load("shop")
    if dataset.remembers:
        with Remembered(dataset) as memory:
            memory.follow()
        with closing(sqlite3.connect(remembered.path("shop"))) as file:
            rows = file.execute("SELECT part, key, seen, state FROM key ORDER BY part, key").fetchall()
        known = [(*row, repr(marshal.loads(state))) for *row, state in rows]  # equal values may be of other bytes
    found = orjson.loads(shop.status().as_json())
    for model in found["models"].values():
        model.pop("version")  # a crash between MLflow and the checkpoint's row leaves an orphan, and takes a number
    found["served"] = found["served"] and found["served"].split()[0]
    if found["memory"]:
        found["memory"].pop("bytes")
    said = shop.table("predictions").select("event_id", "model", "seq", "served", "answered", "prediction", "probabilities")
    lines = [orjson.loads(line) for path in outbox.folder("shop").glob("*.ndjson") for line in path.read_bytes().splitlines()]
    keys = ("seq", "event_id", "label", "label_source", "arrival", "label_arrival", "clock", "x")
    counts = {name: shop.table(name).height for name in ("files", "events", "labels", "quarantine", "promotions")}
    return {
        "status": found,
        "log": shop.table("examples").select(keys).rows(),
        "memory": known,
        "outcomes": shop.table("outcomes").drop("label_time").rows(),
        "predictions": said.sort("event_id", "model").rows(),
        "served": sorted((row["event_id"], str(row["prediction"]), row["model"]) for row in lines),
        "promotions": shop.table("promotions").select("number", "seq", "model", "before", "evidence").rows(),
        "counts": counts,
    }


def undisturbed(shop: Shop, zygote: Zygote) -> tuple[dict[str, Any], int]:
    """Live without a kill; return the account, and the points passed in all ticks."""
    points = 0
    for batch in batches():
        shop.arrive(batch)
        points += _well(zygote.run(Order())[0]).points
    _well(zygote.run(Order("maintain"))[0])
    return account(shop), points


def _well(outcome: Outcome) -> Outcome:
    assert not outcome.killed, outcome
    assert not outcome.said, outcome.said
    return outcome


def suffering(shop: Shop, zygotes: list[Zygote], source: random.Random, kills: int) -> Counter[str]:
    """Live through kills, at most so many a tick and in maintenance; return where they fell."""
    where = Counter[str]()
    for stage, batch in [*(("run", batch) for batch in batches()), ("maintain", "")]:
        if batch:
            shop.arrive(batch)
        for _ in range(kills):
            orders = [_order(stage, source) for _ in range(source.choice([1, 1, 1, 2]))]
            outcomes = source.choice(zygotes).run(*orders)
            for outcome in outcomes:
                assert "unexpected" not in outcome.said, outcome.said
                if outcome.killed:
                    where[outcome.where if "after 0" not in outcome.where else f"at a moment, in {stage}"] += 1
            if all(not outcome.killed for outcome in outcomes):
                break
            _tear(shop, source, outcomes[0].where if len(outcomes) == 1 else "")
        _well(source.choice(zygotes).run(Order(stage))[0])
    _well(zygotes[0].run(Order())[0])
    return where


def _order(stage: str, source: random.Random) -> Order:
    if source.random() < 0.3:
        return Order(stage, seconds=round(source.uniform(0.01, 0.9), 3))
    return Order(stage, at=source.randint(1, 30), after=source.random() < 0.6)


def _tear(shop: Shop, source: random.Random, where: str) -> None:
    """Tear what a power cut may tear: the commit at which it came, the index of ids, files that are not finished."""
    root = shop.place / "root" / "shop"
    index = views.newest(shop.place / "cache" / "shop" / "ids.db")
    some = [*outbox.folder("shop").glob(".*.part"), *(root / "states").glob("*.tmp"), index]
    if where.startswith("after append"):
        table = root / where.split()[-1]
        commit = max((table / "_delta_log").glob("*.json"))
        some += [commit, *([] if source.random() < 0.5 else [max(table.glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns)])]
    for path in some:
        if path.exists() and source.random() < 0.3:
            data = path.read_bytes()
            path.write_bytes(source.choice([data[: source.randint(0, len(data) - 1 if data else 0)], bytes(len(data))]))
    if source.random() < 0.2:  # it is synced, so that it is never torn; but a cache may be gone
        for path in (shop.place / "cache" / "shop").glob("memory*.db*"):
            path.unlink()
