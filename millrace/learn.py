"""Stage 3: what do the models learn from the answers that have come?

Join, note the outcomes that are final, fold each model, score the race and promote, publish: each step has its own commit, and
each can be cut off and done again. Models fold on their own: one that fails does not hold up the others. A race that cannot be
scored holds up no publication. While learning is paused, nothing is joined or folded: answers wait where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from millrace import catalog, interventions, metrics
from millrace.errors import MillraceError
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
    unscored: str | None = None
    """Why the race could not be scored."""

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        found = self.join.problems + [f"{fold.model}: {fold.problem}" for fold in self.folds if fold.problem]
        found += [self.unscored] if self.unscored else []
        return found + (self.publish.problems if self.publish else [])

    def __str__(self) -> str:
        final = self.outcomes if self.outcomes.outcomes else None
        joined = self.paused or self.join
        return "; ".join(str(part) for part in (joined, final, *self.folds, self.race or self.unscored, self.publish) if part)


def learn(name: str, progress: Progress | None = None) -> LearnReport:
    """Join what has become possible, note what is final, learn it, score it, promote, and publish what is due.

    Parameters
    ----------
    progress
        Is told how far each model has come while a long fold goes on.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, or its file is broken; also where a metric does not fit.
    """
    dataset = catalog.load(name)
    metrics.check(dataset)
    paused = interventions.pausing(name)
    report = LearnReport(name, JoinReport(name) if paused else join(name), mature(name), paused=paused)
    if not paused:
        report.folds = [fold_alone(name, model, progress, report.join.examples) for model in dataset.racing]
    try:
        report.race = score(name)
    except MillraceError as error:
        report.unscored = str(error)
    report.publish = publish(name)
    return report
