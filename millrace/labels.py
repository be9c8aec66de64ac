"""How do a dataset's labels arrive, and when are they learned?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from millrace.clock import declared_duration
from millrace.errors import DatasetError, unknown

POLICIES = ("arrival", "window", "provisional")
"""When answers are learned (:class:`Labels`)."""
LABELS = "labels"
"""The name under which the rule of ``labels=`` is on record among the models' definitions."""


@dataclass(frozen=True)
class Labels:
    """How labels arrive.

    Parameters
    ----------
    window
        How long an event waits for its label, on the clock of the data: a timedelta, or a text such as ``7d``. A label that
        arrives later is kept as a correction and not learned. None waits as long as the event's id is known (the dataset's
        ``id_horizon``).
    default
        The label of an event whose window closes without one. None: such an event has none, and is not learned.
    learn
        When answers are learned. ``arrival``: when they arrive, and the default when the window closes; right where the delay
        says nothing about the value. ``window``: all when the event's window closes, so that both classes mature together.
        ``provisional`` (binary): the default at once, and a contrary answer later as a further example; models correct for it
        (Ktena et al., *Addressing delayed feedback for continuous training with neural networks in CTR prediction*, 2019).
        Without a default, ``arrival``; with one, it must be said.
    id, label, time, source
        What the files call the event's id, the value, the time at which it became known, and where it came from
        (``natural`` where the column is absent, or ``human``).
    """

    window: timedelta | Any = None
    default: Any = None
    learn: str | None = None
    id: str = "event_id"
    label: str = "label"
    time: str = "label_time"
    source: str = "label_source"

    def __post_init__(self) -> None:
        if self.window is not None:
            object.__setattr__(self, "window", declared_duration(f"labels: window={self.window!r}", self.window))
        if self.window is not None and self.window <= timedelta(0):
            raise DatasetError(f"labels: window={self.window!r} must be longer than nothing")
        if self.learn is not None and self.learn not in POLICIES:
            raise DatasetError(f"labels: learn: {unknown('policy', self.learn, POLICIES)}")
        if self.window is None and self.learn in ("window", "provisional"):
            raise DatasetError(f"labels: learn={self.learn!r} needs window=, such as window='7d'")
        if self.window is None and self.default is not None:
            raise DatasetError(
                f"labels: default={self.default!r} needs window=, such as window='7d', after which an event gets it"
            )
        if self.learn == "provisional" and self.default is None:
            raise DatasetError("labels: learn='provisional' needs default=, which is learned at once, such as default=False")

    @property
    def policy(self) -> str:
        """When answers are learned, by name."""
        return self.learn or "arrival"
