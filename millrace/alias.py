"""Does MLflow's alias ``champion`` name the version that is served, and did a person move it?

The tables decide who is served, and the alias follows. Where it was moved by hand in MLflow it is set back, once for each time
that it was moved, and never in silence: what was meant is ordered by ``millrace promote`` or ``millrace pin``. Which version
it was set to last is kept beside the tables, in ``.champion``: written before and after the alias is set, so that a run that
was cut off between is not taken for a person.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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

    ``tags`` are what that version's tags say of how it came to be served; ``moved`` tells how a person last moved the alias,
    until the next version is served.
    """

    version: int | None = None
    next: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    moved: str | None = None


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


def serve(registry: Registry, name: str, number: int, tags: dict[str, str]) -> str | None:
    """Let the alias name a version, and tell in its tags why it is served.

    Where everything is as it was, MLflow is asked one question, and nothing is written.

    Parameters
    ----------
    registry, name
        The dataset's.
    number
        The version that is served.
    tags
        ``served``: why; ``paused``: why its models do not learn. An empty text where there is nothing to say.

    Returns
    -------
    str or None
        What to tell the person who moved the alias; None where nobody did.

    Raises
    ------
    RegistryError
        When MLflow does not answer or refuses.
    """
    from millrace.registry import CHAMPION

    known, there = mark(name), registry.version_of(CHAMPION)
    moved = None
    if None not in (known.version, there) and there not in (known.version, known.next, number):
        moved = (
            f"MLflow's alias {CHAMPION} was moved by hand from v{known.version} to v{there}, and was set back to v{number}: it "
            f"follows what is served. To change that, run: millrace pin {name} v{there} --reason … (or: millrace promote {name} "
            "MODEL --reason …)"
        )
    if there != number:
        _keep(name, Mark(known.version, number, known.tags, known.moved))
        registry.alias(CHAMPION, number)
    told = known.tags if known.version == number else {}
    for tag, text in tags.items():
        if told.get(tag, "") != text:
            registry.tag(number, tag, text)
    stands = Mark(number, None, tags, moved or (known.moved if known.version == number else None))
    if stands != known:
        _keep(name, stands)
    return moved
