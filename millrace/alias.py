"""Do MLflow's aliases name what they are to name, and did a person move one?

The tables decide who is served, and the alias ``champion`` follows. Where it was moved by hand in MLflow it is set back, once for
each time that it was moved, and never in silence: what was meant is ordered by ``millrace promote`` or ``millrace pin``. The
alias of a model names its newest version, and is set when the model is published; where it was moved by hand until then, that is
told in the same way. Which versions they were set to last is kept beside the tables, in ``.champion``: of the champion's alias
written before and after it is set, so that a run that was cut off between is not taken for a person. An alias that was there
before Millrace had set one, or while that file was lost, is set and told as a note: nobody knows whose it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from millrace import durable, tables
from millrace.errors import writing

if TYPE_CHECKING:
    from millrace.registry import Registry


@dataclass
class Mark:
    """What is known of the alias: to which ``version`` it was set, and ``next`` while it is being set.

    ``tags`` are what that version's tags say of how it came to be served; ``moved`` tells how a person last moved the alias, or
    that the version was lost, until the next version is served. ``models`` are the versions to which models' aliases were set.
    """

    version: int | None = None
    next: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    moved: str | None = None
    models: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Moved:
    """What to tell of an alias that was elsewhere than it was set to; ``by_hand``: it is sure that a person moved it."""

    said: str
    by_hand: bool


def mark(name: str) -> Mark:
    """Return what is known of the alias; of one that was never set, or whose file is torn, nothing."""
    try:
        return Mark(**orjson.loads(_path(name).read_bytes()))
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return Mark()


def _path(name: str) -> Path:
    return tables.folder(name) / ".champion"


def _keep(name: str, known: Mark) -> None:
    path = _path(name)
    with writing(path):
        aside = path.with_suffix(".tmp")
        aside.write_bytes(orjson.dumps(asdict(known)))
        aside.replace(path)
        durable.to_disk(path.parent)


def follow(registry: Registry, name: str, versions: Mapping[str, int], last: Mapping[str, int | None]) -> list[Moved]:
    """Let the aliases of models name the versions that were just published.

    Parameters
    ----------
    registry, name
        The dataset's.
    versions
        The new version of each model.
    last
        The version before it, if there was one. The alias may be at an older one, too, where a run was cut off before it was set.

    Returns
    -------
    list of Moved
        What to tell the person who moved one.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    """
    known, moved = mark(name), list[Moved]()
    for model, number in versions.items():
        there = registry.version_of(model)
        before = last.get(model) or known.models.get(model)
        if there not in (None, number, before, known.models.get(model)):
            found = "was moved by hand to" if before else "was there before Millrace had set it, at"
            said = (
                f"MLflow's alias {model} {found} v{there}, and was set to v{number}: it names the model's newest version. To "
                f"have the other one served, run: millrace pin {name} v{there} --reason …"
            )
            moved.append(Moved(said, by_hand=before is not None))
        if there != number:
            registry.alias(model, number)
    if versions:
        _keep(name, replace(known, models={**known.models, **versions}))
    return moved


def lost(name: str, number: int, said: str) -> list[str]:
    """Tell once that the version in service is no longer in MLflow, so that no alias names it; ``status`` goes on telling it."""
    known = mark(name)
    if (known.version, known.moved) == (number, said):
        return []
    _keep(name, Mark(number, None, {}, said, known.models))
    return [said]


def serve(registry: Registry, name: str, number: int, tags: dict[str, str], already: Mapping[str, str]) -> Moved | None:
    """Let the alias name a version, and tell in its tags why it is served.

    Where everything is as it was, MLflow is asked one question, and nothing is written.

    Parameters
    ----------
    registry, name
        The dataset's.
    number
        The version that is served.
    tags
        ``served``: why; ``paused``: why its models do not learn; of a champion, which promotion (``promoted``) and its
        ``evidence``. An empty text where there is nothing to say.
    already
        Tags that the version was published with.

    Returns
    -------
    Moved or None
        What to tell the person who moved the alias; None where nobody did.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    """
    from millrace.registry import CHAMPION

    known, there = mark(name), registry.version_of(CHAMPION)
    moved = None
    if there is not None and there not in (known.version, known.next, number):
        if known.version is None:
            found = f"was at v{there}, where it is not on record that Millrace set it, and was set to v{number}"
        else:
            found = f"was moved by hand from v{known.version} to v{there}, and was set back to v{number}"
        moved = Moved(
            f"MLflow's alias {CHAMPION} {found}: it follows what is served. To change that, run: millrace pin {name} v{there} "
            f"--reason … (or: millrace promote {name} MODEL --reason …)",
            known.version is not None,
        )
    if there != number:
        _keep(name, replace(known, next=number))
        registry.alias(CHAMPION, number)
    told = known.tags if known.version == number else already
    for tag, text in tags.items():
        if told.get(tag, "") != text:
            registry.tag(number, tag, text)
    before = known.moved if known.version == number else None
    stands = Mark(number, None, tags, moved.said if moved and moved.by_hand else before, known.models)
    if stands != known:
        _keep(name, stands)
    return moved
