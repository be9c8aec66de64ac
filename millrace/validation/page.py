"""What was found by a validation, on one page that can be sent to anyone: it stands alone, and loads nothing."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.validation.canvas import COLOURS
from millrace.validation.charts import charts
from millrace.validation.view import View, every, moment, number, plain

if TYPE_CHECKING:
    from millrace.validation.kept import ValidateReport
    from millrace.validation.scores import Score

_STYLE = """
:root { --font: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color-scheme: light dark; %s }
@media (prefers-color-scheme: dark) { :root { %s } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 var(--font); text-size-adjust: 100%% }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1rem 4rem }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; text-wrap: balance }
h2 { margin: 3rem 0 .5rem; font-size: 1.1rem; line-height: 1.3 }
h3 { margin: 1.25rem 0 .25rem; font-size: .875rem; font-weight: 600; color: var(--quiet) }
p { margin: .5rem 0; max-width: 42rem; text-wrap: pretty }
.kind, figcaption, dt, th { color: var(--quiet); font-size: .8125rem }
.kind { margin: 0 0 .25rem }
.finding { margin: 1rem 0 1.5rem; font-size: 1.125rem }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem 1.5rem; margin: 0;
  padding: .75rem 0; border: solid var(--rule); border-width: 1px 0 }
dd { margin: 0; font-size: .9375rem; line-height: 1.35 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%%; font-size: .875rem; font-variant-numeric: tabular-nums }
th, td { padding: .375rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule) }
th { font-weight: 500; line-height: 1.2; vertical-align: bottom; white-space: normal }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; padding-left: 0; background: var(--paper) }
td small { color: var(--quiet); font-size: .75rem }
.best { font-weight: 650 }
.dot { display: inline-block; width: .6em; height: .6em; margin-right: .5em; border-radius: 50%% }
figure { margin: 0 }
figcaption { white-space: pre-line }
svg { display: block; width: 100%%; height: auto; overflow: visible; stroke-linejoin: round }
.wide { display: none }
@media (min-width: 46rem) { .wide { display: block } .narrow { display: none } }
.tell path { pointer-events: all }
.tell:hover path { fill: var(--ink) !important; fill-opacity: .07 }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--rule); border-radius: .375rem; font-size: .8125rem }
"""


def write(report: ValidateReport, path: Path) -> None:
    """Write a report as one HTML file; the same report gives the same bytes.

    It is readable on a phone and on a desk, in light and in dark. Pointing at a chart tells its numbers.
    """
    path.write_text(_page(report), encoding="utf-8")


def _page(report: ValidateReport) -> str:
    view = View(report)
    parts = [
        f"<header><p class=kind>Ad-hoc progressive validation</p><h1>{_text(view.title)}</h1>",
        f"<p class=finding>{_text(view.finding)}</p>",
        "<dl>"
        + "".join(f"<div><dt>{_text(what)}</dt><dd>{_text(how)}</dd></div>" for what, how in view.facts.items())
        + "</dl></header>",
        *_scores(view),
        *_charts(report),
        *_segments(view),
        *_section("What to know of it", [f"<p>{_text(note)}</p>" for note in (*report.notes, *report.problems)]),
        *_section(f"To hand it on: add this to the file of {_text(report.dataset)}", _lines(report)),
    ]
    light, dark = (" ".join(f"--{name}: {pair[i]};" for name, pair in COLOURS.items()) for i in (0, 1))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_text(view.title)}</title>\n<style>{_STYLE % (light, dark)}</style></head>\n"
        f"<body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )


def _text(text: object) -> str:
    return html.escape(str(text))


def _section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """Yield a title and what is below it; nothing where there is nothing."""
    if parts := list(parts):
        yield f"<section><h2>{title}</h2>"
        yield from parts
        yield "</section>"


def _lines(report: ValidateReport) -> Iterator[str]:
    if report.lines:
        yield f"<pre><code>{_text(report.lines)}</code></pre>"


def _charts(report: ValidateReport) -> Iterator[str]:
    for chart in charts(report):
        figure = f"<div class=wide>{chart.wide}</div><div class=narrow>{chart.narrow}</div>"
        caption = f"<figcaption>{_text(chart.caption)}</figcaption>"
        yield from _section(_text(chart.title), [f"<figure>{figure}{caption}</figure>"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def _name(view: View, model: str) -> str:
    colour = view.colour(model) if model in view.models else "rule"
    return f'<span class=dot style="background: var(--{colour})"></span>{_text(plain(model))}'


def _best(text: str, *, best: bool) -> str:
    return f"<span class=best>{text}</span>" if best else text


def _scores(view: View) -> Iterator[str]:
    """Yield a table of each stretch, all of them together first."""
    by: dict[tuple[object, object], list[Score]] = {}
    for score in view.report.scores:
        by.setdefault((score.start, score.end), []).append(score)
    tables = []
    for scores in by.values():
        if len(by) > 1:
            tables.append(f"<h3>{moment(scores[0].start)} to {moment(scores[0].end)}</h3>")
        tables.append(_stretch(view, scores))
    return _section("Scores", tables)


def _stretch(view: View, scores: list[Score]) -> str:
    metrics = list(dict.fromkeys(name for score in scores for name in score.metrics))
    least = min((score.loss for score in scores if score.loss is not None), default=None)
    empty, skipped = any(score.empty for score in scores), any(score.skipped for score in scores)
    heads = ["model", "refreshed", f"{view.report.loss} loss", f"better than {plain(view.report.against)}", *metrics, "labels"]
    heads += [*(["empty"] if empty else []), *(["skipped"] if skipped else []), "refreshes", "learning"]
    rows = []
    for score in scores:
        row = [
            _name(view, score.model),
            _text(every(score.cadence)),
            _best(number(score.loss), best=score.loss is not None and score.loss == least),
        ]
        row += [_gain(score), *(number(score.metrics.get(name)) for name in metrics), f"{score.labelled:,}"]
        row += [*([f"{score.empty:,}"] if empty else []), *([f"{score.skipped:,}"] if skipped else [])]
        rows.append([*row, f"{score.refreshes:,}", "–" if math.isnan(score.seconds) else f"{score.seconds:,.1f} s"])
    return _table(heads, rows)


def _gain(score: Score) -> str:
    if score.gain is None:
        return "–"
    gain, low, high = (number(one, signed=True) for one in (score.gain.gain, score.gain.low, score.gain.high))
    return f"{gain} <small>{low} to {high}</small>"


def _segments(view: View) -> Iterator[str]:
    """Yield a table of the segments at each cadence."""
    tables = []
    for cadence in view.cadences:
        if not (segments := view.parts(cadence, "segments")):
            continue
        if len(view.cadences) > 1:
            tables.append(f"<h3>{_text(every(cadence))}</h3>")
        rows = []
        for of, parts in segments.items():
            least = min(part.loss for part in parts.values())
            labelled = max(part.labelled for part in parts.values())
            found = [parts.get(model) for model in view.models]
            losses = ["–" if part is None else _best(number(part.loss), best=part.loss == least) for part in found]
            rows.append([_text(plain(of, 60)), f"{labelled:,}", *losses])
        tables.append(_table([plain(view.report.by), "labels", *map(plain, view.models)], rows))
    return _section(f"Segments by {_text(plain(view.report.by))}", tables)
