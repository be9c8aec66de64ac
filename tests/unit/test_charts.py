"""Do the picture and the page of a validation show its numbers, whatever the names in it, alike each time, and alone?"""

from __future__ import annotations

import hashlib
import html.parser
import itertools
import math
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.validation import canvas, charts, page, view
from millrace.validation.kept import ValidateReport
from millrace.validation.scores import Gain, Part, Score
from millrace.validation.view import View
from tests.conftest import CHECKOUT

START = datetime(2013, 1, 1, tzinfo=UTC)
HOSTILE = [
    "$x_1$",
    "_hidden",
    "<script>alert(1)</script>",
    "a' onload=\"x",
    "m" * 70,
    "two\nlines\x00",
    "模型",
    " ",
    "&amp;",
    "tell:--><b>",
]


def score(model: str, cadence: str, loss: float, gain: Gain | None = None, by: tuple[str, ...] = ()) -> Score:
    windows = [Part(START + timedelta(days=day), 100 + day, loss + day / 100) for day in range(4)]
    segments = [Part(of, 40 - i, loss + i / 50) for i, of in enumerate(by)]
    end = START + timedelta(days=4)
    return Score(model, cadence, START, end, 500, 406, 0, 0, loss, {"ROCAUC": 0.6417}, windows, segments, gain, 96, 1.5)


def report(*scores: Score, by: str | None = None, against: str = "prior") -> ValidateReport:
    return ValidateReport("flights", "2h", "cold", "log", 107_654, 49_570, against=against, by=by, scores=list(scores))


ONE = report(score("prior", "1h", 0.54), score("recent", "1h", 0.52, Gain("prior", 0.02, 0.01, 0.03)))
CURVE = report(
    score("prior", "7d", 0.541, by=("EWR", "JFK")),
    score("recent", "7d", 0.597, Gain("prior", -0.056, -0.07, -0.042), by=("EWR", "JFK")),
    score("prior", "label", 0.54, by=("EWR", "JFK")),
    score("recent", "label", 0.518, Gain("prior", 0.022, 0.012, 0.032), by=("EWR", "JFK")),
    by="origin",
)


class Read(html.parser.HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def of(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def read(found: ValidateReport, folder: Path) -> Read:
    page.write(found, folder / "page.html")
    return Read((folder / "page.html").read_text())


# --- The numbers ---------------------------------------------------------------------------------------------


def test_the_page_says_what_was_asked_and_tells_every_score(place: Path) -> None:
    seen = read(CURVE, place)
    assert seen.of("h1") == ["flights, 2013-01-01 to 2013-01-05 UTC"]
    assert {"2h after the question", "cold, knowing nothing", "each label, 7d", "arrival 107,654, seq 49,570"} <= set(
        seen.of("dd")
    )
    [finding] = [text for text in seen.of("p") if "lowest loss" in text]
    assert finding.startswith("recent, refreshed each label, has the lowest loss: 0.5180, 0.0220 less than prior")
    assert {"0.5410", "0.5970", "−0.0560 ", "+0.0220 ", "0.6417", "406", "1.5 s"} <= set(seen.of("td"))
    assert {"−0.0700 to −0.0420", "+0.0120 to +0.0320"} <= set(seen.of("small"))
    assert seen.of("span").count("0.5180") == 2  # the best of the scores, and of a segment


def test_pointing_at_a_chart_tells_its_numbers(place: Path) -> None:
    course, curve, segments = (Read(chart.wide).of("title") for chart in charts.charts(CURVE))
    assert "from 2013-01-03 UTC, 102 labels\nprior 0.5600\nrecent 0.5380" in course
    assert curve[0].splitlines()[:2] == ["each label", "prior 0.5400; 1.5 s of learning and refreshing"]
    assert "recent 0.5180, +0.0220 better than prior (+0.0120 to +0.0320)" in curve[0]
    assert "JFK, 39 labels\nprior 0.5600\nrecent 0.5380" in segments


def test_a_bar_is_the_reference_s_loss_less_the_interval_of_the_gain(place: Path) -> None:
    from matplotlib.figure import Figure

    with canvas.matplotlib():
        figure = Figure()
        charts._drawings(View(CURVE))[1].paint(figure, canvas.WIDE)
        bars = [list(map(float, line.get_ydata())) for line in figure.axes[0].lines if line.get_alpha()]  # type: ignore[arg-type]
        lines = [list(map(float, line.get_ydata())) for line in figure.axes[0].lines if not line.get_alpha()]  # type: ignore[arg-type]
    assert bars == [pytest.approx([0.54 - 0.032, 0.54 - 0.012]), pytest.approx([0.541 + 0.042, 0.541 + 0.07])]
    assert lines == [[0.54, 0.541], [0.518, 0.597]]


def test_the_reference_may_be_another_than_prior(place: Path) -> None:
    found = report(score("prior", "1h", 0.54, Gain("recent", -0.02, -0.03, -0.01)), score("recent", "1h", 0.52), against="recent")
    assert any(text.endswith("Nothing did better than recent.") for text in read(found, place).of("p"))


def test_of_several_stretches_all_together_are_drawn_and_each_has_a_table(place: Path) -> None:
    whole = score("prior", "1h", 0.5)
    middle = START + timedelta(days=2)
    found = report(whole, replace(whole, end=middle, loss=0.4), replace(whole, start=middle, loss=0.6))
    seen = read(found, place)
    assert seen.of("h3") == ["2013-01-01 to 2013-01-05", "2013-01-01 to 2013-01-03", "2013-01-03 to 2013-01-05"]
    assert "2, each by itself, and all together" in seen.of("dd")
    assert [one.loss for one in View(found).at("1h")] == [0.5]


def test_a_model_that_fails_does_not_press_the_others_flat(place: Path) -> None:
    found = replace(ONE, scores=[*ONE.scores, score("broken", "1h", 4.605)])
    low, high = View(found).frame()
    assert low < 0.51 and 0.54 < high < 0.8
    course, ranking = charts.charts(found)
    assert "▲" in course.caption
    assert "4.6050" in Read(ranking.wide).of("text")


def test_without_labels_it_is_said(place: Path) -> None:
    found = report(
        replace(score("prior", "1h", 0.0), loss=None, labelled=0, windows=(), seconds=math.nan, metrics={"ROCAUC": None})
    )
    assert charts.draw(found)
    seen = read(found, place)
    assert "No label came" in seen.of("h2")
    assert seen.of("td").count("–") == 4


def test_an_interval_without_end_and_a_single_window_are_drawn(place: Path) -> None:
    few = replace(score("recent", "1h", 0.5, Gain("prior", 0.04, -math.inf, math.inf)), windows=[Part(START, 1, 0.5)])
    found = report(replace(score("prior", "1h", 0.54), windows=[Part(START, 1, 0.54)]), few)
    assert charts.draw(found)
    assert "−∞ to ∞" in read(found, place).of("small")
    assert "may be chance" in View(found).finding


# --- The page alone -------------------------------------------------------------------------------------------


def test_names_and_values_of_any_kind_are_text(place: Path) -> None:
    scores = [score(name, "1h", 0.5 + i / 100, by=tuple(HOSTILE)) for i, name in enumerate(HOSTILE)]
    found = report(*scores, by="<i>", against=HOSTILE[0])
    found.notes, found.lines = ["<b>note</b>"], "<b>lines</b>"
    assert charts.draw(found)
    seen = read(found, place)
    assert not {"script", "b", "i"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert set(map(view.plain, HOSTILE)) <= {text.strip() for tag in ("td", "text") for text in seen.of(tag)}
    drawn = charts.charts(found)
    assert [chart.title for chart in drawn] == ["Log loss over time", "Log loss by model", "Log loss by <i>"]
    assert all({"$x_1$", "_hidden"} <= set(Read(chart.wide).of("text")) for chart in drawn)
    assert {"<b>note</b>", "<b>lines</b>"} <= {text for _, text in seen.texts}


def test_it_loads_nothing_and_names_nothing_twice(place: Path) -> None:
    seen = read(CURVE, place)
    assert not {"script", "link", "img", "image", "iframe", "object"} & set(seen.tags)
    assert all(value.startswith("#") for name, value in seen.attributes if name in ("href", "xlink:href", "src"))
    assert set(re.findall(r"url\((.)", (place / "page.html").read_text())) == {"#"}
    assert "@import" not in (place / "page.html").read_text()
    names = [value for name, value in seen.attributes if name == "id"]
    assert names and len(names) == len(set(names))


def test_colours_are_the_page_s_own(place: Path) -> None:
    for chart in charts.charts(CURVE):
        assert "var(--model-1)" in chart.wide
        assert not re.search(r"(fill|stroke): #", chart.wide + chart.narrow)


def test_the_same_report_gives_the_same_bytes_wherever_it_is_drawn(place: Path) -> None:
    code = f"""
import hashlib, pathlib, pickle, sys
from millrace.validation import charts, page
found = pickle.loads({pickle.dumps(ONE)!r})
page.write(found, pathlib.Path("page.html"))
print(hashlib.sha256(charts.draw(found) + pathlib.Path("page.html").read_bytes()).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
import matplotlib
assert matplotlib.rcParams["font.size"] == 30
assert pathlib.Path(matplotlib.get_cachedir()) == pathlib.Path({str(place)!r}) / "cache" / "matplotlib"
"""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\n")
    unset = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    home = {"HOME": str(elsewhere), "PYTHONHASHSEED": "7", "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env={**unset, **home}, capture_output=True, text=True, check=False
    )
    page.write(ONE, place / "page.html")
    ours = hashlib.sha256(charts.draw(ONE) + (place / "page.html").read_bytes()).hexdigest()
    assert (done.stdout.strip(), done.stderr) == (ours, "")
    assert sorted(path.name for path in elsewhere.iterdir()) == ["matplotlibrc", "page.html"]


# --- Helpers --------------------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-10, 10), max_size=8), st.floats(0.01, 3))
def test_names_are_moved_apart_and_keep_their_order(places: list[float], gap: float) -> None:
    moved = canvas.apart(places, gap)
    assert sum(moved) == pytest.approx(sum(places), abs=1e-9)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    assert all(moved[b] - moved[a] >= gap - 1e-9 for a, b in itertools.pairwise(order))
    if all(places[b] - places[a] >= gap for a, b in itertools.pairwise(order)):
        assert moved == places


@settings(derandomize=True, deadline=None)
@given(st.text(), st.integers(2, 30))
def test_a_name_is_one_short_line(text: str, most: int) -> None:
    line = view.plain(text, most)
    assert line.isprintable() and line == line.strip()
    assert 0 < len(line) <= max(most, len("(empty)"))
