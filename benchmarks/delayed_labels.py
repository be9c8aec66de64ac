"""What do the policies make of labels whose delay depends on their value? ``python -m benchmarks.delayed_labels [--write]``.

The clicks of ``datasets/ads.py``, twenty thousand a day: each is asked about when it comes, by the model as it then is, and
learned when its policy says, in the order of the log. Beside what is said stands the true probability, which a simulation knows.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl

from benchmarks.place import CHECKOUT
from millrace import catalog, exact, features
from millrace.provisional import corrected
from millrace.validation import canvas

POLICIES = ("arrival", "window", "provisional")
A_DAY = 20_000
STRETCHES = {"days 2 to 7": (1, 7), "days 9 to 14": (8, 14), "week 3": (14, 21)}
"""Days since the beginning: from, and up to but without."""
PAGE = CHECKOUT / "docs" / "delayed-labels.md"
PICTURE = CHECKOUT / "docs" / "pictures" / "delayed-labels.png"


@dataclass
class Said:
    """What a model said by day, and what was true: means over the day's clicks."""

    policy: str
    said: list[float]
    truth: list[float]

    def of(self, first: int, end: int) -> tuple[float, float, float]:
        """Return the mean of what was said and of the truth from a day up to another, and the calibration error."""
        said, truth = (sum(values[first:end]) / (end - first) for values in (self.said, self.truth))
        return said, truth, said / truth - 1


def steps(policy: str, clicks: pl.DataFrame, window: timedelta) -> Iterator[tuple[int, bool | None]]:
    """Give what happens in order: a click is asked about (None), or learned with a label.

    A window closes at the first arrival that is later, and what closed is learned before what arrives there; one that no
    arrival comes after stays open.
    """
    rows = clicks.with_row_index("click")
    asked = rows.select("click", at="event_time", label=pl.lit(None, dtype=pl.Boolean), turn=pl.lit(1))
    closed = rows.select("click", at=pl.col("event_time") + window, label=pl.lit(value=False), turn=pl.lit(4))
    bought = rows.filter(pl.col("label").is_not_null()).select("click", at="label_time", label="label", turn=pl.lit(3))
    if policy == "arrival":
        closed = closed.join(bought, on="click", how="anti")
    elif policy == "window":
        closed = closed.update(bought.select("click", "label"), on="click", how="left")
        bought = bought.clear()
    else:
        closed = closed.with_columns(at=pl.col("at") - window, turn=pl.lit(2))  # at once, right after it was asked about
    end = clicks["event_time"][-1]
    order = pl.concat([asked, closed, bought], how="vertical_relaxed").sort("at", "turn", "click")
    order = order.filter((pl.col("at") < end) | ((pl.col("at") == end) & (pl.col("turn") < 4)))  # at the end none closes
    yield from order.select("click", "label").iter_rows()


def fold(policy: str, model: Any, clicks: pl.DataFrame, xs: list[dict[str, Any]], window: timedelta, days: int) -> Said:
    """Let a model live through the clicks under a policy."""
    ask, learn_one, size = model.predict_proba_one, model.learn_one, len(xs) // days
    sums = [0.0] * days
    for click, label in steps(policy, clicks, window):
        if label is None:
            sums[click // size] += ask(xs[click])[True]
        else:
            learn_one(xs[click], label)
    truth = clicks.group_by(pl.int_range(pl.len()) // size, maintain_order=True).agg(pl.col("truth").mean())["truth"]
    return Said(policy, [total / size for total in sums], truth.to_list())


def measure(a_day: int = A_DAY) -> list[Said]:
    """Measure each policy on the simulated clicks."""
    dataset = catalog.load("ads")
    ads = sys.modules[f"{catalog.PACKAGE}.ads"]
    clicks = ads.clicks(a_day)
    xs = features.rows(features.compute(dataset, clicks))
    found = []
    for policy in POLICIES:
        weighted = policy == "provisional"
        model = exact.build(dataset.models["logistic"], "logistic", weighted)
        model = corrected(model, default=False) if weighted else model
        found.append(fold(policy, model, clicks, xs, ads.WINDOW, ads.DAYS))
    return found


def table(found: list[Said]) -> str:
    """Write the figures as a table of the page."""
    head = "".join(f" {name}: said | truth | error |" for name in STRETCHES)
    lines = [f"| `learn=` |{head}", "| --- |" + " --- | --- | --- |" * len(STRETCHES)]
    for one in found:
        cells = (one.of(*days) for days in STRETCHES.values())
        lines.append(f'| `"{one.policy}"` |' + "".join(f" {s:.4f} | {t:.4f} | {e:+.0%} |" for s, t, e in cells))
    return "\n".join(lines)


def picture(found: list[Said]) -> bytes:
    """Draw the mean prediction of each day."""

    def paint(figure: Any, width: float) -> None:
        axes = figure.subplots()
        days = range(1, len(found[0].truth) + 1)
        for number, one in enumerate(found, 1):
            axes.plot(days, [100 * mean for mean in one.said], color=canvas.COLOURS[f"model-{number}"][0], label=one.policy)
        axes.plot(days, [100 * mean for mean in found[0].truth], color=canvas.INK, linewidth=1, linestyle=":", label="truth")
        axes.set_yscale("log")
        axes.set_yticks([0.1, 1, 10, 100], ["0.1%", "1%", "10%", "100%"])
        axes.set_xticks(list(days)[::2])
        axes.set_xlabel("day", color=canvas.QUIET)
        axes.axvline(8, color=canvas.RULE)
        axes.grid(axis="y")
        axes.legend(frameon=False, ncols=4, loc="upper right")

    caption = "The grey line is where the first windows close, after seven days. The axis is logarithmic."
    one = canvas.Drawing("Mean of what was said of a day's clicks", caption, lambda width: 3.2, paint)
    with canvas.matplotlib():
        return canvas.png(
            "When is a label learned?", ["Simulated clicks, of which 0.9% lead to a purchase, 12 hours later"], [one]
        )


def main() -> None:
    """Measure, show, and write the picture and the page's table where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delayed_labels", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--a-day", type=int, default=A_DAY, help="clicks a day")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {PICTURE.name} anew")
    asked = parser.parse_args()
    found = measure(asked.a_day)
    print(table(found))
    if asked.write:
        PICTURE.write_bytes(picture(found))
        marks = r"(?<=<!-- figures -->\n).*(?=\n<!-- end -->)"
        PAGE.write_text(re.sub(marks, lambda _: table(found), PAGE.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
