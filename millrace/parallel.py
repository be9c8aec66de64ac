"""How do pieces of work that do not depend on each other run at once, a process each, and tell how far they are?

Processes are started anew, never forked: a copy of a process whose other threads hold locks stands still for ever.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from millrace.errors import InexactModelWarning, MillraceError

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Is told what comes forward, how far it is, and how far it goes."""

WORTH_PROCESSES = 20_000
"""To begin a process takes seconds: it is worth it from so many examples on."""

_queues: list[Any] = []
"""In a process that works for another: the queue into which it tells its progress."""


def each(
    work: Callable[..., T], references: Sequence[tuple[Any, ...]], examples: int, progress: Progress | None = None
) -> list[T]:
    """Call a function with each of these arguments, as many at once as there are processors if that is worth it.

    Parameters
    ----------
    work
        A function of a module; it is called with the arguments of one piece and, last, what to tell its progress to.
    references
        The arguments: names and numbers rather than frames and models.
    examples
        How many they learn in all; few are learned sooner here than by processes that have yet to begin.
    progress
        Is told by every piece, from this process.

    Returns
    -------
    list
        What the function returned, in the order of the arguments.

    Raises
    ------
    MillraceError
        When a process was killed, or could not begin.
    Exception
        What the function raised, first in the order of the arguments; the other pieces were done, or not begun.
    """
    tell = progress or silent
    count = min(len(references), len(os.sched_getaffinity(0))) if examples >= WORTH_PROCESSES else 1
    if count <= 1:
        return [work(*arguments, tell) for arguments in references]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    listener = threading.Thread(target=_listen, args=(queue, tell))
    listener.start()
    try:
        begun: dict[str, Any] = {"initializer": _begin, "initargs": (queue, warnings.filters)}
        with concurrent.futures.ProcessPoolExecutor(count, context, **begun) as pool:
            futures = [pool.submit(_call, work, arguments) for arguments in references]
            try:
                return [future.result() for future in futures]
            except BrokenProcessPool as error:
                raise MillraceError(
                    "a process that worked for this one has ended: it was killed (out of memory?), or this script calls millrace "
                    'outside of `if __name__ == "__main__":`, where each new process would call it again; put the call there'
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        queue.put(None)
        listener.join()
        queue.close()
        queue.join_thread()


def silent(what: str, place: int, end: int) -> None:
    """Tell nobody."""


def _listen(queue: Any, progress: Progress) -> None:
    while (said := queue.get()) is not None:
        progress(*said)


def _begin(queue: Any, filters: Sequence[Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _queues[:] = [queue]
    warnings.filters[:] = filters  # type: ignore[index]
    warnings.simplefilter("ignore", InexactModelWarning)  # a report or the status says it once


def _end_with_parent() -> None:
    """Let no process stay behind when the one that it works for was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    return work(*arguments, lambda *said: _queues[0].put(said))
