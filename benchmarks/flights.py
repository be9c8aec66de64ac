"""Is memory worth it for flights, and at which cadence? ``python -m benchmarks.flights [--write]``; first: ``make year``.

January and February 2013, the first week not scored, with the delays that the labels had: each model with the five counts of
departures that ``datasets/flights.py`` declares, and without.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.place import CHECKOUT, environment, events, labels

YEAR = CHECKOUT / "datasets" / "data" / "flights-2013.parquet"
MARCH = datetime(2013, 3, 1, 5, tzinfo=UTC)
CADENCES = {"each label": "label", "1 h": "1h", "1 day": "1d", "7 days": "7d"}
MODELS = """
def logistic_counts() -> Classifier:
    crowd = compose.Select(*DEPARTURES) | preprocessing.StandardScaler()
    return (scaled_and_one_hot() + crowd) | linear_model.LogisticRegression(optim.SGD(0.005))


def recent_alone() -> Classifier:
    lately = late_lately(0.01) | preprocessing.StandardScaler()
    return (scaled_and_one_hot() + lately) | linear_model.LogisticRegression(optim.SGD(0.005))


dataset = Dataset("""
PAGE = CHECKOUT / "docs" / "memory.md"


def measure() -> list[Any]:
    """Bring two months in, and validate each model at each cadence; return the scores."""
    from millrace.history import bring_in
    from millrace.infer import infer
    from millrace.join import join
    from millrace.validate import validate

    models = ["prior", "logistic", "logistic-counts", "recent-alone", "recent"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, environment(Path(folder)) as root:
        text = (CHECKOUT / "datasets" / "flights.py").read_text().replace("\ndataset = Dataset(", MODELS)
        shown = '{"logistic": logistic, "logistic-counts": logistic_counts, "recent-alone": recent_alone, "recent": recent}'
        text = re.sub(r"models=\{.*?\}", f"models={shown}", text, flags=re.DOTALL)
        (root / "datasets" / "flights.py").write_text(re.sub(r"    history=.*\n", "", text))
        rows = pl.read_parquet(YEAR).filter(pl.col("event_time") < MARCH)
        events(rows).write_parquet(root / "events.parquet")
        labels(rows).write_parquet(root / "labels.parquet")
        bring_in("flights", [root / "events.parquet"], [root / "labels.parquet"])
        infer("flights")
        join("flights")
        report = validate("flights", *models, cadences=[*CADENCES.values()], unscored=timedelta(days=7), keep=False)
        return report.scores


def table(scores: list[Any]) -> str:
    """Return log loss and exact ROC AUC, a line a model, a column a cadence."""
    found = {(one.model, one.cadence): one for one in scores}
    lines = [f"| | {' | '.join(CADENCES)} |", "| --- |" + " --- |" * len(CADENCES)]
    named = {
        "prior": "`prior`",
        "logistic": "`logistic`",
        "logistic-counts": "`logistic` with memory",
        "recent-alone": "`recent` without memory",
        "recent": "`recent`",
    }
    for model, said in named.items():
        each = [found[model, cadence] for cadence in CADENCES.values()]
        lines.append(f"| {said} | " + " | ".join(f"{one.loss:.4f} / {one.metrics['ROCAUC (exact)']:.3f}" for one in each) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, show, and write the page's table where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flights", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write the table in {PAGE.name} anew")
    asked = parser.parse_args()
    found = table(measure())
    print(found)
    if asked.write:
        marks = r"(?<=<!-- figures -->\n).*(?=\n<!-- end -->)"
        PAGE.write_text(re.sub(marks, lambda _: found, PAGE.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    main()
