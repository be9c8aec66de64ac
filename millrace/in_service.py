"""Is the version in service in MLflow, and do the aliases name what they are to name?

What somebody deleted in MLflow is served all the same, from its state beside the tables. It is published again: where it is not
its model's newest (a person has pinned it, say), a pin to it follows, as an order of its own on record. Where the state is gone,
too, that is told once, and stands in ``status``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millrace import alias, interventions, serving, versions
from millrace.checkpoints import Checkpoint
from millrace.dataset import Dataset
from millrace.errors import MillraceError, RegistryError
from millrace.promotions import Promotion
from millrace.serving import Serving

if TYPE_CHECKING:
    from millrace.publish import PublishReport
    from millrace.registry import Registry


def follow(
    dataset: Dataset,
    registry: Registry,
    report: PublishReport,
    before: Mapping[str, Checkpoint],
    newest: Mapping[str, Checkpoint],
    gone: set[int | None],
    crowned: Promotion | None,
) -> None:
    """Point the aliases at what the tables say: those of new versions, and ``champion`` at what is served, until it agrees.

    A version that is served since its model was promoted, and was published before, is told so in its tags and description.

    Parameters
    ----------
    report
        Has the versions that were just published, and is told what was found.
    before, newest
        The newest version of each model before that, and now.
    gone
        Those of the newest that are not in MLflow, and could not be published again.
    crowned
        The last promotion.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    """
    name, fresh = dataset.name, set(report.versions.values())
    _tell(report, *alias.follow(registry, name, report.versions, {model: last.version for model, last in before.items()}))
    now, again = _there(dataset, registry, newest, gone, crowned, report)
    number = now.version.version if now and now.version else None
    if now is None or number is None:
        return
    orders, known = interventions.in_force(name), alias.mark(name)
    why = now.problem or (str(orders.pin) if orders.pin else crowned.reason if crowned else "")
    reigning = crowned if crowned and crowned.model == now.model else None
    says = versions.crown(reigning)
    published = number in fresh or number == again
    if reigning and not published and (known.version, known.tags.get("promoted")) != (number, says["promoted"]):
        registry.rewrite(number, lambda said: versions.crowned(said, reigning))
    tags = {"served": why, "paused": str(orders.pause or ""), **says}
    if moved := alias.serve(registry, name, number, tags, says if published else {}):
        _tell(report, moved)


def _tell(report: PublishReport, *moved: alias.Moved) -> None:
    """Tell of moved aliases: it is a problem where a person has moved one, and a note where that is not sure."""
    for one in moved:
        (report.problems if one.by_hand else report.notes).append(one.said)


def _there(
    dataset: Dataset,
    registry: Registry,
    newest: Mapping[str, Checkpoint],
    gone: set[int | None],
    crowned: Promotion | None,
    report: PublishReport,
) -> tuple[Serving | None, int | None]:
    """Return what is served, if MLflow has it; where it was deleted it is published again: then that version, too.

    Of the newest versions it is known which are there: only another one is looked for.
    """
    now, name = serving.current(dataset), dataset.name
    version = now.version
    if version is None or version.version is None or version.version in gone:
        return None, None
    if version.version in {one.version for one in newest.values()} or registry.has(version.version):
        return now, None
    pin, last = interventions.in_force(name).pin, newest.get(version.model)
    pinned = pin is not None and pin.version == version.version
    lost = f"v{version.version} of {version.model}, which is {'pinned' if pinned else 'served'}, was deleted in MLflow"
    try:
        if last and last.sha256 == version.sha256:  # it was the newest of its model, and was published again as that
            again = last
        else:
            again = versions.again(dataset, registry, version, crowned, past=pinned)
    except RegistryError:
        raise
    except MillraceError as error:
        remedy = f"run: {serving.again(name, version)}"
        if pinned:
            remedy += f", and pin what it makes (millrace pin {name} vN --reason …); or: millrace pin {name} --off --reason …"
        why = str(error).partition(";")[0]
        report.problems += alias.lost(name, version.version, f"{lost}, and cannot be published again: {why}; {remedy}")
        return None, None
    report.notes.append(f"{lost}: it is published again as v{again.version}{', which is pinned now' if pinned else ''}")
    if pinned:
        interventions.pin_instead(name, version.version, again.version, f"v{version.version} was deleted in MLflow")
    return serving.current(dataset), again.version
