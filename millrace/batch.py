"""What would a batch model do, refitted at a cadence?

A competitor for the online models: any scikit-learn estimator, fitted on a window of the log, itself a fold::

    t0  x1 y1 →  learn    the window is x1
    t1  x2    →  predict  the share of each class in the window: nothing is fitted yet
    ────────────────────  midnight
    t2  x3 y3 →  learn    fit on the window as it was at midnight, x1; then the window is x1, x3
    t3  x4    →  predict  by that fit, until the first label after the next midnight
"""

from __future__ import annotations

import abc
import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from river import base

from millrace import threads
from millrace.clock import MICROSECOND
from millrace.errors import MillraceError, UsageError
from millrace.window import Known, Row, Window, frame_of, plain

ROWS = 256  # in a block; one row and many rows differ in the last bit where matrices are multiplied
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT_SOLVERS = {"auto", "cholesky", "lbfgs", "lsqr", "newton-cg", "newton-cholesky", "sparse_cg", "svd"}


class Batch(base.Estimator):  # type: ignore[misc]
    """A scikit-learn estimator that is fitted again on a window of the log at a cadence.

    It is a `river.base.Classifier` or a `river.base.Regressor`, as the estimator is. The first example at or
    after a multiple of `every` (counted from 1970 in UTC, moved by `at`) makes a fresh clone fit on the window
    before it, and is learned after. So the state is a function of the examples and their times alone.

    The estimator gets a DataFrame: a column a feature, in the order in which they were first seen; strings are
    categoricals, missing values and categories that the fit did not see are NaN. Before the first fit the answer
    is the share of each class in the window, or the mean. Where a fit fails, or the window has no two classes,
    what was fitted before stays, and `failure` says why.

    Parameters
    ----------
    estimator
        A classifier with ``predict_proba`` or a regressor, pipelines too, with a seed wherever one counts.
    last
        The window: the last so much time, or the last so many examples.
    every
        The cadence of the fits.
    at
        When in `every`: ``timedelta(hours=8)`` fits at 8:00 UTC where `every` is a day.

    Attributes
    ----------
    fitted
        What was fitted last, or None.
    failure
        Why the last fit failed, or None.

    Raises
    ------
    UsageError
        If a parameter is not what is described here.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> model = Batch(LinearRegression(), last=100, every=timedelta(days=1))
    >>> for hour in range(25):
    ...     t = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    ...     model.learn_one({"hour": hour}, 2.0 * hour, t=t)
    >>> round(model.predict_one({"hour": 100}), 6)
    200.0
    """

    kind: ClassVar[str] = "d"  # of the window's answers
    many: ClassVar[bool] = True  # it is asked about many rows at once

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Choose between the classifier and the regressor."""
        if cls is not Batch:
            return super().__new__(cls)
        from sklearn.base import is_classifier, is_regressor

        estimator = args[0] if args else kwargs.get("estimator")
        if hasattr(estimator, "fit") and not isinstance(estimator, type):
            if is_classifier(estimator):
                return super().__new__(BatchClassifier)
            if is_regressor(estimator):
                return super().__new__(BatchRegressor)
        raise UsageError(f"Batch takes a scikit-learn classifier or regressor, not {estimator!r}")

    def __init__(self, estimator: Any, last: timedelta | int, every: timedelta, at: timedelta = timedelta(0)) -> None:
        _check(estimator, last, every, at)
        self.estimator = estimator
        self.last = last
        self.every = every
        self.at = at
        self.window = Window(self.kind)
        self.places: dict[Any, int] = {}  # of the classes, if any, in the order in which they were first seen
        self.newest: int | None = None  # the largest time so far, in microseconds since 1970
        self.fitted: Any = None
        self.known: Known = {}  # the columns of what was fitted
        self.failure: str | None = None

    def learn_one(self, x: Row, y: Any, t: datetime | None = None) -> None:
        """Add an example to the window, after fitting on what came before if it is time.

        Parameters
        ----------
        x
            Features: numbers, booleans, strings, or None.
        y
            The class or the number.
        t
            The example's time, with a time zone. One before the largest so far is taken as it comes: the
            cadence follows the largest.

        Raises
        ------
        UsageError
            Without `t`, or for a value that is none of these. The model is unchanged then.
        """
        if not isinstance(t, datetime) or t.tzinfo is None:
            raise UsageError(
                f"Batch refits by the time of what it learns, and got t={t!r}; "
                "call learn_one(x, y, t=…) with a datetime that has a time zone, such as the event_time"
            )
        moment = (t - EPOCH) // MICROSECOND
        row = {key: plain(key, value) for key, value in x.items()}
        answer = self._answer(y)
        if self.newest is None:
            self.newest = moment
        every, at = self.every // MICROSECOND, self.at // MICROSECOND
        period = (moment - at) // every
        if period > (self.newest - at) // every:
            now = period * every + at
            self.window.forget(self.last, now)
            self.window.drop()
            self._refit(now)
        self.newest = max(self.newest, moment)
        self.window.append(row, answer, moment)
        self.window.forget(self.last, self.newest)

    def _refit(self, now: int) -> None:
        """Fit a fresh clone on the window. A failure is remembered, and what was fitted before stays."""
        from sklearn.base import clone

        known, frame = self.window.frame()
        try:
            if frame.empty:
                raise MillraceError("the window has no example with a feature")
            with threads.single():
                fitted = clone(self.estimator).fit(frame, self._answers())
        except MemoryError:
            raise  # the machine's doing, not the examples': the state must not depend on it
        except Exception as error:  # noqa: BLE001  whatever it is, the fold goes on
            when = f"{EPOCH + now * MICROSECOND:%Y-%m-%d %H:%M} UTC, {len(frame)} examples"
            self.failure = f"{when}: {type(error).__name__}: {_same(error)}"
        else:
            self.fitted, self.known, self.failure = fitted, known, None

    def _predict(self, method: str, xs: list[Row]) -> list[Any]:
        """Ask the fit in blocks of always as many rows: then an answer does not depend on its neighbours."""
        answers: list[Any] = []
        with threads.single():
            for first in range(0, len(xs), ROWS):
                rows = xs[first : first + ROWS]
                frame = frame_of(self.known, rows + rows[-1:] * (ROWS - len(rows)))
                try:
                    block = getattr(self.fitted, method)(frame)
                except Exception as error:
                    raise MillraceError(
                        f"{self.estimator!r} could not predict: {type(error).__name__}: {_same(error)}; missing "
                        "values and categories that it did not see are NaN: make it take them "
                        "(SimpleImputer, OneHotEncoder(handle_unknown='ignore'))"
                    ) from error
                answers += block.tolist()[: len(rows)]
        return answers

    @abc.abstractmethod
    def _answer(self, y: Any) -> float:
        """Return what the window keeps of a label."""

    @abc.abstractmethod
    def _answers(self) -> Any:
        """Return the window's labels for a fit."""


class BatchClassifier(Batch, base.Classifier):  # type: ignore[misc]
    """What `Batch` makes of a classifier."""

    kind: ClassVar[str] = "i"

    @property
    def _multiclass(self) -> bool:
        return True

    def predict_proba_one(self, x: Row, **kwargs: Any) -> dict[Any, float]:
        """Return the probability of each class that the fit knows."""
        return self.predict_proba_many([x])[0]

    def predict_proba_many(self, xs: list[Row]) -> list[dict[Any, float]]:
        """Return what `predict_proba_one` returns for each of `xs`, to the bit, far faster."""
        if self.fitted is not None:
            classes = self.fitted.classes_.tolist()
            return [dict(zip(classes, row, strict=True)) for row in self._predict("predict_proba", xs)]
        classes, counts = list(self.places), Counter(self.window.answers)
        shares = {classes[place]: count / counts.total() for place, count in counts.items()}
        return [dict(shares) for _ in xs]

    def predict_many(self, xs: list[Row]) -> list[Any]:
        """Return what `predict_one` returns for each of `xs`: the likeliest class, None before any."""
        return [max(p, key=p.__getitem__) if p else None for p in self.predict_proba_many(xs)]

    def _answer(self, y: Any) -> float:
        if not isinstance(y, (bool, int, str)):
            raise UsageError(f"a class is a boolean, an integer or a string, not {y!r}")
        return self.places.setdefault(y, len(self.places))

    def _answers(self) -> Any:
        import numpy as np

        classes, places = list(self.places), np.array(self.window.answers)
        if (places == places[0]).all():
            raise MillraceError(f"the window has one class alone, {classes[places[0]]!r}")
        kind = None if len({type(name) for name in classes}) == 1 else object  # else 1 and "a" are "1" and "a"
        return np.array(classes, dtype=kind)[places]


class BatchRegressor(Batch, base.Regressor):  # type: ignore[misc]
    """What `Batch` makes of a regressor."""

    def predict_one(self, x: Row, **kwargs: Any) -> Any:
        """Return the fit's number, before the first fit the window's mean, or None where it is empty."""
        return self.predict_many([x])[0]

    def predict_many(self, xs: list[Row]) -> list[Any]:
        """Return what `predict_one` returns for each of `xs`, to the bit, far faster."""
        if self.fitted is not None:
            return self._predict("predict", xs)
        answers = self.window.answers
        return [math.fsum(answers) / len(answers) if answers else None] * len(xs)

    def _answer(self, y: Any) -> float:
        if not isinstance(y, (int, float)) or not math.isfinite(y):
            raise UsageError(f"the number to learn is finite, not {y!r}")
        return float(y)

    def _answers(self) -> Any:
        import numpy as np

        return np.array(self.window.answers)


def _same(error: Exception) -> str:
    """Return an error's text, the same in each process: sets sorted, no addresses."""
    text = re.sub(r"\{([^{}:]*)\}", lambda found: f"{{{', '.join(sorted(found[1].split(', ')))}}}", str(error))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _check(estimator: Any, last: timedelta | int, every: timedelta, at: timedelta) -> None:
    """Refuse parameters that cannot work, and say what would."""
    from sklearn.base import is_classifier

    if isinstance(last, bool) or not isinstance(last, (int, timedelta)) or last <= type(last)(0):  # type: ignore[operator]
        raise UsageError(f"last is how much time or how many examples the window holds, not {last!r}")
    if not isinstance(every, timedelta) or every <= timedelta(0):
        raise UsageError(f"every is the time between fits, such as timedelta(days=1), not {every!r}")
    if not isinstance(at, timedelta):
        raise UsageError(f"at is a time after midnight UTC, such as timedelta(hours=8), not {at!r}")
    if is_classifier(estimator) and not hasattr(estimator, "predict_proba"):
        raise UsageError(
            f"{estimator!r} has no predict_proba, and a race needs probabilities; "
            "choose a loss or an option that gives them, or wrap it: CalibratedClassifierCV(…)"
        )
    for name, part in {"": estimator, **estimator.get_params()}.items():
        if getattr(part, "random_state", 0) is None and _draws(part):
            raise UsageError(
                f"{type(part).__name__} in {estimator!r} draws from an unseeded generator, so its fits cannot "
                f"be made again; give it a seed: {f'{name}__'.lstrip('_')}random_state=1"
            )


def _draws(part: Any) -> bool:
    """Tell whether the part draws random numbers: not all that have a random_state do."""
    if not hasattr(part, "fit"):  # a splitter, such as KFold
        return bool(getattr(part, "shuffle", True))
    module = type(part).__module__
    if module.startswith("sklearn.linear_model."):
        return getattr(part, "solver", None) not in EXACT_SOLVERS
    return module != "sklearn.dummy" or part.strategy in ("stratified", "uniform")
