"""What is known of predictions before they are matured: what was answered so far, what waits, and what is to be expected?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from millrace import cohorts
from millrace.cohorts import Said
from millrace.dataset import Dataset
from millrace.estimate import Estimate, estimate
from millrace.waiting import WaitingRoom


@dataclass(frozen=True)
class Outlook:
    """What one model can expect.

    ``loss_so_far`` is the mean over ``labelled_so_far`` events: those that are matured, and those whose window is open and whose
    label came. ``waiting`` predictions have no label yet. ``estimate`` is for all predictions of open events (None for a
    regression, which gives no probabilities). Where more than 10,000 events are open, one of so many stands for others.
    """

    waiting: int
    labelled_so_far: int
    loss_so_far: float | None
    estimate: Estimate | None


def outlook(dataset: Dataset, clock: datetime | None, scores: Mapping[str, tuple[int, float | None]]) -> dict[str, Outlook]:
    """Return the outlook of each model.

    Parameters
    ----------
    clock
        The data's clock.
    scores
        How many matured events were scored of each model, and its mean loss.
    """
    with WaitingRoom(dataset.name) as room:
        waiting = cohorts.open_events(dataset, room, clock)
    classifies = dataset.task != "regression"
    matured = cohorts.matured(dataset) if classifies else None
    length = cohorts.cohort_length([matured, waiting] if matured else [waiting])
    ahead = dict(cohorts.said(dataset, waiting))
    behind = dict(cohorts.said(dataset, matured)) if matured and ahead else {}
    found = {}
    for model, (labelled, mean) in scores.items():
        said = ahead.get(model, Said.nothing())
        losses = [dataset.race_loss.of(*pair) for pair in zip(said.predictions, said.label, strict=True) if pair[1] is not None]
        events = labelled + len(losses) * waiting.each
        total = labelled * (mean or 0.0) + sum(losses) * waiting.each
        expected = estimate(dataset.race_loss, behind.get(model, Said.nothing()), said, length) if classifies else None
        silent = (len(said.label) - len(losses)) * waiting.each
        found[model] = Outlook(silent, events, total / events if events else None, expected)
    return found
