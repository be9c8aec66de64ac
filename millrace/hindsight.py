"""What would a model have said of a stretch of history, had it been in service?

It is asked as it would have been: about the events between two publications by what was known at the first of them. Within
such a stretch the model that serves does not change, so all of it is asked, and then what became known is learned: no copy
of the model is needed. An answer counts from the first publication at or after the moment at which it was there, and after
its question; the moment is the data's clock, and publications are at multiples of the cadence since 1970 (UTC).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from millrace import asof, checkpoints, collector, examples, features, models, progressive, state, task
from millrace.clock import now
from millrace.dataset import Dataset
from millrace.errors import MillraceError
from millrace.fold import CHUNK
from millrace.learner import learn_until_error
from millrace.parallel import Progress
from millrace.tables import Table
from millrace.waiting import everything

if TYPE_CHECKING:
    from numpy.typing import NDArray


Stretch = tuple[int, int, pl.Series]
"""The first and last arrival of a stretch of history, and the arrivals of its events that came later than a label of theirs."""


class Hindsight:
    """A model that goes over a stretch of history, in a pass of its own: a learner on record is never asked.

    Parameters
    ----------
    dataset, model
        Its fold has gone over the stretch before: what it then skipped is skipped.
    stretch
        Of arrivals, as :func:`answered_before` gives it.
    cadence
        How often the model is published, in microseconds.

    Attributes
    ----------
    lineage
        The definition and the environment that it is of.
    """

    def __init__(self, dataset: Dataset, model: str, stretch: Stretch, cadence: int) -> None:
        table = Table(dataset.name, "checkpoints")
        self._dataset, self._model = dataset, model
        self._first, self._last, self._early = stretch
        fingerprint = models.fingerprint(dataset, model, table.identity)
        recorded = checkpoints.history(table, model, fingerprint, models.environment())
        self._skipped = {skip["seq"] for row in recorded for skip in row.skipped}
        self.lineage = recorded[-1].lineage
        self._seq, self._asked, self._seqs = self._schedule(cadence, recorded[-1].seq)
        self._estimator = state.load(asof.learner_at(dataset, model, self._seq).data)
        self._log = self._examples(Table(dataset.name, "examples"), self._seq, int(self._seqs[-1]) if self._seqs.size else 0)

    def _schedule(self, cadence: int, head: int) -> tuple[int, pl.Series, NDArray[np.int64]]:
        """Return what the model knows at the beginning; the arrivals of the events, and what it knows when each is asked."""
        inside = pl.col("arrival").is_between(self._first, self._last)
        log = Table(self._dataset.name, "examples")
        answers = log.read("seq", "event_time", "clock", where=inside)
        before = log.read("seq", where=pl.col("arrival") < self._first)["seq"]
        known = min(int(before[-1]) if before.len() else 0, head)
        came, asked = progressive.times(answers["clock"]), progressive.times(answers["event_time"])
        published = np.maximum.accumulate(np.maximum(-(-came // cadence), asked // cadence + 1))
        events = Table(self._dataset.name, "features").read("arrival", "event_time", where=inside)
        knows = np.searchsorted(published, progressive.times(events["event_time"]) // cadence, side="right")
        return known, events["arrival"], np.minimum(known + knows, head)

    def _examples(self, log: Table, after: int, upto: int) -> Iterator[examples.Example]:
        for seq in range(after, upto, CHUNK):
            yield from examples.as_examples(examples.read(log, seq, min(seq + CHUNK, upto)))

    def said(self, progress: Progress) -> Iterator[tuple[int, pl.DataFrame]]:
        """Give the predictions (rows of their table) in order of arrival, in parts, and up to which arrival each part goes."""
        count = self._asked.len()
        for start in range(0, max(count, 1), CHUNK):
            end = min(start + CHUNK, count)
            upto = self._last if end == count else int(self._asked[end - 1])
            with collector.spared():
                part = self._part(self._asked[start:end], self._seqs[start:end])
            yield upto, part
            progress(f"{self._model}, asked", end, count)

    def _part(self, arrivals: pl.Series, seqs: NDArray[np.int64]) -> pl.DataFrame:
        where = pl.col("arrival").is_between(arrivals[0], arrivals[-1]) if arrivals.len() else pl.lit(False)
        rows = Table(self._dataset.name, "features").read("arrival", "event_id", "event_time", "x", where=where)
        xs = features.rows(rows["x"].struct.unnest())
        predictions, errors = [], list[str | None]()
        edges = [0, *(np.flatnonzero(np.diff(seqs)) + 1).tolist(), len(xs)]
        for start, end in itertools.pairwise(edges):
            if start < end:
                self._learn(int(seqs[start]))
                found, wrong = task.predict(self._estimator, self._dataset.task, xs[start:end])
                predictions += found
                errors += wrong
        return rows.drop("x").with_columns(
            pl.lit(self._model).alias("model"), pl.lit(None, dtype=pl.Int64).alias("version"), pl.Series("seq", seqs),
            pl.lit(False).alias("served"), pl.lit("backfill").alias("origin"), pl.lit(now()).alias("at"),
            pl.col("arrival").is_in(self._early.implode()).alias("answered"),
            pl.Series("error", errors, dtype=pl.String), *task.to_columns(self._dataset, predictions).values(),
        )  # fmt: skip

    def _learn(self, upto: int) -> None:
        stretch = list(itertools.islice(self._log, max(0, upto - self._seq)))
        learning = [one for one in stretch if one[0] not in self._skipped]
        learned, error = learn_until_error(self._estimator, learning)
        if error:
            raise MillraceError(f"model {self._model!r} cannot learn seq {learning[learned][0]}, which it once learned: {error}")
        self._seq = max(self._seq, upto)


def answered_before(dataset: Dataset, stretches: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Add to each stretch the arrivals of the events whose answer was there before them: asked once, for all models."""
    if dataset.labels.policy == "arrival":
        log, is_early = Table(dataset.name, "examples"), pl.col("label_arrival") < pl.col("event_arrival")
        inside = [pl.col("event_arrival").is_between(first, last) for first, last in stretches]
        found = [log.read("event_arrival", where=here & is_early)["event_arrival"] for here in inside]
    elif stretches:  # not each of these labels is in the log, or is so far: ids are gone through
        with everything(dataset.name) as room:
            found = [room.answered(first - 1, last) for first, last in stretches]
    else:
        found = []
    return [(first, last, early) for (first, last), early in zip(stretches, found, strict=True)]
