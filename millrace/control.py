"""How does a person change who is served, and whether models learn?

Each function gives one order with its reason, puts it on record, and lets it take effect at once: the race obeys it where it
stands, and MLflow's alias follows. What was served before stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from millrace import catalog, checkpoints, interventions, promotions, race, serving, tables
from millrace.dataset import Dataset
from millrace.errors import MillraceError, UsageError, unknown
from millrace.infer import load
from millrace.interventions import Intervention
from millrace.publish import PublishReport, publish
from millrace.race import RaceReport, score, would
from millrace.reign import WouldReport

_ATTEMPTS = 10
"""So often the race is scored to its end before an order, while others score it, too."""


@dataclass
class ControlReport:
    """What one order did: the ``order`` as it is on record, what the race made of it, and what else is to be known."""

    dataset: str
    order: Intervention
    done: str
    race: RaceReport | None = None
    publish: PublishReport | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What did not work."""
        return self.publish.problems if self.publish else []

    def __str__(self) -> str:
        return "\n".join([f"{self.done}: {self.order.reason}", *self.notes, *([str(self.publish)] if self.publish else [])])


def promote(name: str, model: str | None = None, reason: str = "", dry_run: bool = False) -> ControlReport | WouldReport:
    """Make a model champion, whatever the race says; its predictions are served from the next events on.

    The rule goes on from there: after the cool-down it may promote another, unless it is pinned.

    Parameters
    ----------
    name, model
        The dataset, and the model.
    reason
        Why; kept with the promotion.
    dry_run
        Change nothing: return what the rule would do now, and why.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset or model, it is champion already or has no version yet, no reason is given, nothing has
        arrived, or the dataset's file is broken.
    """
    if dry_run:
        return would(name)
    with _ordering(name, reason) as dataset:
        if model is None:
            raise UsageError(f"who is to be champion? name one of {', '.join(dataset.racing)}")
        if model not in dataset.racing:
            raise unknown("model", model, dataset.racing)
        if model == promotions.champion(name):
            raise UsageError(f"{model} is the champion of {name} already")
        order = _crown(dataset, "promote", model, reason)
    return _effective(dataset, order, f"{model} is champion")


def rollback(name: str, reason: str) -> ControlReport:
    """Make the champion before the present one champion again; a second rollback takes the first one back.

    Raises
    ------
    UsageError, DatasetError
        When there was no champion before, or it races no more; and as :func:`promote`.
    """
    with _ordering(name, reason) as dataset:
        last = promotions.latest(name)
        if last is None:
            raise UsageError(f"prior is the first champion of {name}: there was none before it to go back to")
        if last.before not in dataset.racing:
            raise UsageError(
                f"the champion before {last.model} was {last.before}, which is no longer in {dataset.path}; to choose another, "
                f"run: millrace promote {name} MODEL --reason … ({', '.join(dataset.racing)})"
            )
        order = _crown(dataset, "rollback", last.before, reason)
    return _effective(dataset, order, f"{order.model} is champion again, instead of {last.model}")


def pin(name: str, what: int | str | None = None, reason: str = "", off: bool = False) -> ControlReport:
    """Let nothing change by itself: the rule promotes nobody, and with a version, that one is served until the pin is lifted.

    Learning and the race's accounts go on. The newest version of the pinned one's model predicts beside it, as a shadow.

    Parameters
    ----------
    name
        The dataset.
    what
        A version (``12`` or ``v12``), or a model: its newest version now. None pins the champion's place alone: it goes on
        being served as it learns.
    reason
        Why.
    off
        Lift the pin.

    Raises
    ------
    UsageError, DatasetError
        When there is no such dataset, model or version, or the version cannot be loaded: it is of another environment, or was
        removed; nothing is pinned, with `off`; and as :func:`promote`.
    """
    with _ordering(name, reason) as dataset:
        if off:
            if what is not None:
                raise UsageError(f"--off lifts the pin, whatever is pinned: leave {what!r} out")
            if interventions.in_force(name).pin is None:
                raise UsageError(f"{name} is not pinned")
            order = interventions.record(name, "unpin", None, None, reason)
            done = "the pin is lifted, and the rule of the race decides again"
        elif what is None:
            order = interventions.record(name, "pin", None, None, reason)
            done = f"pinned: {promotions.champion(name)} stays champion, and is served as it learns"
        else:
            version = _version(dataset, what)
            order = interventions.record(name, "pin", version.model, version.version, reason)
            done = f"pinned: v{version.version} is served ({version.model} at seq {version.seq:,}), and learning goes on"
    return _effective(dataset, order, done)


def pause(name: str, reason: str = "", off: bool = False) -> ControlReport:
    """Stop learning: files are taken in, events predicted and served; what waits is learned later, in the same order.

    So the models are those of having learned without a pause.

    Parameters
    ----------
    name
        The dataset.
    reason
        Why.
    off
        Learn again, from the next tick on.

    Raises
    ------
    UsageError, DatasetError
        When it is paused already, or not, with `off`; and as :func:`promote`.
    """
    _asked(name, reason)
    with interventions.held(name):
        paused = interventions.in_force(name).pause
        if off == (paused is None):
            raise UsageError(f"{name} is not paused" if off else f"{name} is {paused}")
        order = interventions.record(name, "resume" if off else "pause", None, None, reason)
    done = "learning goes on with the next tick" if off else "learning is paused; predicting and serving go on"
    return ControlReport(name, order, done)


def _asked(name: str, reason: str) -> Dataset:
    dataset = catalog.load(name)
    if not reason.strip():
        raise UsageError('why? the reason is kept with what is done; write --reason "…"')
    if not tables.created(name):
        raise UsageError(f"nothing has arrived for {name} yet; put files into the landing folder, or try: millrace feed {name}")
    return dataset


@contextmanager
def _ordering(name: str, reason: str) -> Iterator[Dataset]:
    """Hand over the dataset while nothing in the race can change, for an order that has its reason.

    Where a run was cut off between a promotion and the race's account of it, or an order is not obeyed yet, the race comes
    first: an order that stood before such a promotion would be lost.
    """
    dataset = _asked(name, reason)
    for _ in range(_ATTEMPTS):
        with interventions.held(name):
            if race.settled(name):
                yield dataset
                return
        score(name)
    raise MillraceError(
        f"the promotions of {name} on record go on after its race, though that was scored to its end: a table was changed by "
        f"hand; restore {tables.folder(name)} from a copy"
    )


def _crown(dataset: Dataset, action: str, model: str, reason: str) -> Intervention:
    if model not in serving.current(dataset).versions:
        raise UsageError(f"{model} has no version to serve yet: it catches up with the log; run: millrace learn {dataset.name}")
    return interventions.record(dataset.name, action, model, None, reason)


def _version(dataset: Dataset, what: int | str) -> checkpoints.Checkpoint:
    text = str(what).removeprefix("v")
    if text.isdigit():
        found = checkpoints.of_version(dataset.name, int(text))
    elif what in dataset.racing:
        newest = serving.current(dataset).versions.get(str(what))
        if newest is None:
            raise UsageError(f"{what} has no version to serve yet; run: millrace learn {dataset.name}")
        found = newest
    else:
        raise unknown("version or model", str(what), [*dataset.racing, "v12"])
    number = found.version or 0
    if why := serving.lost(dataset.name, number):
        raise UsageError(f"v{number} of {found.model} cannot be served: {why}")
    try:
        load(dataset, number, found.sha256)
    except MillraceError as error:
        why = f"v{number} of {found.model} cannot be loaded ({error}); make it again: {serving.again(dataset.name, found)}"
        raise UsageError(why) from error
    return found


def _effective(dataset: Dataset, order: Intervention, done: str) -> ControlReport:
    """Let the race obey an order, and MLflow follow."""
    report = ControlReport(dataset.name, order, done, score(dataset.name), publish(dataset.name))
    pinned = interventions.in_force(dataset.name).pin
    if order.action in interventions.PROMOTING and pinned and pinned.version is not None:
        report.notes.append(f"serving stays {pinned}; to lift it, run: millrace pin {dataset.name} --off --reason …")
    return report
