"""How can a real process be killed at a chosen place, hundreds of times in a few minutes?

A zygote is a process that has imported everything and used nothing, so that it can be forked: what threads its libraries
have begun wait for work. Each fork makes one tick, in a place of its own, and is killed by SIGKILL at a point (before or
after the n-th thing that it writes), or at a moment. What is left is verified by a fork, too: a process that once asked
MLflow goes on reading the database that it opened, though the next life has another of the same name.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tests.conftest import CHECKOUT


@dataclass(frozen=True)
class Order:
    """What a fork is to do.

    Parameters
    ----------
    stage
        ``run``, ``maintain``, or ``verify``, with every proof.
    at, after
        It is killed at the n-th point, before the thing is done or after; 0 for not.
    seconds
        It is killed at this moment after it began; None for not.
    largest
        No file may grow beyond so many bytes: what a full disk does. None for no limit.
    """

    stage: str = "run"
    at: int = 0
    after: bool = False
    seconds: float | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a fork: whether it was ``killed``, ``where``, what it ``said``, and how many ``points`` it passed."""

    killed: bool
    where: str
    said: str
    points: int


class Zygote:
    """A process that is forked for each tick."""

    def __init__(self, seed: str = "0") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"},
        )

    def run(self, *orders: Order) -> list[Outcome]:
        """Fork once for each order, all beside each other, and wait for them."""
        env = {name: value for name, value in os.environ.items() if name.startswith(("MILLRACE_", "MLFLOW_"))}
        assert self._process.stdin
        assert self._process.stdout
        request = {"env": env, "cwd": str(Path.cwd()), "orders": [asdict(order) for order in orders]}
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        return [Outcome(**found) for found in orjson.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def main() -> None:
    """Import everything, then fork for each request; one JSON object a line."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _import_everything()
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        forks = [_forked(Order(**order), request["env"], request["cwd"]) for order in request["orders"]]
        answers.write(orjson.dumps([_waited(*fork) for fork in forks]) + b"\n")
        answers.flush()


def _import_everything() -> None:
    import deltalake  # noqa: F401
    import mlflow.pyfunc
    import mlflow.tracking  # noqa: F401
    import polars  # noqa: F401
    import sklearn  # noqa: F401
    from river import compose, linear_model, metrics, preprocessing, tree  # noqa: F401

    from millrace import exact, maintain, proof, provisional, registry, remembered, run  # noqa: F401


def _forked(order: Order, env: dict[str, str], cwd: str) -> tuple[int, int, float | None]:
    receive, send = os.pipe()
    process = os.fork()
    if process:
        os.close(send)
        return process, receive, order.seconds
    os.close(receive)
    os.environ.update(env)
    os.chdir(cwd)
    points = _arm(order, send)
    if order.largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.largest, order.largest))
    said, failed = _do(order.stage)
    os.write(send, orjson.dumps({"where": "failed" if failed else "", "said": said, "points": points()}))
    os._exit(0)


def _do(stage: str) -> tuple[str, bool]:
    from millrace.errors import MillraceError
    from millrace.maintain import maintain
    from millrace.proof import verify
    from millrace.run import run

    stages: dict[str, Callable[[str], Any]] = {"run": run, "maintain": maintain, "verify": partial(verify, every=True)}
    try:
        report = stages[stage]("shop")
    except MillraceError as error:
        return str(error), True
    except BaseException:  # noqa: BLE001 - told to the test, which does not expect it
        return f"unexpected {traceback.format_exc()}", True
    return "; ".join(report.problems), bool(report.problems)


def _arm(order: Order, send: int) -> Callable[[], int]:
    """Kill this process at a point; return what tells how many were passed."""
    from millrace import checkpoints, landing, maintain, orphans, outbox
    from millrace.registry import Registry
    from millrace.remembered import Remembered
    from millrace.tables import Table
    from millrace.waiting import WaitingRoom

    passed = 0

    def kill(name: str) -> None:
        os.write(send, orjson.dumps({"where": name, "said": "", "points": passed}))
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner: Any, attribute: str) -> None:
        original = getattr(owner, attribute)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal passed
            passed += 1
            here = passed == order.at
            table = f" {arguments[0].name}" if owner is Table else ""
            if here and not order.after:
                kill(f"before {attribute}{table}")
            result = original(*arguments, **named)
            if here:
                kill(f"after {attribute}{table}")
            return result

        setattr(owner, attribute, wrapped)

    for owner, attribute in [
        (Table, "append"), (checkpoints, "write_state"), (landing, "put_away"), (outbox, "write"), (outbox, "show"),
        (WaitingRoom, "follow"), (Remembered, "follow"), (Remembered, "keep"), (Registry, "run"), (Registry, "publish"),
        (Registry, "alias"), (Registry, "log_metrics"), (maintain, "_join_files"), (maintain, "_maintain_table"),
        (maintain, "_remove_states"), (orphans, "remove"),
    ]:  # fmt: skip
        wrap(owner, attribute)
    return lambda: passed


def _waited(process: int, receive: int, seconds: float | None) -> dict[str, Any]:
    if seconds is not None:
        ready, _, _ = select.select([receive], [], [], seconds)
        if not ready:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    said = b"".join(iter(lambda: os.read(receive, 65536), b""))
    os.close(receive)
    _, status = os.waitpid(process, 0)
    found = orjson.loads(said) if said else {"where": f"after {seconds} s", "said": "", "points": 0}
    return {"killed": os.WIFSIGNALED(status), **found}


if __name__ == "__main__":
    main()
