"""Who served when, as a picture: a lane for what was served, and one for what a policy would have served."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from millrace import tables
from millrace.dataset import PRIOR
from millrace.errors import writing
from millrace.validation import canvas
from millrace.validation.canvas import COLOURS, Drawing

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from millrace.policy import PolicyReport


def keep(report: PolicyReport, models: Sequence[str]) -> Path:
    """Draw a report beside the tables, under a name made of what was asked and found."""
    drawn = draw(report, models)
    asked = hashlib.sha256(orjson.dumps([report.policy, report.lines])).hexdigest()[:12]
    path = tables.folder(report.dataset) / "validations" / f"policy-{asked}.png"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn)
    return path


def draw(report: PolicyReport, models: Sequence[str]) -> bytes:
    """Draw a report as a PNG; the same report gives the same bytes."""
    others = [one for one in models if one != PRIOR]
    colours = {PRIOR: COLOURS["prior"][0]}
    colours |= {model: COLOURS[f"model-{i % 6 + 1}"][0] for i, model in enumerate(others)}

    def paint(figure: FigureBase, _: float) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.patches import Patch

        axes = figure.subplots()
        lanes = list(report.reigns)
        for place, name in enumerate(lanes):
            for one in report.reigns[name]:
                colour = colours.get(one.model, COLOURS["quiet"][0])
                axes.barh(place, one.last - one.first, left=one.first, height=0.6, color=colour)  # type: ignore[arg-type]
        axes.set_yticks(range(len(lanes)), lanes)
        axes.invert_yaxis()
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        shown = {one.model for some in report.reigns.values() for one in some}
        handles = [Patch(color=colour, label=model) for model, colour in colours.items() if model in shown]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.25), ncols=6, frameon=False)

    with canvas.matplotlib():
        losses = [f"{line.name} {line.loss:.4f}" for line in report.lines if line.loss is not None]
        facts = [report.policy_said, *textwrap.wrap(f"mean {report.loss} loss: " + " · ".join(losses), 130)]
        caption = "By the time of the events that are labelled. The colours are the models."
        lanes = Drawing("Who serves", caption, lambda _: 1.9, paint)
        return canvas.png(f"{report.dataset}: what would have been served", facts, [lanes])
