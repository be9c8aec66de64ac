"""How is a report shown in the Prefect UI?"""

from __future__ import annotations

import re
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from millrace.errors import MillraceError
from millrace.status import ModelStatus, Status


def show(stage: str, report: Any) -> None:
    """Log a report, and keep it as an artifact under the key ``<stage>-<dataset>``.

    Raises
    ------
    MillraceError
        When something in it did not work, so that the task is shown as failed; what worked is kept.
    """
    get_run_logger().info("%s: %s", stage, report)
    lines = "\n".join(f"- {line}" for line in re.split(r"; |\n", str(report)))
    create_markdown_artifact(f"**{stage} {report.dataset}**\n\n{lines}\n", key=_key(stage, report.dataset), _sync=True)
    problems = getattr(report, "problems", [])
    if problems:
        raise MillraceError("; ".join(problems))


def show_status(status: Status) -> None:
    """Keep where a dataset stands as an artifact: its accounts, and the race as a table."""
    rows = "\n".join(_row(name, model, name == status.champion) for name, model in sorted(status.models.items(), key=_by_loss))
    accounts = (
        f"{status.rows:,} rows = {status.events:,} events + {status.labels:,} labels + {status.quarantined:,} quarantined + "
        f"{status.duplicates:,} duplicates; {status.events_waiting:,} events and {status.labels_waiting:,} labels wait"
    )
    head = f"| model | {status.loss} loss | labels | seq | version |\n| --- | ---: | ---: | ---: | ---: |\n"
    problems = "".join(f"\n- ⚠ {problem}" for problem in status.problems)
    create_markdown_artifact(f"**{status.dataset}**\n\n{accounts}\n\n{head}{rows}\n{problems}", key=_key("status", status.dataset), _sync=True)


def _key(stage: str, dataset: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{stage}-{dataset}".lower()).strip("-")


def _by_loss(item: tuple[str, ModelStatus]) -> tuple[bool, float]:
    return item[1].loss is None, item[1].loss or 0.0


def _row(name: str, model: ModelStatus, champion: bool) -> str:
    loss = "–" if model.loss is None else f"{model.loss:.4f}"
    return f"| {name}{' ★' if champion else ''} | {loss} | {model.labelled:,} | {model.seq:,} | {model.version or '–'} |"
