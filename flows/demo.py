"""The main job on real flights: January 2013 arrives, is predicted and learned, and the best model is served."""

from __future__ import annotations

from prefect import flow

from flows.run import run
from tasks.demo import arrive, begin, start, steps


@flow(flow_run_name="demo-flights")
async def demo() -> None:
    """Let three weeks of flights arrive day by day, then two days hour by hour, with a tick at every step."""
    with begin() as progress:
        async for step in progress.track(steps()):
            await arrive(step)
            await run("flights")


if __name__ == "__main__":
    start(demo)
