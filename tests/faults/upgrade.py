"""Does a dataset live through an upgrade of River? ``python -m tests.faults.upgrade [--river VERSION]``, as ``make soak`` does.

An older River is installed beside the locked libraries, into a folder of its own, and learns and predicts a while; the present
one goes on. Nothing of the log is lost, each model is what a life under the present River alone makes of it, and each event is
predicted and served. Then the older one goes on once more, as a process does that was not stopped in time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from millrace import models, outbox
from tests.conftest import CHECKOUT
from tests.faults.__main__ import empty_store, enter
from tests.faults.life import account, batches, born
from tests.shop import Shop

RIVER = "0.25.0"
"""The newest that is older by a minor version; its pickles of pipelines cannot be read by the present one."""


def main() -> None:
    """Live under an older River, then under the present one, and compare with a life under the present one alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.upgrade", description=__doc__)
    parser.add_argument("--river", default=RIVER, help="the older River")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        _well([*pip, str(older), f"river=={asked.river}"], {})
        shop, store = Shop(enter(Path(folder))), empty_store(Path(folder))
        for path in ("", str(older)):
            assert (f"river {asked.river};" in _python("-c", ENVIRONMENT, path=path)) == bool(path), "the older River is not used"
        expected = _life(born(shop, store, "provisional"), ["", "", ""])
        upgraded = _life(born(shop, store, "provisional"), [str(older), str(older), ""])
        for name in ("log", "digests", "counts", "served"):
            if upgraded[name] != expected[name]:
                sys.exit(f"{name} after the upgrade: {upgraded[name]}\nunder the present River alone: {expected[name]}")
        said = _python(*CLI, "replay", "shop", "--verify")
        shop.arrive("event  z1  2026-01-08T10:00:00Z\nevent  z2  2026-01-08T10:01:00Z")
        said += _python(*CLI, "run", "shop", path=str(older))
        rows = shop.table("predictions").filter(event_id="z2").join(shop.table("checkpoints"), on="version")["environment"]
        if not rows.len() or any(f"river {asked.river};" not in one for one in rows):
            sys.exit(f"the older environment predicts by versions of another: {rows.to_list()}\n{said}")
    sys.stdout.write(f"{said}\nfrom River {asked.river} to {models.environment()}: as under the present one alone\n")


CLI = ("-c", "from millrace.cli import main; main()")
ENVIRONMENT = "from millrace import models; print(models.environment())"


def _life(shop: Shop, paths: list[str]) -> dict[str, Any]:
    """Live each batch in an environment, and return what must be the same."""
    for batch, path in zip(batches(), paths, strict=True):
        shop.arrive(batch)
        said = _python(*CLI, "run", "shop", path=path)
        assert "is not loaded" not in said, said  # of the race it is said that it was run again
    found = account(shop)
    digests = {name: (model["seq"], model["digest"]) for name, model in found["status"]["models"].items()}
    events = set(shop.table("events")["event_id"])
    served = sorted(event for event, *_ in found["served"])
    assert events == set(served) and len(served) == len(events), f"not served: {events - set(served)}; {outbox.folder('shop')}"
    counts = {name: number for name, number in found["counts"].items() if name != "promotions"}
    return {"log": found["log"], "digests": digests, "counts": counts, "served": served}


def _python(*arguments: str, path: str = "") -> str:
    """Run this Python with a folder of libraries before its own."""
    return _well([sys.executable, "-W", "ignore", *arguments], {"PYTHONPATH": f"{path}{os.pathsep}{CHECKOUT}".lstrip(os.pathsep)})


def _well(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
