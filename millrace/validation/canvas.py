"""How is drawn, so that the same thing always gives the same bytes, as a picture or in a page?

By Matplotlib, once for both. As a picture a drawing is what it is; in a page its colours become the page's own (light or
dark), and what it tells on pointing becomes a title.
"""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace.settings import settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

COLOURS = {
    "paper": ("#ffffff", "#15181c"),
    "ink": ("#1c2026", "#e8eaed"),
    "quiet": ("#666d77", "#9aa2ad"),
    "rule": ("#e1e4e8", "#2d333b"),
    "prior": ("#858b95", "#828a96"),
    "model-1": ("#0067b1", "#58b0f0"),
    "model-2": ("#c8500a", "#f58a4b"),
    "model-3": ("#00806a", "#3ecfae"),
    "model-4": ("#a23b86", "#e08fcb"),
    "model-5": ("#806000", "#dfb83a"),
    "model-6": ("#4b3fa8", "#a79bf5"),
}
"""Each colour on light and on dark. The models' differ in lightness too, for those who see fewer hues (after Okabe and Ito)."""
INK, QUIET, RULE, PAPER = (COLOURS[name][0] for name in ("ink", "quiet", "rule", "paper"))
WIDE, NARROW = 9.2, 3.9
"""Widths in inches, on a desk and on a phone."""
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": QUIET,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
    "xtick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.color": RULE,
    "ytick.labelcolor": QUIET,
    "ytick.major.size": 0,
    "svg.fonttype": "none",
}
_ALONE = threading.Lock()
"""Matplotlib's settings are the whole process's."""


@dataclass(frozen=True)
class Drawing:
    """What paints a chart.

    Parameters
    ----------
    title, caption
        What it shows, and how to read it.
    height
        How high it is, in inches, by its width.
    paint
        Paints it on a figure so wide.
    """

    title: str
    caption: str
    height: Callable[[float], float]
    paint: Callable[[FigureBase, float], None]


@contextmanager
def matplotlib() -> Iterator[None]:
    """Draw with settings of our own, whatever the process and its user have set, and leave theirs as they were."""
    os.environ.setdefault("MPLCONFIGDIR", str(settings().cache.resolve() / "matplotlib"))
    import matplotlib

    with _ALONE, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box stands for what the font has not
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def png(title: str, facts: Sequence[str], drawings: Sequence[Drawing]) -> bytes:
    """Draw one below another, at twice the resolution of a screen, under a title and lines of what to know."""
    from matplotlib.figure import Figure

    heights = [0.55 + 0.18 * len(facts)]
    for one in drawings:
        heights += [0.45, one.height(WIDE), 0.2 + 0.15 * len(one.caption.splitlines())]
    figure = Figure(figsize=(WIDE, sum(heights)))
    figure.set_layout_engine("constrained", w_pad=0.12)
    head, *parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights, hspace=0).flat)
    head.text(0.013, 1 - 0.3 / heights[0], title, size=15, weight="bold", va="center")
    head.text(0.013, 1 - 0.55 / heights[0], "\n".join(facts), size=8, color=QUIET, va="top", linespacing=1.5)
    for above, middle, below, one in zip(parts[::3], parts[1::3], parts[2::3], drawings, strict=True):
        above.text(0.013, 0.35, one.title, size=11, weight="bold", va="center")
        one.paint(middle, WIDE)
        below.text(0.013, 1, one.caption, size=8, color=QUIET, va="top")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200, metadata={"Software": None})
    return file.getvalue()


def svg(drawing: Drawing, width: float, salt: str) -> str:
    """Draw as SVG that loads nothing and takes its colours and its font from the page's variables.

    Parameters
    ----------
    salt
        Another for each drawing of a page, so that no two define the same name.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = salt
    figure = Figure(figsize=(width, drawing.height(width)), layout="constrained")
    drawing.paint(figure, width)
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    text = re.sub(r"(?s)^.*?(?=<svg)|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", file.getvalue())
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', text, count=1)
    text = re.sub(r'<g id="tell:([^"]*)">', r'<g class="tell"><title>\1</title>', text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    text = re.sub(r"\n *(?=<)", "", text).replace(" \n", " ")
    names = {light: name for name, (light, _) in COLOURS.items()}
    return re.sub(r"(fill|stroke): (#\w{6})", lambda m: f"{m[1]}: var(--{names[m[2]]})" if m[2] in names else m[0], text)


def tell(axes: Axes, along: str, low: float, high: float, lines: Sequence[str]) -> None:
    """Let a band of a chart tell something on pointing: from low to high ``along`` x or y. A picture shows nothing of it."""
    from matplotlib.patches import Rectangle

    if along == "x":
        corner, size, across = (low, 0.0), (high - low, 1.0), axes.get_xaxis_transform()
    else:
        corner, size, across = (0.0, low), (1.0, high - low), axes.get_yaxis_transform()
    band = Rectangle(corner, *size, transform=across, facecolor="none", edgecolor="none", zorder=5, in_layout=False)
    band.set_gid("tell:" + "\n".join(lines))
    axes.add_artist(band)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Move places as little as it takes for neighbours to be a gap apart; their order stays.

    Examples
    --------
    >>> apart([1.0, 5.0, 5.0], 2.0)
    [1.0, 4.0, 6.0]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    clusters: list[tuple[float, int]] = []  # the middle of each, and how many are in it
    for i in order:
        clusters.append((places[i], 1))
        while len(clusters) > 1 and clusters[-1][0] - clusters[-2][0] < gap * (clusters[-1][1] + clusters[-2][1]) / 2:
            (above, m), (below, n) = clusters.pop(), clusters.pop()
            clusters.append(((above * m + below * n) / (m + n), m + n))
    spread = [middle + gap * (k - (count - 1) / 2) for middle, count in clusters for k in range(count)]
    return [place for _, place in sorted(zip(order, spread, strict=True))]
