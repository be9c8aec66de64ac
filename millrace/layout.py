"""What columns has each table?

docs/architecture.md says what a row is, and who writes it.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from millrace import features, task
from millrace.casting import UTC_MICROSECONDS
from millrace.dataset import Dataset

NAMES = (
    "files",
    "quarantine",
    "events",
    "labels",
    "features",
    "predictions",
    "examples",
    "outcomes",
    "standings",
    "checkpoints",
    "definitions",
    "promotions",
    "interventions",
    "removals",
)


def schemas(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return every table's columns and types."""
    label = dataset.label_column.dtype
    text, whole, number, flag, time = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), UTC_MICROSECONDS
    raw = pl.Struct(dataset.event.dtypes)
    x = pl.Struct(features.schema(dataset))
    return {
        "files": {
            "number": whole, "name": text, "kind": text, "sha256": text, "bytes": whole, "modified": time,
            "received": time, "first_arrival": whole, "rows": whole, "good": whole, "quarantined": whole,
            "duplicates": whole, "nonfinite": whole, "extra": pl.List(text), "notes": pl.List(text), "clock": time, "path": text,
        },
        "quarantine": {
            "arrival": whole, "file": whole, "line": whole, "kind": text, "event_id": text, "raw": pl.Binary(),
            "reasons": pl.List(text), "stage": text, "at": time,
        },
        "events": {
            "arrival": whole, "event_id": text, "event_time": time, "clock": time, "file": whole, "line": whole, "raw": raw,
        },
        "labels": {
            "arrival": whole, "event_id": text, "label": label, "label_time": time, "label_source": text,
            "correction": flag, "clock": time, "file": whole, "line": whole,
        },
        "features": {
            "arrival": whole, "event_id": text, "event_time": time, "clock": time, "versions": text, "memory": text, "x": x,
        },
        "predictions": {
            "arrival": whole, "event_id": text, "event_time": time, "model": text, "version": whole, "seq": whole,
            "served": flag, "origin": text, "answered": flag, "at": time, **task.columns(dataset), "error": text,
        },
        "examples": {
            "seq": whole, "arrival": whole, "event_id": text, "event_time": time, "event_arrival": whole, "label": label,
            "label_time": time, "label_arrival": whole, "label_source": text, "weight": number, "clock": time, "x": x,
        },
        "outcomes": {
            "number": whole, "seq": whole, "arrival": whole, "event_id": text, "event_time": time, "event_arrival": whole,
            "label": label, "label_source": text, "label_time": time, "label_arrival": whole, "clock": time,
        },
        "standings": {
            "seq": whole, "model": text, "labelled": whole, "empty": whole, "loss": number, "recent_loss": number,
            "metrics": text, "clock": time, "sha256": text, "at": time, "outcome": whole, "paired": whole, "difference": number,
            "lower": number, "upper": number, "worse_since": time, "worse_over": text, "worse_labels": whole, "worse_by": number,
            "confusion": text, "environment": text, "rule": text,
        },
        "checkpoints": {
            "seq": whole, "model": text, "fingerprint": text, "environment": text, "sha256": text, "digest": text,
            "bytes": whole, "skipped": pl.List(pl.Struct({"seq": whole, "event_id": text, "error": text})),
            "skips": whole, "failing": whole, "parent": text, "clock": time, "version": whole, "run_id": text, "at": time,
        },
        "definitions": {
            "model": text, "fingerprint": text, "text": text, "environment": text, "doubts": pl.List(text), "at": time,
            "features": pl.List(text),
        },
        "promotions": {
            "seq": whole, "number": whole, "model": text, "before": text, "reason": text, "evidence": text,
            "clock": time, "at": time, "outcome": whole,
        },
        "interventions": {
            "number": whole, "action": text, "model": text, "version": whole, "outcome": whole, "seq": whole, "reason": text,
            "at": time,
        },
        "removals": {"number": whole, "version": whole, "model": text, "seq": whole, "at": time},
    }  # fmt: skip
