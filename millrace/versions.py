"""How does a state become a version in MLflow, and what does the version say?"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millrace import checkpoints, models
from millrace.checkpoints import Checkpoint
from millrace.clock import write_moment
from millrace.dataset import Dataset
from millrace.promotions import Promotion
from millrace.tables import Table

if TYPE_CHECKING:
    from millrace.registry import Registry

_STATE = " State `"


def as_version(
    dataset: Dataset,
    registry: Registry,
    stands: Checkpoint,
    run_id: str,
    log: Table,
    standing: dict[str, Any] | None,
    doubts: list[str] | None,
    crowned: Promotion | None = None,
) -> Checkpoint:
    """Make a model's state a version; return it as published, not yet recorded.

    Parameters
    ----------
    dataset, registry
        Of the model.
    stands, run_id
        The state, and the run that publishes it.
    log
        The table of examples that it has learned from.
    standing, doubts
        How it does in the race, and what in it is not exact, where there is any.
    crowned
        The last promotion: where it is this model's, its reason and evidence are told.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    MillraceError
        When the state is gone or was changed.
    """
    reigning = crowned if crowned and crowned.model == stands.model else None
    version = registry.publish(
        stands.model,
        checkpoints.read_state(dataset.name, stands.sha256, stands.model),
        seq=stands.seq,
        fingerprint=stands.fingerprint,
        sha256=stands.sha256,
        digest=stands.digest,
        run_id=run_id,
        description=_description(dataset, stands, log, standing, reigning),
        tags={
            "environment": stands.environment,
            "clock": write_moment(stands.clock) or "",
            "skipped": str(stands.skips),
            "examples": f"version {log.version} of {log.path}",
            **({"loss": f"{standing['loss']:.4f}"} if standing and standing["labelled"] else {}),
            **({"inexact": "; ".join(doubts)} if doubts else {}),
            **crown(reigning),
        },
    )
    return replace(stands, version=version.number, run_id=version.run_id)


def again(dataset: Dataset, registry: Registry, version: Checkpoint, crowned: Promotion | None, past: bool) -> Checkpoint:
    """Publish a version again from its state, and record it.

    Parameters
    ----------
    past
        Whether only a person's pin may have it served; else it takes the place of the version.

    Raises
    ------
    RegistryError, MillraceError
        As :func:`as_version`.
    """
    log, table = Table(dataset.name, "examples"), Table(dataset.name, "checkpoints")
    last, doubts = checkpoints.published(table, [version.model]).get(version.model), models.doubts(dataset.name)
    run_id = registry.run(version.model, last.run_id if last else None, log)
    made = as_version(dataset, registry, version, run_id, log, None, doubts.get(version.model), crowned)
    checkpoints.record(table, made, past)
    return made


def crown(reigning: Promotion | None) -> dict[str, str]:
    """Return the tags that say by which promotion a version's model is champion."""
    return {"promoted": str(reigning.number), "evidence": reigning.evidence} if reigning else {}


def _description(
    dataset: Dataset, stands: Checkpoint, log: Table, standing: dict[str, Any] | None, reigning: Promotion | None
) -> str:
    """Describe a version when it is published: what it learned, how it does, and since when it is champion."""
    learned = f"`{stands.model}` after {stands.seq - stands.skips:,} examples of **{dataset.name}** (seq {stands.seq:,}"
    until = f", data until {write_moment(stands.clock)})" if stands.clock else ")"
    scored = (
        f", {dataset.race_loss.name} loss {standing['loss']:.4f} over {standing['labelled']:,} labels"
        if standing and standing["labelled"]
        else ""
    )
    source = f". Learned from version {log.version} of the table `examples`"
    said = f"{learned}{until}{scored}{source}.{_STATE}{stands.digest[:16]}`."
    return crowned(said, reigning) if reigning else said


def crowned(said: str, reigning: Promotion) -> str:
    """Say in a version's description since when its model is champion, and why; in place of what it says of that.

    Examples
    --------
    >>> one = Promotion(1, 1200, "recent", "prior", "by hand: try it", "{}", None)
    >>> crowned("`recent` after 1,000 examples. State `ab12`.", one)
    '`recent` after 1,000 examples. Champion since seq 1,200, before it prior: by hand: try it. State `ab12`.'
    """
    head, state, tail = said.rpartition(_STATE)
    if not state:  # a person wrote it anew
        head, tail = said, ""
    head = re.sub(r" Champion since seq [\d,]+, before it .*", "", head, flags=re.DOTALL)
    crown = f" Champion since seq {reigning.seq:,}, before it {reigning.before}: {reigning.reason}."
    return head + crown + state + tail
