"""How is a report shown in the Prefect UI?"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from prefect.artifacts import acreate_image_artifact, acreate_markdown_artifact
from prefect.logging import get_run_logger

from millrace.errors import MillraceError


def tell(stage: str, report: Any) -> None:
    """Log a report.

    Raises
    ------
    MillraceError
        When something in it did not work, so that the task is shown as failed; what worked is kept.
    """
    get_run_logger().info("%s: %s", stage, report)
    if problems := getattr(report, "problems", []):
        raise MillraceError("; ".join(problems))


async def show(stage: str, report: Any) -> None:
    """Log a report, and keep it as an artifact under the key ``<stage>-<dataset>``."""
    lines = (
        report.markdown() if hasattr(report, "markdown") else "\n".join(f"- {line}" for line in re.split(r"; |\n", str(report)))
    )
    await acreate_markdown_artifact(f"**{stage} {report.dataset}**\n\n{lines}\n", key=_key(stage, report.dataset))
    get_run_logger().info("%s: %s", stage, report)


async def picture(stage: str, dataset: str, path: Path) -> None:
    """Keep a picture (PNG) as an artifact under the key ``<stage>-<dataset>-picture``; it is in the artifact itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    await acreate_image_artifact(f"data:image/png;base64,{data}", key=_key(stage, dataset, "picture"))


def _key(*parts: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
