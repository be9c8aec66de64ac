"""What can be chosen in a form?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from millrace import catalog
from millrace.errors import MillraceError

ALL = "all that are due"


def _names() -> tuple[str, ...]:
    try:
        return tuple(catalog.names())
    except MillraceError:  # flows can be imported where no dataset is
        return ()


if TYPE_CHECKING:
    DatasetName = str
    DatasetNameOrAll = str
else:
    DatasetName = Literal[_names()] if _names() else str
    DatasetNameOrAll = Literal[(ALL, *_names())]
