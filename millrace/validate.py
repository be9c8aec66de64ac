"""How good would a model have been: any model, over any stretch of the log, under any delay and cadence?

Progressive validation, ad hoc: each event of the stretch is asked about in order, each answer learned when it would have
come, and what was said before is scored. No table changes; what comes of it is a report, drawn, and a run in MLflow.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from millrace import asof, catalog, exact, ideas, parallel, progressive
from millrace.clock import aware, parse_duration, write_duration, write_moment
from millrace.dataset import PRIOR, Dataset
from millrace.errors import UsageError
from millrace.ideas import Model
from millrace.learner import SUSPEND_AFTER
from millrace.parallel import Progress
from millrace.validation import kept, questions, scores
from millrace.validation.judge import Judged, judge
from millrace.validation.kept import ValidateReport as ValidateReport
from millrace.validation.questions import Position, Questions, Stretch
from millrace.validation.scores import Score

EACH = "label"
"""The cadence at which the model is published after each label."""


def validate(
    name: str,
    *chosen: Model,
    first: datetime | None = None,
    last: datetime | None = None,
    delay: str = "arrival",
    cadences: Sequence[str | timedelta] = (),
    start: str = "cold",
    stretches: int = 1,
    unscored: timedelta = timedelta(0),
    by: str | None = None,
    against: str = PRIOR,
    what_if: bool = False,
    keep: bool = True,
    progress: Progress | None = None,
) -> ValidateReport:
    """Judge models over a stretch of the log by delayed progressive validation.

    With each label as cadence it is River's ``progressive_val_score`` with ``moment`` and ``delay``, to the last bit. A model
    that asking changes is changed here as it is there.

    Parameters
    ----------
    name
        The dataset.
    chosen
        Its models by name, functions of files (``ideas.py:deeper_tree``), or functions; all of the race by default. The
        model to compare with is always among them.
    first, last
        The stretch: events from this moment to (and without) that one, by ``event_time`` (UTC); all by default.
    delay
        When answers come: ``arrival`` (as they were delivered), ``labels`` (at their ``label_time``), ``none`` (at once), or so
        long after the question: ``2h``.
    cadences
        How often the served model is refreshed: ``1h``, ``1d``, ``label`` for each; the dataset's own by default. Several
        give the cadence curve.
    start
        What models know at the beginning: nothing (``cold``), what they knew at that moment (``warm``), or what a version
        knew (``v12``), which no event of the stretch may precede.
    stretches
        So many stretches of equal length, each judged by itself (rolling origins), and all of them together.
    unscored
        So much time at the beginning of each stretch is learned and does not count.
    by
        A feature or raw column whose values are the segments.
    against
        The model to which the others are compared, on the same events.
    what_if
        Take the features of the what-if log rather than those that were logged.
    keep
        Draw it, and log it as a run in MLflow.
    progress
        Is told how many answers each model has come to.

    Raises
    ------
    UsageError
        When there is no such dataset, model, idea or column, or a delay, cadence or start does not parse.
    MillraceError
        When there is no labelled event in the stretch, or a model cannot be built or stored.
    """
    dataset = catalog.load(name)
    at = questions.position(dataset, what_if)
    questions.check_delay(delay)
    if what_if and start != "cold":
        raise UsageError(f"with what-if features models begin cold, not {start}: what they learned before was logged otherwise")
    steps = dict(_cadence(one) for one in cadences or (dataset.cadence,))
    lineup = ideas.lineup(dataset, chosen, against)
    against = ideas.name(against)
    _read.cache_clear()  # the log, the dataset's file or the what-if features may be others than when it was asked last
    labelled = _cut(dataset, at, first, last, stretches, unscored)
    known = {stretch: asof.known(dataset, start, stretch.start) for stretch in labelled}
    pieces = [
        _Piece(name, at, stretch, delay, by, what_if, model, cadence, known[stretch])
        for stretch in labelled
        for cadence in steps.items()
        for model in lineup
    ]
    labels = sum(labelled[piece.stretch] for piece in pieces)
    # What was handed over as a function is known to this process alone.
    judged = parallel.each(_judged, [(piece,) for piece in pieces], 0 if any(map(callable, lineup)) else labels, progress)
    report = ValidateReport(name, delay, start, dataset.race_loss.name, at.arrival, at.seq, against, by)
    read = {piece.stretch: piece.questions for piece in pieces}
    report.scores = _scores([(piece, read[piece.stretch], one) for piece, one in zip(pieces, judged, strict=True)], against)
    report.notes = [*_notes(dataset, lineup, what_if), *_said(pieces, judged)]
    report.lines = _hand_on(dataset, report.scores, lineup)
    if keep:
        asked: dict[str, object] = {"models": [ideas.name(model) for model in lineup], "first": first, "last": last}
        asked |= {"delay": delay, "cadences": list(steps), "start": start, "stretches": stretches, "unscored": unscored, "by": by}
        texts = {ideas.name(model): hashlib.sha256(ideas.text(model).encode()).hexdigest()[:12] for model in lineup}
        kept.keep(dataset, report, {**asked, "against": against, "what_if": what_if, "texts": texts})
    return report


@dataclass(frozen=True)
class _Piece:
    """One model at one cadence over one stretch; ``known`` examples of the log it knew before."""

    dataset: str
    at: Position
    stretch: Stretch
    delay: str
    by: str | None
    what_if: bool
    model: Model
    cadence: tuple[str, timedelta | None]
    known: int | None

    @property
    def name(self) -> str:
        """The name of the model."""
        return ideas.name(self.model)

    @property
    def questions(self) -> Questions:
        """What it is asked."""
        return _read(self.dataset, self.at, self.stretch, self.delay, self.by, self.known, self.what_if)


_read = functools.lru_cache(maxsize=1)(questions.read)


def _cadence(given: str | timedelta) -> tuple[str, timedelta | None]:
    """Return a cadence as people write it, and as a length of time."""
    if isinstance(given, timedelta):
        return write_duration(given), given
    try:
        return given, None if given == EACH else parse_duration(given)
    except UsageError as error:
        raise UsageError(f"cadence: {error}; or {EACH!r} for a new state after each label") from None


def _cut(
    dataset: Dataset, at: Position, first: datetime | None, last: datetime | None, count: int, unscored: timedelta
) -> dict[Stretch, int]:
    """Cut the time that is looked at into stretches of equal length; tell how many labelled events count in each, never none."""
    if count < 1:
        raise UsageError(f"stretches={count}: there must be one at least")
    beginning, end = questions.span(dataset, at)
    start, stop = aware(first) if first else beginning, aware(last) if last else end
    if start >= stop:
        raise UsageError(f"the stretch from {write_moment(start)} to {write_moment(stop)} has no length")
    length, found = (stop - start) // count, dict[Stretch, int]()
    for i in range(count):
        begins = start + i * length
        stretch = Stretch(begins, stop if i == count - 1 else begins + length, begins + unscored)
        found[stretch] = questions.labelled(dataset, at, stretch)
        if not found[stretch]:
            raise questions.nothing(dataset, at, stretch)
    return found


def _judged(piece: _Piece, progress: Progress) -> Judged:
    dataset = catalog.load(piece.dataset)
    what = f"{piece.name} {piece.cadence[0]}"
    asked = piece.questions
    total = int(np.count_nonzero(asked.answered != progressive.NEVER))
    progress(what, 0, total)
    data = asof.learner_at(dataset, piece.model, piece.known or 0).data
    return judge(dataset, asked, data, piece.cadence[1], lambda done: progress(what, done, total))


_Found = tuple[_Piece, Questions, Judged]
"""A piece, what it was asked, and what came of it."""


def _scores(all_found: Sequence[_Found], against: str) -> list[Score]:
    """Score each piece beside the reference at the same cadence; of several stretches first all together."""
    found: dict[tuple[str, str], list[_Found]] = {}
    for one in all_found:
        found.setdefault((one[0].name, one[0].cadence[0]), []).append(one)
    together, apart = [], []
    for (model, every), ours in found.items():
        theirs = found[against, every] if model != against else None
        if len(ours) > 1:
            together.append(_score(ours, theirs, against))
        apart += [_score([one], theirs and [theirs[i]], against) for i, one in enumerate(ours)]
    return together + sorted(apart, key=lambda score: score.start)


def _score(ours: Sequence[_Found], theirs: Sequence[_Found] | None, against: str) -> Score:
    pieces, questions_of, judged = zip(*ours, strict=True)
    losses = np.concatenate([one.losses for one in judged])
    known = losses[~np.isnan(losses)]
    asked, counts = (np.concatenate([getattr(one, name) for one in questions_of]) for name in ("asked", "counts"))
    of = [one.segments for one in questions_of if one.segments is not None]
    start, end = pieces[0].stretch.scored, pieces[-1].stretch.end
    return Score(
        model=pieces[0].name,
        cadence=pieces[0].cadence[0],
        start=start,
        end=end,
        events=int(np.count_nonzero(counts)),
        labelled=known.size,
        empty=sum(one.empty for one in judged),
        skipped=sum(len(one.skipped) for one in judged),
        loss=float(known.mean()) if known.size else None,
        metrics=judged[0].metrics if len(ours) == 1 else {},
        windows=scores.course(losses, asked, start, end),
        segments=scores.segments(losses, np.concatenate(of)) if of else (),
        gain=scores.gain(losses, np.concatenate([one.losses for *_, one in theirs]), against) if theirs else None,
        refreshes=sum(one.refreshes for one in judged),
        seconds=sum(one.seconds for one in judged),
    )


def _notes(dataset: Dataset, lineup: Sequence[Model], what_if: bool) -> Iterator[str]:
    """Say what to know of the models and features before their numbers are believed."""
    if what_if:
        yield "features are those of the what-if log, computed again today: what was logged when the events came may differ"
    for model in lineup:
        if ideas.name(model) != PRIOR and (doubts := exact.doubts(ideas.build(dataset, model))):
            yield f"{ideas.name(model)} is not exact, so another process may give other numbers: {'; '.join(doubts)}"


def _said(pieces: Sequence[_Piece], judged: Sequence[Judged]) -> Iterator[str]:
    """Say which models failed on what."""
    for piece, one in zip(pieces, judged, strict=True):
        who = f"{piece.name} at {piece.cadence[0]}"
        if one.skipped:
            moment, error = one.skipped[0]
            yield f"{who} could not learn {len(one.skipped):,} examples (the first, asked at {write_moment(moment)}: {error})"
        if one.suspended:
            yield f"{who} failed on {SUSPEND_AFTER} examples in a row, and learned no more"
        if one.failure:
            yield f"{who} could not answer (first: {one.failure}); what it did not answer costs the most"


def _hand_on(dataset: Dataset, found: Sequence[Score], lineup: Sequence[Model]) -> str | None:
    """Return the lines that add an idea to the dataset's file, where it did better than all else."""
    best = min((score for score in found if score.loss is not None), key=lambda score: score.loss or 0.0, default=None)
    idea = next((model for model in lineup if best and ideas.name(model) == best.model and model not in dataset.racing), None)
    return None if idea is None else ideas.lines(idea)
