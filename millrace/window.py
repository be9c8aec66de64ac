"""Which examples does a batch model see, and as what frame?

A window of the log, kept by column, so that 20,000 examples are written in a millisecond.
"""

from __future__ import annotations

import functools
import math
import zlib
from array import array
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from millrace.clock import MICROSECOND
from millrace.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

MISSING = -1  # the place of no string

Row = dict[Any, Any]
Known = dict[Any, tuple[str, ...] | None]  # the columns of a frame; of those of strings, the sorted categories


class Column:
    """One feature over the window: numbers as they are, strings as places in a list of the distinct ones.

    A column that meets a string turns into strings, and stays so.

    Parameters
    ----------
    length
        How many examples there were before the feature was first seen: it is missing from them.
    """

    def __init__(self, length: int) -> None:
        self.values: array[Any] = array("d", [math.nan]) * length
        self.strings: dict[str, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Write small: most columns repeat few values."""
        return self.__dict__ | {"values": _pack(self.values)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, values=_unpack(*state["values"]))

    def append(self, value: float | str | None) -> None:
        """Add the next example's value; None is missing."""
        if isinstance(value, str) and self.strings is None:
            numbers, self.values, self.strings = self.values, array("i"), {}
            for number in numbers:
                self.append(None if math.isnan(number) else number)
        if self.strings is None:
            self.values.append(math.nan if value is None else value)
        elif value is None:
            self.values.append(MISSING)
        else:
            self.values.append(self.strings.setdefault(str(value), len(self.strings)))

    def drop(self, count: int) -> None:
        """Forget the oldest examples, and the strings that only they had."""
        del self.values[:count]
        if self.strings is not None:
            names = list(self.strings)
            places = {old: new for new, old in enumerate(sorted(set(self.values) - {MISSING}))}
            self.strings = {names[old]: new for old, new in places.items()}
            self.values = array("i", [places.get(old, MISSING) for old in self.values])


class Window:
    """The last examples of the log, in its order: features, answers, times.

    Parameters
    ----------
    answers
        The kind of the answers: ``"i"`` for places in a list of classes, ``"d"`` for numbers.
    """

    def __init__(self, answers: str) -> None:
        self.columns: dict[Any, Column] = {}  # in the order in which they were first seen
        self.past: array[Any] = array(answers)
        self.times = array("q")  # microseconds since 1970
        self.start = 0  # what is before it is forgotten, and dropped from time to time

    def __getstate__(self) -> dict[str, Any]:
        """Write small."""
        return self.__dict__ | {"past": _pack(self.past), "times": _pack(self.times)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, past=_unpack(*state["past"]), times=_unpack(*state["times"]))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.times) - self.start

    @property
    def answers(self) -> array[Any]:
        """The answers of the window's examples."""
        return self.past[self.start :]

    def append(self, row: dict[Any, float | str | None], answer: float, moment: int) -> None:
        """Add the next example, its values as `plain` returns them."""
        for key in row:
            if key not in self.columns:
                self.columns[key] = Column(len(self.times))
        for key, column in self.columns.items():
            column.append(row.get(key))
        self.past.append(answer)
        self.times.append(moment)

    def forget(self, last: timedelta | int, now: int) -> None:
        """Leave the `last` so many examples, or those of the `last` so much time before `now`.

        By time, the oldest ones go as long as they are too old; one that came late may stay behind a newer one.
        """
        if isinstance(last, int):
            self.start = max(self.start, len(self.times) - last)
        else:
            oldest = now - last // MICROSECOND
            while self.start < len(self.times) and self.times[self.start] < oldest:
                self.start += 1
        if self.start > max(1000, len(self)):
            self.drop()

    def drop(self) -> None:
        """Free the memory of what is forgotten."""
        for column in self.columns.values():
            column.drop(self.start)
        del self.past[: self.start], self.times[: self.start]
        self.start = 0

    def frame(self) -> tuple[Known, pd.DataFrame]:
        """Return the columns that have a value, and the window's examples as a frame of them, oldest first."""
        import numpy as np
        import pandas as pd

        known: Known = {}
        data: dict[Any, Any] = {}
        for key, column in self.columns.items():
            values = np.array(column.values[self.start :])
            if column.strings is None:
                if not np.isnan(values).all():
                    known[key], data[key] = None, values
                continue
            strings = list(column.strings)
            names = tuple(sorted(strings[place] for place in np.unique(values) if place != MISSING))
            if names:
                places = np.full(len(strings) + 1, MISSING)  # and MISSING, the last, stays what it is
                places[[column.strings[name] for name in names]] = np.arange(len(names))
                known[key], data[key] = names, pd.Categorical.from_codes(places[values], dtype=_dtype(names))
        return known, pd.DataFrame(data, index=range(len(self)))


def plain(key: Any, value: Any) -> float | str | None:
    """Return a feature's value as it is kept: a float, a string, or None where it is missing.

    Raises
    ------
    UsageError
        If it is something else, such as a list.
    """
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, (bool, int, float)):
        raise UsageError(f"feature {key!r} is {value!r}; Batch takes numbers, booleans, strings and None")
    return None if math.isnan(value) else float(value)


def frame_of(known: Known, xs: list[Row]) -> pd.DataFrame:
    """Return rows as a frame of known columns; what they do not know is missing."""
    import numpy as np
    import pandas as pd

    data: dict[Any, Any] = {}
    for key, names in known.items():
        values = [plain(key, x.get(key)) for x in xs]
        if names is None:
            data[key] = np.array([math.nan if v is None or isinstance(v, str) else v for v in values])
        else:
            places = _places(names)
            codes = [MISSING if v is None else places.get(str(v), MISSING) for v in values]
            data[key] = pd.Categorical.from_codes(codes, dtype=_dtype(names))
    return pd.DataFrame(data, index=range(len(xs)))


def _pack(values: array[Any]) -> tuple[str, bytes]:
    return values.typecode, zlib.compress(values.tobytes(), level=1)


def _unpack(typecode: str, packed: bytes) -> array[Any]:
    return array(typecode, zlib.decompress(packed))


@functools.lru_cache(maxsize=256)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


@functools.lru_cache(maxsize=256)
def _dtype(names: tuple[str, ...]) -> pd.CategoricalDtype:
    import pandas as pd

    return pd.CategoricalDtype(list(names))
