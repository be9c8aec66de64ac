"""What need Python's garbage collector not look through again and again?

Each look is at all that is alive: with the libraries imported, a quarter of a second. A model is as many small objects
again, and examples more, so that a fold spends a tenth of its time on looking through what stays anyway.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spared() -> Iterator[None]:
    """Leave what is alive now out of every collection, until the end."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing, until the end: for what makes many objects that stay, and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
