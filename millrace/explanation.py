"""What is known of one event, and how does a person read it?

Plain fields, so that it is JSON as it stands; as text it tells what happened in the order in which it did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from millrace.clock import write_moment
from millrace.contributions import Contributions, listed
from millrace.remade import Remade


@dataclass(frozen=True)
class Came:
    """Where a row came from: the file (its number, name and sha256, when it was received) and the line in it."""

    file: int
    name: str
    line: int
    sha256: str | None
    received: datetime | None

    def __str__(self) -> str:
        received = f", received {write_moment(self.received)}" if self.received else ""
        return f"{self.name} (file {self.file}), line {self.line:,}{received}"


@dataclass(frozen=True)
class LabelRow:
    """A label of the event, as it arrived.

    ``delay`` is the seconds from the event to the label's time; ``correction`` tells that it says otherwise than one before
    it; ``became`` tells what was made of it.
    """

    arrival: int
    label: Any
    label_time: datetime
    label_source: str
    delay: float
    correction: bool
    became: str
    came: Came

    def __str__(self) -> str:
        after = f"{timedelta(seconds=abs(self.delay))} {'after' if self.delay >= 0 else 'before'} the event"
        said = f"label {self.label!r} ({self.label_source}) at {write_moment(self.label_time)}, {after}"
        said += ", a correction" if self.correction else ""
        return f"{said}: {self.became}\n  arrival {self.arrival:,}, from {self.came}"


@dataclass(frozen=True)
class RejectedRow:
    """A row with this id that is in quarantine, as it came, with the reasons; ``stage`` put it there."""

    arrival: int
    kind: str
    stage: str
    reasons: list[str]
    raw: str
    came: Came

    def __str__(self) -> str:
        return f"quarantined from {self.kind} by {self.stage}: {'; '.join(self.reasons)}\n  {self.raw}\n  from {self.came}"


@dataclass
class PredictionRow:
    """What a model's version said of the event, and what it says again.

    ``served`` marks the champion's, ``answered`` one whose answer had arrived before the event (it counts for nothing),
    ``origin`` is live, pinned or backfill; ``loss`` is None while there is no label in the log, or only a provisional one.
    """

    model: str
    version: int | None
    seq: int
    served: bool
    answered: bool
    origin: str
    at: datetime
    prediction: Any
    classes: list[Any] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    error: str | None = None
    loss: float | None = None
    remade: list[Remade] = field(default_factory=list)
    contributions: Contributions | None = None
    note: str | None = None

    def __str__(self) -> str:
        by = f"{self.model} v{self.version}" if self.version is not None else self.model
        marks = [self.origin, *(["served"] if self.served else []), *(["answered before"] if self.answered else [])]
        answer = ", ".join(f"{label} {share:.6g}" for label, share in zip(self.classes, self.probabilities, strict=False))
        answer = answer or ("no answer" if self.prediction is None else f"{self.prediction:.6g}")
        said = f"prediction of {by} at seq {self.seq:,} ({', '.join(marks)}), made {write_moment(self.at)}: {answer}"
        said += f"; {self.error}" if self.error else ""
        said += f"; loss {self.loss:.4f}" if self.loss is not None else ""
        lines = [*map(str, self.remade), *(str(self.contributions).splitlines() if self.contributions else [])]
        return "\n  ".join([said, *lines, *([self.note] if self.note else [])])


@dataclass(frozen=True)
class MemoryRow:
    """What memory said of the event: a feature's ``name``, its ``value`` as it was logged, its ``definition`` in words, and the
    same made again from the events before it."""

    name: str
    value: Any
    definition: str
    remade: Remade

    def __str__(self) -> str:
        value = "null" if self.value is None else f"{self.value:.6g}" if isinstance(self.value, float) else repr(self.value)
        return f"{self.name} {value}: {self.definition}; {self.remade}"


@dataclass(frozen=True)
class Learned:
    """What a model made of the event's example.

    ``checkpoint`` is the seq of its first checkpoint that knows the example, ``version`` the first that does, at
    ``version_seq``; None where there is none yet. ``skipped`` is the error for which the model skipped it. ``stands`` is where
    the model stands.
    """

    model: str
    stands: int
    checkpoint: int | None = None
    version: int | None = None
    version_seq: int | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        if self.checkpoint is None:
            return f"{self.model} has not come to it: it stands at seq {self.stands:,}"
        known = f"{self.model} {'skipped' if self.skipped else 'learned'} it by its checkpoint at seq {self.checkpoint:,}"
        version = f"first version after it: v{self.version} at seq {self.version_seq:,}" if self.version else "no version yet"
        return f"{known}; {version}" + (f"; {self.skipped}" if self.skipped else "")


@dataclass(frozen=True)
class ExampleRow:
    """An example of the event: its ``seq`` and ``arrival`` in the log, its label and weight, and what each model made of it.

    ``label_source`` is ``default`` where no label had come.
    """

    seq: int
    arrival: int
    label: Any
    label_source: str
    weight: float
    learned: list[Learned]

    def __str__(self) -> str:
        said = f"example at seq {self.seq:,} of the log"
        said += f", of weight {self.weight:.6g}" if self.weight != 1.0 else ""
        said += f": the default, {self.label!r}, at arrival {self.arrival:,}" if self.label_source == "default" else ""
        return "\n  ".join([said, *map(str, self.learned)])


@dataclass
class Explanation:
    """Everything about one event.

    Attributes
    ----------
    raw, features
        Its raw columns as they are stored, and its features as the models saw them (None before they are computed).
    memory
        Those of the features that depend on earlier events.
    labels, quarantined
        In order of arrival.
    examples
        Its examples in the log: none, one, or two where the default was learned provisionally and a contrary answer came.
    others
        The arrivals of other events with this id: ids are unique only within the dataset's horizon.
    notes
        What there is not, and why.
    problems
        What is not as it was recorded.
    """

    dataset: str
    event_id: str
    event_time: datetime
    arrival: int
    came: Came
    raw: dict[str, Any]
    features: dict[str, Any] | None = None
    memory: list[MemoryRow] = field(default_factory=list)
    predictions: list[PredictionRow] = field(default_factory=list)
    labels: list[LabelRow] = field(default_factory=list)
    quarantined: list[RejectedRow] = field(default_factory=list)
    examples: list[ExampleRow] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [
            f"event {self.event_id!r}, asked {write_moment(self.event_time)}, arrival {self.arrival:,}",
            f"  from {self.came}, sha256 {self.came.sha256}",
            f"  raw columns: {', '.join(f'{name} {value}' for name, value in self.raw.items())}",
        ]
        if self.features is not None:
            said.append(f"  features: {listed(self.features)}")
        said += [f"  memory: {one}" for one in self.memory]
        said += [*map(str, self.predictions), *map(str, self.labels), *map(str, self.quarantined)]
        return "\n".join([*said, *map(str, self.examples), *self.notes])
