"""Do the deployments of ``prefect.yaml`` work: on a server, by its scheduler, in a worker's process?

Everything is a process of its own, as in production. It is the only test that notices a server whose scheduler makes no
runs, or a flow that does not find its datasets in the folder in which a worker starts it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import CHECKOUT
from tests.shop import Shop

PREFECT = [sys.executable, "-m", "prefect"]
SECONDS = 240
"""How long a slow machine may take for what a quiet one does in twenty seconds."""


class Server:
    """A Prefect server, and what is started beside it, in a folder that looks like a checkout: its paths are relative to it."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._started: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._api = f"http://127.0.0.1:{self._port}/api"
        for file in ("prefect.yaml", "pyproject.toml"):
            (place / file).symlink_to(CHECKOUT / file)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MILLRACE_DATASETS"))}
        self._environment = {
            **kept,
            "PREFECT_API_URL": self._api,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "COLUMNS": "200",
        }

    def start(self, name: str, *arguments: str) -> None:
        """Start a command that stays, in a process group of its own; what it says is kept in a file."""
        with (self._place / f"{name}.log").open("wb") as said:
            options: Any = {"cwd": self._place, "env": self._environment, "start_new_session": True}
            self._started.append(subprocess.Popen([*PREFECT, *arguments], stdout=said, stderr=said, **options))

    def serve(self) -> None:
        """Start the server, and wait until it answers."""
        self.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self._port))
        self.wait_for("the server", lambda: self.get("health"))

    def call(self, *arguments: str) -> str:
        """Run a command to its end; return what it says."""
        command = [*PREFECT, "--no-prompt", *arguments]
        done = subprocess.run(
            command, cwd=self._place, env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, path: str) -> Any:
        """Ask the API."""
        return self._answer(urllib.request.Request(f"{self._api}/{path}"))

    def post(self, path: str, **body: Any) -> Any:
        """Ask the API for what is found by a filter."""
        headers = {"Content-Type": "application/json"}
        return self._answer(urllib.request.Request(f"{self._api}/{path}", orjson.dumps(body), headers))

    @staticmethod
    def _answer(request: urllib.request.Request) -> Any:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=30) as answer:
            return orjson.loads(answer.read())
        return None

    def wait_for(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait until something is found; return it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            assert all(one.poll() is None for one in self._started), f"a process has ended: {self.said()}"
            time.sleep(0.5)
        raise AssertionError(f"{what} did not come in {SECONDS} s: {self.said()}")

    def said(self) -> str:
        """Return the end of what each process said."""
        return "\n".join(f"--- {path.stem}\n{path.read_text()[-3000:]}" for path in sorted(self._place.glob("*.log")))

    def stop(self) -> None:
        """Stop everything, the last first: asked, and after some seconds forced, with all that it had started."""
        for one in reversed(self._started):
            _signal(one, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(20)
            _signal(one, signal.SIGKILL)
            one.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    """A server that knows the deployments, where there are two datasets."""
    shutil.copy(shop.path, shop.path.with_name("bakery.py"))
    server = Server(shop.place)
    try:
        server.serve()
        server.call("work-pool", "create", "millrace", "--type", "process", "--overwrite")
        server.call("deploy", "--all")
        yield server
    finally:
        server.stop()


def test_what_is_deployed_is_listed_has_forms_and_runs_on_its_schedule(server: Server, shop: Shop) -> None:
    deployments = {one["name"]: one for one in server.post("deployments/filter")}
    listed = server.call("deployment", "ls")
    assert set(deployments) >= {"feed", "infer", "ingest", "learn", "run"}
    assert all(f"{name}/{name}" in listed for name in deployments), listed

    for name in ("feed", "infer", "ingest", "learn", "run"):
        offered = deployments[name]["parameter_openapi_schema"]["properties"]["dataset"]["enum"]
        assert offered == (["all that are due"] if name == "run" else []) + ["bakery", "shop"]
    scheduled = {name: one["schedule"]["interval"] for name, found in deployments.items() for one in found["schedules"]}
    assert scheduled == {"run": 60.0}
    assert deployments["run"]["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"

    shop.arrive("""
        event  a  10:00
        label  a  11:00  true
    """)
    soon = f"{datetime.now(UTC) + timedelta(seconds=15):%Y-%m-%dT%H:%M:%SZ}"  # the same schedule, without a minute's wait
    server.call(
        "deployment", "schedule", "create", "run/run", "--interval", "60", "--anchor-date", soon, "--replace", "--accept-yes"
    )
    server.start("worker", "worker", "start", "--pool", "millrace", "--limit", "2")
    run = server.wait_for("a scheduled run's end", lambda: _ended(server, deployments["run"]["id"]))
    assert (run["state_name"], run["auto_scheduled"]) == ("Completed", True), f"{run['state']}\n{server.said()}"
    assert shop.status().models["logistic"].seq == 1


def _ended(server: Server, deployment: str) -> Any:
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
    found = server.post("flow_runs/filter", flow_runs=ended, deployments={"id": {"any_": [deployment]}}, sort="END_TIME_DESC")
    return found[-1] if found else None
