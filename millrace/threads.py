"""Why does a fit give the same bits on any number of cores?"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def single() -> Iterator[None]:
    """Let neither the number of cores nor the filters of warnings decide what scikit-learn answers.

    In parallel, forests sum their trees in any order, and matrices are cut by the number of threads. And OpenMP's
    threads wait by spinning: beside other work on two cores, a fit of 0.2 s has taken 47 s.

    Examples
    --------
    >>> import threadpoolctl
    >>> with single():
    ...     {library["num_threads"] for library in threadpoolctl.threadpool_info()}
    {1}
    """
    import joblib  # type: ignore[import-untyped]

    with warnings.catch_warnings(), joblib.parallel_config(backend="sequential"):
        warnings.simplefilter("ignore")  # a filter that makes them errors would fail a fit elsewhere done
        with _libraries().limit(limits=1):
            yield


@functools.cache
def _libraries() -> Any:
    """Find the libraries that use threads, once: it takes 6 ms."""
    import sklearn.ensemble  # noqa: F401  they are found where they are loaded
    import threadpoolctl  # type: ignore[import-untyped]

    return threadpoolctl.ThreadpoolController()
