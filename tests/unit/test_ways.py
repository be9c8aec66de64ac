"""Does what is kept of each way to serve stay small, however many models and outcomes there are?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from millrace.dataset import PRIOR
from millrace.ways import BEST, POLICY, SERVED, Outcome, Ways
from tests.unit.test_reign import dataset

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_who_served_is_kept_only_where_it_changes() -> None:
    ways = Ways(dataset(minimum=10), 10)
    for i in range(1, 41):
        said = {PRIOR: 0.5, "good": 0.4, "other": 0.3}
        at = START + timedelta(hours=i)
        ways.see(Outcome(i, i, at, 0.1, at, i, i, said, (PRIOR, 0.5), at, i, at))
    assert {name: len(tally.models) for name, tally in ways._tallies.items() if tally.models} == {
        SERVED: 40,
        BEST: 40,
        POLICY: 40,
    }
    lines, reigns = ways.told()
    changes = {line.name.split(",")[0].removesuffix(" alone"): line.changes for line in lines}
    assert changes == {SERVED: 0, BEST: 0, POLICY: 0, PRIOR: None, "good": None, "other": None}
    assert reigns[SERVED][0].events == 40
