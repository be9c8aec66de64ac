"""Which question about the past is asked, by a form or a command: one of those that ``replay`` answers?

| asked with | answered by |
| --- | --- |
| nothing more | ``millrace.replay``: build models again |
| ``verify`` | ``millrace.proof``: is it all as recorded? |
| ``to`` | ``millrace.asof``: what did a model know then? |
| ``backfill``, or files | ``millrace.backfill``: what if Millrace had been there before? |
| ``what_if`` | ``millrace.what_if``: what if the features had been others? |
| ``policy`` | ``millrace.policy``: what if another rule, cadence or set of models had decided who is served? |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.errors import UsageError
from millrace.parallel import Progress

if TYPE_CHECKING:
    from millrace.asof import AsOfReport
    from millrace.backfill import BackfillReport
    from millrace.policy import PolicyReport
    from millrace.proof import VerifyReport
    from millrace.replay import ReplayReport
    from millrace.what_if import WhatIfReport


def ask(
    name: str,
    model: str | None = None,
    *,
    verify: bool = False,
    every: bool = False,
    to: datetime | int | str | None = None,
    backfill: bool = False,
    events: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    cadence: timedelta | None = None,
    what_if: bool = False,
    policy: Sequence[str] = (),
    progress: Progress | None = None,
) -> ReplayReport | VerifyReport | AsOfReport | BackfillReport | WhatIfReport | PolicyReport:
    """Answer one question about a dataset's past.

    Parameters
    ----------
    name, model
        The dataset, and the model where the question is about one.
    verify, every
        Fold and predict again, and compare with all that is on record; with the digest of every checkpoint.
    to
        Make the model as it was at this moment or ``seq`` a version in MLflow.
    backfill, events, labels, cadence
        Bring in these files as history, and race over it as if the models had been published so often; without files, go
        on with what was brought in.
    what_if
        Compute the features of all past events again, by today's definitions, beside the log.
    policy
        Tell what would have been served under another policy: ``minimum=500``, ``models=recent+linear``, ``cadence=1d``.
    progress
        Is told how far the work has come.

    Raises
    ------
    UsageError
        When two questions are asked at once, or an option belongs to another question.
    MillraceError
        As the functions that answer.
    """
    history = backfill or bool(events) or bool(labels)
    questions = {"--verify": verify, "--to": to is not None, "--backfill": history, "--what-if": what_if}
    questions["--policy"] = bool(policy)
    asked = [text for text, is_asked in questions.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are different questions: ask one at a time")
    if every and not verify:
        raise UsageError("--every says which digests are compared; write: --verify --every")
    if cadence is not None and not history:
        raise UsageError("--cadence is that of a backfill's predictions; write: --backfill --cadence 1h, or: --policy cadence=1h")
    if model is not None and (history or what_if or policy):
        raise UsageError(f"{asked[0]} is about all models: leave {model!r} out")
    if verify:
        from millrace import proof

        return proof.verify(name, model, every, progress)
    if to is not None:
        from millrace import asof

        if model is None:
            raise UsageError(f"--to {to} is about one model: name it, such as: millrace replay {name} prior --to {to}")
        return asof.publish_at(name, model, to, progress)
    if history:
        from millrace.backfill import backfill as bring_in

        return bring_in(name, events, labels, cadence, progress)
    if what_if:
        from millrace.what_if import recompute

        return recompute(name, progress)
    if policy:
        from millrace.policy import policy as would_have

        return would_have(name, policy, progress=progress)
    from millrace.replay import replay

    return replay(name, model, progress)
