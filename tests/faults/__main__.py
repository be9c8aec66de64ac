"""Kill until enough were killed: ``python -m tests.faults [--kills N] [--seed N]``, as ``make soak`` does."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults.life import POLICIES, account, born, suffering, undisturbed
from tests.faults.zygote import Order, Zygote
from tests.shop import Shop


def main() -> None:
    """Live again and again, killed at random; stop at the first account that is another."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first life; each further life has the next")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        place = enter(Path(folder))
        _soak(Shop(place), empty_store(place), asked.kills, asked.seed)


def enter(place: Path) -> Path:
    """Let every setting point into a place, for good."""
    for name in ("landing", "outbox", "root", "cache", "datasets"):
        os.environ[f"MILLRACE_{name.upper()}"] = str(place / name)
        (place / name).mkdir()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/mlruns/mlflow.db"
    os.chdir(place)
    return place


def empty_store(place: Path) -> Path:
    """Make an empty MLflow database."""
    from mlflow.tracking import MlflowClient

    path = place / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


def _soak(shop: Shop, store: Path, kills: int, seed: int) -> None:
    zygotes = [Zygote(str(number)) for number in range(3)]
    expected = {learn: undisturbed(born(shop, store, learn), zygotes[0])[0] for learn in POLICIES}
    where, lives = Counter[str](), 0
    while where.total() < kills:
        learn = POLICIES[(seed + lives) % len(POLICIES)]
        one = born(shop, store, learn)
        where += suffering(one, zygotes, random.Random(seed + lives), kills=8)
        wrong = [name for name, value in account(one).items() if value != expected[learn][name]]
        wrong += [outcome.said for outcome in zygotes[0].run(Order("verify")) if outcome.said]
        if wrong:
            sys.exit(f"after a life with --seed {seed + lives}: {wrong}; to see it again: --seed {seed + lives} --kills 1")
        lives += 1
        sys.stderr.write(f"\r{where.total():,} of {kills:,} kills in {lives:,} lives")
    sys.stdout.write(f"\n{where.total():,} kills in {lives:,} lives, each with the accounts of an undisturbed one:\n")
    for point, number in where.most_common():
        sys.stdout.write(f"{number:6,}  {point}\n")
    for zygote in zygotes:
        zygote.close()


if __name__ == "__main__":
    main()
