"""What does a person see in the terminal?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from millrace.additions import Addition
from millrace.clock import write_about, write_moment
from millrace.dataset import Dataset
from millrace.delays import Delays
from millrace.estimate import ENOUGH
from millrace.interventions import Intervention
from millrace.outlook import Outlook
from millrace.status import ModelStatus, Status

if TYPE_CHECKING:
    from millrace.new import NewReport
    from millrace.validation.kept import ValidateReport
    from millrace.validation.scores import Gain


def console() -> Console:
    """Return the terminal; wide enough for a table where it is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=140)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a model while long folds go on; nothing where there is no terminal."""
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        lines: dict[str, TaskID] = {}

        def tell(model: str, seq: int, head: int) -> None:
            if model not in lines:
                lines[model] = bar.add_task(model, total=head)
            bar.update(lines[model], completed=seq, total=head)

        yield tell


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def datasets(found: Sequence[Dataset]) -> None:
    """Show the datasets, a line each."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("dataset", "task", "models", "what it asks"):
        table.add_column(column, overflow="fold")
    for dataset in found:
        table.add_row(f"[bold]{dataset.name}[/]", dataset.task, ", ".join(dataset.racing), dataset.description)
    console().print(table)


def statuses(found: Sequence[Status]) -> None:
    """Show where all datasets stand, a line each."""
    table = _table("dataset", "events", "labels", "examples", "quarantined", "champion", "data until")
    for one in found:
        counts = [f"{n:,}" for n in (one.events, one.labels, one.examples, one.quarantined)]
        table.add_row(f"[bold]{one.dataset}[/]", *counts, one.champion or "–", write_moment(one.clock) or "–")
    console().print(table)


def status(one: Status) -> None:
    """Show where a dataset stands: the accounts, what waits, the race, and what is wrong."""
    out = console()
    out.print(accounts(one))
    if one.delays and one.delays.answers:
        out.print(delays(one.delays))
    out.print(race(one))
    if any(_is_open(model) for model in one.models.values()):
        out.print(outlook(one))
        out.print(f"[dim]{_how_estimated(one)}[/]", soft_wrap=True)
    if one.champion:
        since = f"since {write_moment(one.champion_since)}" if one.champion_since else "since the start"
        out.print(f"champion: [bold]{one.champion}[/], {since}: {one.champion_reason}")
    for order in (one.pinned, one.paused):
        if order:
            out.print(f"[yellow]![/] {escape(str(Intervention(**order)))}")
    if empty := {name: model.empty for name, model in one.models.items() if model.empty}:
        out.print(
            f"[dim]predictions without an answer, which cost the most: {', '.join(f'{n} {k:,}' for n, k in empty.items())}[/]"
        )
    for added in one.features_since.values():
        out.print(f"[dim]{escape(str(Addition(**added)))}[/]", soft_wrap=True)
    for problem in one.problems:
        out.print(f"[yellow]![/] {escape(problem)}")


def accounts(one: Status) -> Table:
    """Return the table of what came in and what became of it."""
    table = _table("rows", "", title=f"{one.dataset}: {one.rows:,} rows in {one.files:,} files")
    for name in ("events", "labels", "quarantined", "duplicates"):
        table.add_row(name, f"{getattr(one, name):,}")
    table.add_section()
    waiting = {"examples in the log": one.examples, "events waiting for a label": one.events_waiting}
    waiting |= {"answered events whose window is open": one.events_held} if one.events_held else {}
    waiting |= {"labels waiting for an event": one.labels_waiting, "labels that correct an earlier one": one.corrections}
    waiting |= {"labels that came after the window": one.late}
    for name, count in waiting.items():
        table.add_row(name, f"{count:,}")
    if one.memory:
        table.add_row("keys in memory", f"{one.memory['keys']:,} [dim]({one.memory['bytes'] / 1e6:,.1f} MB)[/]")
        table.add_row("events that memory saw late", f"{one.memory['late']:,}")
        table.add_row("events with a key that is null", f"{one.memory['null_keys']:,}")
    for reason, count in one.reasons.items():
        table.add_row(f"[dim]quarantined: {escape(reason)}[/]", f"[dim]{count:,}[/]")
    return table


def delays(found: Delays) -> Table:
    """Return the table of how long answers take, by class."""
    never = "" if found.unanswered is None else f"; never: {found.unanswered:.1%}"
    table = _table("answer", "of the last", "median after", "nine of ten within", title=f"answers, by their delay{never}")
    for one in found.classes:
        spans = ["–" if seconds is None else write_about(seconds) for seconds in (one.median, one.late)]
        table.add_row(escape(one.of), f"{one.answers:,}", *spans)
    return table


def outlook(one: Status) -> Table:
    """Return the table of what is known before all labels are there, and each cohort's loss: matured, then expected.

    Without a window nothing but the answers so far is known to be final, and they are one column.
    """
    biased = " (biased)" if one.delays and one.delays.differ else ""
    columns = (
        "model",
        *(["matured"] if one.window else []),
        f"so far{biased}",
        "estimate",
        "predictions that wait",
        "by cohort, then estimated",
    )
    table = _table(*columns, title=f"{one.loss} loss, while labels wait")
    known = [value for model in one.models.values() for _, value in _over_time(model)]
    for name, model in one.models.items():
        if (told := model.outlook) is not None:
            bars = [(matured, _bar(value, min(known), max(known))) for matured, value in _over_time(model)]
            drawn = "".join(bar for matured, bar in bars if matured), "".join(bar for matured, bar in bars if not matured)
            losses = [*([_number(model.loss)] if one.window else []), _number(told.loss_so_far), _estimate(told)]
            table.add_row(name, *losses, f"{told.waiting:,}", f"{drawn[0]} [dim]{drawn[1]}[/]")
    return table


def _is_open(model: ModelStatus) -> bool:
    """Tell whether a prediction waits for its label, or is answered while its window is open."""
    return model.outlook is not None and (model.outlook.waiting > 0 or model.outlook.labelled_so_far > model.labelled)


def _how_estimated(one: Status) -> str:
    biased = "; so far is biased, since answers of one class take longer than others" if one.delays and one.delays.differ else ""
    estimates = [model.outlook.estimate for model in one.models.values() if model.outlook and model.outlook.estimate]
    if not estimates:
        return f"there is no estimate for a regression: it gives no probabilities{biased}"
    if all(estimate.loss is None for estimate in estimates):
        return f"there is no estimate yet: {ENOUGH} events must have matured{biased}"
    return f"≈ is estimated from calibrated probabilities; ± is what nine of ten past cohorts came within{biased}"


def _over_time(model: ModelStatus) -> list[tuple[bool, float]]:
    """Return the last cohorts' mean losses, and whether they are matured; those that are not are estimates."""
    if model.outlook is None or model.outlook.estimate is None:
        return []
    last = model.outlook.estimate.cohorts[-30:]
    losses = [(one.loss is not None, one.estimate if one.loss is None else one.loss) for one in last]
    return [(matured, loss) for matured, loss in losses if loss is not None]


def _bar(value: float, low: float, high: float) -> str:
    return "▁▂▃▄▅▆▇█"[round(7 * (value - low) / (high - low)) if high > low else 0]


def _estimate(told: Outlook) -> str:
    if told.estimate is None or told.estimate.loss is None:
        return "–"
    return f"≈ {told.estimate.loss:.4f}" + ("" if told.estimate.error is None else f" ± {told.estimate.error:.4f}")


def race(one: Status) -> Table:
    """Return the table of the models, best first, each beside ``prior``."""
    metrics = list(dict.fromkeys(name for model in one.models.values() for name in model.metrics))
    stands = ("labels", "predicted", "seq", "version", "state")
    table = _table("model", f"{one.loss} loss", "recent", "beside prior", *metrics, *stands)
    prior = one.models.get("prior")
    for name, model in sorted(one.models.items(), key=lambda item: (item[1].loss is None, item[1].loss)):
        shown = f"[bold]{name}[/] ★" if name == one.champion else name
        values = [_number(model.metrics.get(metric)) for metric in metrics]
        counts = [f"{model.labelled:,}", f"{model.predictions:,}", f"{model.seq:,}"]
        version = "–" if model.version is None else f"v{model.version}"
        state = (model.digest or "–")[:8]
        table.add_row(
            shown, _number(model.loss), _number(model.recent_loss), _beside(model, prior), *values, *counts, version, state
        )
    return table


def new(report: NewReport) -> None:
    """Show what was found in a table of history, and how good models would have been."""
    out = console()
    for line in str(report).splitlines()[: len(report.found) + 1]:
        out.print(escape(line), soft_wrap=True)
    if report.validation:
        validation(report.validation)


def validation(report: ValidateReport) -> None:
    """Show what a validation has found: the scores, the segments, and how to hand on an idea that did best."""
    from millrace.validation.view import View

    out = console()
    out.print(scores(report))
    if report.by:
        out.print(segments(report))
    out.print(f"[bold]{escape(View(report).finding)}[/]", soft_wrap=True)
    for note in report.notes:
        out.print(f"[yellow]![/] {escape(note)}")
    if report.lines:
        out.print(f"[bold]The best is an idea. To let it race, add this to datasets/{report.dataset}.py:[/]\n")
        out.print(escape(report.lines), soft_wrap=True)
    if report.page:
        out.print(f"\n[dim]drawn: {report.page} and {report.picture}[/]", soft_wrap=True)


def scores(report: ValidateReport) -> Table:
    """Return the table of a validation's scores: a row a stretch, cadence and model."""
    metrics = list(dict.fromkeys(name for score in report.scores for name in score.metrics))
    stretches = dict.fromkeys((score.start, score.end) for score in report.scores)
    title = f"{report.dataset}: answers by {report.delay}, {report.start} start, log at seq {report.seq:,}"
    counts = ("labels", "empty", "refreshes", "learning")
    table = _table("model", "cadence", f"{report.loss} loss", f"better than {report.against}", *metrics, *counts, title=title)
    for stretch in stretches:
        inside = [score for score in report.scores if (score.start, score.end) == stretch]
        table.add_row(f"[dim]{' – '.join(f'{moment:%Y-%m-%d %H:%M}' for moment in stretch)}[/]")
        best = min((score.loss for score in inside if score.loss is not None), default=None)
        for score in inside:
            bold = "bold" if score.loss is not None and score.loss == best else None
            row = [score.model, score.cadence, _number(score.loss), _gain(score.gain)]
            row += [_number(score.metrics.get(metric)) for metric in metrics]
            row += [f"{score.labelled:,}", f"{score.empty:,}", f"{score.refreshes:,}", f"{score.seconds:,.1f} s"]
            table.add_row(*row, style=bold)
        table.add_section()
    return table


def _gain(gain: Gain | None) -> str:
    return "–" if gain is None else f"{gain.gain:+.4f} ± {gain.high - gain.gain:.4f}"


def segments(report: ValidateReport) -> Table:
    """Return the table of a validation's losses by segment: a column a segment."""
    names = list(dict.fromkeys(str(part.of) for score in report.scores for part in score.segments))
    table = _table("model", "cadence", *names, title=f"{report.loss} loss by {report.by}")
    for score in report.scores:
        found = {str(part.of): part.loss for part in score.segments}
        table.add_row(score.model, score.cadence, *[_number(found.get(name)) for name in names])
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value + 0.0:.4f}"  # no -0.0000


def _beside(model: ModelStatus, prior: ModelStatus | None) -> str:
    if model.loss is None or prior is None or not prior.loss:
        return "–"
    return f"{(model.loss / prior.loss - 1) * 100:+.1f}%"
