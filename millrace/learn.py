"""Stage 3: what do the models learn from the answers that have come?

Join, note the outcomes that are final, fold each model, score the race and promote, publish: each step has its own commit, and
each can be cut off and done again. Models fold on their own: one that fails does not hold up the others. While learning is
paused, nothing is joined or folded: answers wait where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from millrace import catalog, interventions
from millrace.fold import FoldReport, fold_alone
from millrace.interventions import Intervention
from millrace.join import JoinReport, join
from millrace.outcomes import OutcomesReport, mature
from millrace.parallel import Progress
from millrace.publish import PublishReport, publish
from millrace.race import RaceReport, score


@dataclass
class LearnReport:
    """What one run of the stage did: the reports of its steps."""

    dataset: str
    join: JoinReport
    outcomes: OutcomesReport
    folds: list[FoldReport] = field(default_factory=list)
    race: RaceReport | None = None
    publish: PublishReport | None = None
    paused: Intervention | None = None

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        found = self.join.problems + [f"{fold.model}: {fold.problem}" for fold in self.folds if fold.problem]
        return found + (self.publish.problems if self.publish else [])

    def __str__(self) -> str:
        final = self.outcomes if self.outcomes.outcomes else None
        joined = self.paused or self.join
        return "; ".join(str(part) for part in (joined, final, *self.folds, self.race, self.publish) if part)


def learn(name: str, progress: Progress | None = None) -> LearnReport:
    """Join what has become possible, note what is final, learn it, score it, promote, and publish what is due.

    Parameters
    ----------
    progress
        Is told how far each model has come while a long fold goes on.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken.
    """
    dataset = catalog.load(name)
    paused = interventions.pausing(name)
    report = LearnReport(name, JoinReport(name) if paused else join(name), mature(name), paused=paused)
    if not paused:
        report.folds = [fold_alone(name, model, progress, report.join.examples) for model in dataset.racing]
    report.race = score(name)
    report.publish = publish(name)
    return report
