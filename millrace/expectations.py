"""Which rows break the dataset's expectations?

Great Expectations decides; nothing here judges a value. It is imported when there is something to check. An
expectation of each row marks the rows that break it, one of all rows together (a mean) the batch.
"""

from __future__ import annotations

import contextlib
import functools
import html
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from millrace.errors import DatasetError
from millrace.expect import Expectation, shown

_LOCK = threading.Lock()  # all checks share one data source, and all threads the filters of warnings
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
_OBSERVED = ("observed_value", "partial_unexpected_list", "partial_missing_list")
_WARNINGS = {  # what Great Expectations and the libraries under it say of themselves, not of the data
    "The condition_parser parameter is deprecated": DeprecationWarning,
    "Passing a string to the row_condition parameter": DeprecationWarning,
    "This pattern is interpreted as a regular expression, and has match groups": UserWarning,
    "Mean of empty slice|Degrees of freedom <= 0|invalid value encountered in": RuntimeWarning,
}


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Parameters
    ----------
    rows
        Position in the frame (from 0, ascending) → the reasons, one for each expectation that the row breaks.
    batch
        The expectations of all rows together that failed, each with what was observed.
    """

    rows: dict[int, list[str]] = field(default_factory=dict)
    batch: list[str] = field(default_factory=list)


def check(frame: pl.DataFrame, expectations: Sequence[Expectation], docs: Path | None = None, name: str = "events") -> Findings:
    """Check rows against expectations.

    With ``mostly``, rows are marked when the expectation as a whole fails. By Great Expectations' rules, a
    null in one column is passed over, but a pair with one null breaks what is expected of it, unless that is
    declared with ``ignore_row_if="either_value_is_missing"``.

    Parameters
    ----------
    frame
        The rows, any columns.
    expectations
        What is expected. A ``row_condition`` is in pandas' query language, such as ``"origin == 'JFK'"``.
    docs
        A folder for Great Expectations' Data Docs: the page of this check is added to it, and ``index.html``
        lists the pages, newest first. They load nothing from elsewhere. None writes nothing.
    name
        What the rows are, in Data Docs; also the folder of the pages.

    Raises
    ------
    DatasetError
        A column is not there, an argument is wrong, or the expectation cannot be applied to the column.

    Examples
    --------
    >>> from millrace import expect
    >>> flights = pl.DataFrame({"origin": ["JFK", "XXX"]})
    >>> check(flights, [expect.column_values_to_be_in_set("origin", ["EWR", "JFK", "LGA"])]).rows
    {1: ["expect column_values_to_be_in_set('origin', ['EWR', 'JFK', 'LGA']): got 'XXX'"]}
    """
    if not expectations or frame.is_empty():
        return Findings()
    for expectation in expectations:
        for column in expectation.columns:
            if column not in frame.columns and expectation.name != "column_to_exist":
                raise _broken(expectation, f"there is no column {column!r}", frame)
    with _LOCK, _quiet():
        result = _validate(frame, expectations)
        # Great Expectations answers in an order of its own.
        answers = sorted(result.results, key=lambda answer: answer.expectation_config.meta["position"])
        rows: dict[int, list[str]] = {}
        batch: list[str] = []
        for expectation, answer in zip(expectations, answers, strict=True):
            if raised := _raised(answer.exception_info):
                raise _broken(expectation, raised, frame)
            if answer.success:
                continue
            said = f"expect {expectation}"
            if positions := answer.result.get("unexpected_index_list"):
                for position, got in zip(positions, _got(frame, expectation.columns, positions), strict=True):
                    rows.setdefault(int(position), []).append(f"{said}: got {got}")
            else:
                batch.append(f"{said}: {_observed(answer.result)}")
        if docs is not None:
            _write(docs, name, frame.height, result)
    return Findings({position: rows[position] for position in sorted(rows)}, batch)


@functools.cache
def _batch_definition() -> Any:
    """Make the one data source that all checks share, since contexts keep what is added to them."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports what is deprecated
        import great_expectations as gx
        from great_expectations.data_context.types import base

    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),  # else it makes a folder for Data Docs
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("millrace").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("check")


def _validate(frame: pl.DataFrame, expectations: Sequence[Expectation]) -> Any:
    definition = _batch_definition()
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.v1_validator import Validator

    suite = gx.ExpectationSuite(name="expectations")
    for position, expectation in enumerate(expectations):
        arguments = dict(expectation.arguments) | {"meta": {"position": position}}
        if "row_condition" in arguments:
            arguments["condition_parser"] = "pandas"
        try:
            suite.expectations.append(get_expectation_impl(f"expect_{expectation.name}")(**arguments))
        except (TypeError, ValueError) as error:
            raise _broken(expectation, str(error), frame) from error
    # Not by way of a batch: each time that one is made, all of its values are hashed.
    rows = {"dataframe": _to_pandas(frame, expectations)}
    validator = Validator(batch_definition=definition, batch_parameters=rows, result_format=_RESULT_FORMAT)
    return validator.validate_expectation_suite(suite)


def _to_pandas(frame: pl.DataFrame, expectations: Sequence[Expectation]) -> Any:
    """Convert the columns that are looked at; the index, the position in the frame, comes back with rows."""
    import pandas as pd

    named = {column for expectation in expectations for column in expectation.columns}
    of_all = ("table_column", "column_to_exist")
    if any("row_condition" in e.arguments or e.name.startswith(of_all) for e in expectations):
        named = set(frame.columns)
    # Great Expectations compares values of two columns in a way that None does not bear, and NaN does.
    compared = {column for e in expectations if "column" not in e.arguments for column in e.columns}
    columns: dict[str, Any] = {}
    for column in frame.columns:
        values = frame[column]
        if column not in named:
            continue
        if values.dtype.is_integer() and values.has_nulls() and column not in compared:
            as_floats = values.cast(pl.Float64)  # what pandas makes of integers with nulls
            lossless = as_floats.cast(values.dtype, strict=False).equals(values)
            columns[column] = as_floats.to_pandas() if lossless else pd.Series(values.to_list(), dtype=object)
        elif values.dtype == pl.Date:
            columns[column] = values.to_numpy().astype(object)  # Timestamps do not compare with dates
        elif isinstance(values.dtype, pl.Categorical | pl.Enum):
            columns[column] = values.cast(pl.String).to_pandas()
        elif isinstance(values.dtype, pl.Decimal):
            columns[column] = values.cast(pl.Float64).to_pandas()
        else:
            columns[column] = values.to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(frame.height))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Great Expectations logs and warns of to itself: what matters is in its answers."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            for message, category in _WARNINGS.items():
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.setLevel(level)


def _raised(information: Mapping[str, Any]) -> str | None:
    """Give the message of what was raised, of the expectation or of one of its metrics."""
    parts = [information] if "raised_exception" in information else information.values()
    return next((part["exception_message"] for part in parts if part["raised_exception"]), None)


def _got(frame: pl.DataFrame, columns: Sequence[str], positions: Sequence[int]) -> Iterator[str]:
    for values in frame.select(columns)[positions].iter_rows():
        if len(columns) == 1:
            yield shown(values[0])
        else:
            yield ", ".join(f"{column} {shown(value)}" for column, value in zip(columns, values, strict=True))


def _observed(result: Mapping[str, Any]) -> str:
    found = {key.removeprefix("partial_").split("_")[0]: _plain(result.get(key)) for key in _OBSERVED}
    words = [f"{word} {shown(value)}" for word, value in found.items() if value not in (None, [])]
    return ", ".join(words) or "not so"


def _plain(value: Any) -> Any:
    """Make plain values of NumPy's and pandas'."""
    from great_expectations.util import convert_to_json_serializable

    return json.loads(json.dumps(convert_to_json_serializable(value)))


def _broken(expectation: Expectation, what: str, frame: pl.DataFrame) -> DatasetError:
    columns = ", ".join(f"{column} ({kind})" for column, kind in frame.schema.items())
    return DatasetError(f"expect.{expectation}: {' '.join(what.split())}; the columns are: {columns}")


_LISTED = 500  # pages, in the list of them
_HEAD = """<head><meta charset="UTF-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui; margin: auto; max-width: 75rem; padding: 1rem }}
h1, h4 {{ font-size: 1.4rem; margin: .3rem 0 }} h5 {{ font-size: 1.1rem; margin: 0 }} h6 {{ margin: .3rem 0 }}
ol, nav ul {{ display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0 }}
table {{ border-collapse: collapse; margin: .5rem 0 }} [id$="2-body"].table {{ width: 100% }}
td, th {{ border-top: 1px solid #8884; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }}
td span + span {{ margin-left: .6rem }} .alert {{ background: #8882; padding: .5rem }} a {{ color: #48e }}
.badge {{ background: #8883; padding: 0 .3rem }} .text-danger, .broken {{ color: #e44 }}
.text-success, .met {{ color: #2a5 }} .collapse {{ display: none }} .collapse:target {{ display: block }}
.fa-times::before {{ content: "✗" }} .fa-check-circle::before {{ content: "✓" }}
body:has(#option2:checked) tr:has(> .hide-succeeded-validation-target-child) {{ display: none }}
</style></head>"""


def _write(docs: Path, name: str, height: int, result: Any) -> None:
    """Write the page of a check as Great Expectations renders it, and the list of all pages."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for answer in result.results:
        for long in ("unexpected_list", "unexpected_index_list", "partial_unexpected_index_list"):
            answer.result.pop(long, None)
        # The pages would take data for HTML.
        answer.result = json.loads(html.escape(json.dumps(_plain(answer.result)), quote=False))
    result.suite_name = name
    result.meta["batch_spec"] = {"data_asset_name": f"{height} rows"}
    result.meta["run_id"] = {"run_name": f"{stamp[:19]}Z", "run_time": stamp}
    renderer, view = ValidationResultsPageRenderer(), DefaultJinjaPageView()
    page = view.render(renderer.render(result), show_how_to_buttons=False)
    verdict = "met" if result.success else "broken"
    (docs / name).mkdir(parents=True, exist_ok=True)
    file = f"{stamp.replace(':', '-')}-{verdict}.html"
    _put(docs / name / file, _alone(page, f"{name} {stamp}"))
    _put(docs / "index.html", _index(docs))


def _alone(page: str, title: str) -> str:
    """Make a page load nothing: its scripts, styles and pictures come from elsewhere."""
    page = re.sub(r"(?is)<head>.*?</head>", lambda _: _HEAD.format(title=html.escape(title)), page, count=1)
    page = re.sub(r"(?is)<script\b.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>", "", page)
    page = re.sub(r'<a\b[^>]*href="[./]*/expectations/[^"]*"[^>]*>(.*?)</a>', r"\1", page)
    return re.sub(r'href="[./]*/index\.html"', 'href="../index.html"', page)


def _index(docs: Path) -> str:
    pages = [page for page in docs.glob("*/*.html") if re.search(r"Z-(met|broken)$", page.stem)]
    pages.sort(key=lambda page: page.name, reverse=True)
    lines = []
    for page in pages[:_LISTED]:
        name, (stamp, verdict) = html.escape(page.parent.name), page.stem.rsplit("-", 1)
        lines.append(f'<tr><td><a href="{name}/{page.name}">{stamp}</a><td>{name}<td class="{verdict}">{verdict}\n')
    table = f"<table><tr><th>checked at (UTC)<th>rows<th>expectations\n{''.join(lines)}</table>"
    body = f"<h1>Data Docs</h1>{table}<p>{len(lines)} of {len(pages)} checks, the newest first.</p>"
    return f"<!DOCTYPE html>\n<html>{_HEAD.format(title='Data Docs')}<body>{body}</body></html>\n"


def _put(path: Path, text: str) -> None:
    """Write a file whole or not at all, beside others who write it."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
