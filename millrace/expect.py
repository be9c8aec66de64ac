"""What does a dataset expect of its rows?

A dataset's file declares it with Great Expectations' own expectations, by their names without ``expect_``:

>>> from millrace import expect
>>> expect.column_values_to_be_in_set("origin", ["EWR", "JFK", "LGA"], mostly=0.99)
expect.column_values_to_be_in_set('origin', ['EWR', 'JFK', 'LGA'], mostly=0.99)

Declaring imports nothing heavy: names and parameters are kept in a table here, which a test compares with
Great Expectations' own classes. :mod:`millrace.expectations` checks rows against what is declared.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import inspect
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.errors import DatasetError

# Parameters in the order in which they may be given by position; "=" marks those that may be left out.
_BOUNDS = "min_value= max_value= strict_min= strict_max="
_BATCH = {  # said of all rows together
    "column_distinct_values_to_be_in_set": "column value_set",
    "column_distinct_values_to_contain_set": "column value_set",
    "column_distinct_values_to_equal_set": "column value_set",
    "column_kl_divergence_to_be_less_than": "column partition_object= threshold= internal_weight_holdout= "
    "tail_weight_holdout= bucketize_data= min_value= max_value=",
    "column_max_to_be_between": f"column {_BOUNDS}",
    "column_mean_to_be_between": f"column {_BOUNDS}",
    "column_median_to_be_between": f"column {_BOUNDS}",
    "column_min_to_be_between": f"column {_BOUNDS}",
    "column_most_common_value_to_be_in_set": "column value_set ties_okay=",
    "column_proportion_of_non_null_values_to_be_between": f"column {_BOUNDS}",
    "column_proportion_of_unique_values_to_be_between": f"column {_BOUNDS}",
    "column_quantile_values_to_be_between": "column quantile_ranges allow_relative_error=",
    "column_stdev_to_be_between": f"column {_BOUNDS}",
    "column_sum_to_be_between": f"column {_BOUNDS}",
    "column_unique_value_count_to_be_between": f"column {_BOUNDS}",
    "table_row_count_to_be_between": _BOUNDS,
    "table_row_count_to_equal": "value",
}
_SHAPE = {  # said of the columns that there are: no condition on rows
    "column_to_exist": "column column_index=",
    "column_type_to_be": "column type_",
    "table_column_count_to_be_between": "min_value= max_value=",
    "table_column_count_to_equal": "value",
    "table_columns_to_match_ordered_list": "column_list=",
    "table_columns_to_match_set": "column_set= exact_match=",
}
_ROW = {  # said of each row, in one column: take mostly
    "column_value_lengths_to_be_between": f"column {_BOUNDS}",
    "column_value_lengths_to_equal": "column value",
    "column_value_z_scores_to_be_less_than": "column threshold double_sided",
    "column_values_to_be_between": f"column {_BOUNDS}",
    "column_values_to_be_dateutil_parseable": "column",
    "column_values_to_be_decreasing": "column strictly=",
    "column_values_to_be_in_set": "column value_set",
    "column_values_to_be_in_type_list": "column type_list=",
    "column_values_to_be_increasing": "column strictly=",
    "column_values_to_be_json_parseable": "column",
    "column_values_to_be_null": "column",
    "column_values_to_be_of_type": "column type_",
    "column_values_to_be_unique": "column",
    "column_values_to_match_json_schema": "column json_schema",
    "column_values_to_match_regex": "column regex=",
    "column_values_to_match_regex_list": "column regex_list match_on=",
    "column_values_to_match_strftime_format": "column strftime_format",
    "column_values_to_not_be_in_set": "column value_set",
    "column_values_to_not_be_null": "column",
    "column_values_to_not_be_outliers": "column method= multiplier=",
    "column_values_to_not_match_regex": "column regex",
    "column_values_to_not_match_regex_list": "column regex_list",
}
_RECORD = {  # said of each row, in several columns: take ignore_row_if and mostly
    "column_pair_values_a_to_be_greater_than_b": "column_A column_B or_equal=",
    "column_pair_values_to_be_equal": "column_A column_B",
    "column_pair_values_to_be_in_set": "column_A column_B value_pairs_set",
    "compound_columns_to_be_unique": "column_list",
    "multicolumn_sum_to_equal": "column_list sum_total",
    "multicolumn_values_to_be_equal": "column_list",
    "select_column_values_to_be_unique_within_record": "column_list",
}
_PARAMETERS: dict[str, str] = (
    {name: f"{own} row_condition=" for name, own in _BATCH.items()}
    | _SHAPE
    | {name: f"{own} mostly= row_condition=" for name, own in _ROW.items()}
    | {name: f"{own} ignore_row_if= mostly= row_condition=" for name, own in _RECORD.items()}
)

NAMES = tuple(sorted(_PARAMETERS))
"""Every expectation that can be declared, without its ``expect_``, in alphabetical order."""

IN_A_DATABASE = (
    "column_values_to_match_like_pattern",
    "column_values_to_match_like_pattern_list",
    "column_values_to_not_match_like_pattern",
    "column_values_to_not_match_like_pattern_list",
    "query_results_to_match_comparison",
    "table_row_count_to_equal_other_table",
)
"""Expectations that Great Expectations can check in an SQL database alone; they cannot be declared."""


class _Shown(reprlib.Repr):
    """Short: an expectation stands in the reasons of each row that breaks it, and a set may be long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 10
        self.maxstring = self.maxother = self.maxlong = 80

    def repr_datetime(self, value: datetime.datetime, level: int) -> str:
        return value.isoformat()

    def repr_date(self, value: datetime.date, level: int) -> str:
        return value.isoformat()


_SHOWN = _Shown()


def shown(value: Any) -> str:
    """Give a value as reasons show it: its ``repr``, cut short; a time in ISO 8601."""
    if isinstance(value, str | int | float) and len(text := repr(value)) <= _SHOWN.maxstring:
        return text  # most values; reprlib takes ten times as long
    return _SHOWN.repr(value)


@dataclass(frozen=True)
class Expectation:
    """One thing that a dataset expects: a value, without Great Expectations.

    Parameters
    ----------
    name
        Great Expectations' name without ``expect_``, such as ``"column_mean_to_be_between"``.
    arguments
        What it was declared with, by Great Expectations' names of the parameters, in their order.
    """

    name: str
    arguments: Mapping[str, Any]

    def __hash__(self) -> int:
        # Values may be lists, which have no hash; equal expectations have equal names of arguments.
        return hash((self.name, frozenset(self.arguments)))

    def __str__(self) -> str:
        """Give the declaration without ``expect.``, long sets cut short."""
        parts, by_position = [], True
        for parameter in signature(self.name).parameters.values():
            if parameter.name not in self.arguments:
                by_position = False
                continue
            by_position = by_position and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            value = shown(self.arguments[parameter.name])
            parts.append(value if by_position else f"{parameter.name}={value}")
        return f"{self.name}({', '.join(parts)})"

    def __repr__(self) -> str:
        return f"expect.{self}"

    @property
    def columns(self) -> list[str]:
        """The columns whose values it looks at, in the order of its arguments."""
        if self.name.startswith("table_"):  # its column_list is what the columns should be, not where to look
            return []
        one = [self.arguments[key] for key in ("column", "column_A", "column_B") if key in self.arguments]
        return one + list(self.arguments.get("column_list", ()))


class _UnknownExpectationError(DatasetError, AttributeError):
    """An AttributeError too, so that ``hasattr(expect, …)`` answers."""


@functools.cache
def signature(name: str) -> inspect.Signature:
    """Give the parameters of an expectation; those of a condition and ``description`` by keyword alone.

    Examples
    --------
    >>> str(signature("column_values_to_be_in_set"))
    '(column, value_set, *, mostly=None, row_condition=None, description=None)'
    """
    parameters = []
    by_position = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for word in [*_PARAMETERS[name].split(), "description="]:
        key, optional = word.rstrip("="), word.endswith("=")
        conditional = key in ("ignore_row_if", "mostly", "row_condition", "description")
        kind = inspect.Parameter.KEYWORD_ONLY if conditional else by_position
        parameters.append(inspect.Parameter(key, kind, default=None if optional else inspect.Parameter.empty))
    return inspect.Signature(parameters)


def __getattr__(name: str) -> Callable[..., Expectation]:
    if name.startswith("_"):  # Python asks modules for names of its own
        raise AttributeError(name)
    if name in IN_A_DATABASE:
        raise _UnknownExpectationError(
            f"expect.{name} can be checked in an SQL database alone; for patterns there are "
            "column_values_to_match_regex and column_values_to_not_match_regex, for counts "
            "table_row_count_to_be_between"
        )
    if name not in _PARAMETERS:
        near = difflib.get_close_matches(name.removeprefix("expect_"), NAMES, n=3)
        raise _UnknownExpectationError(
            f"unknown expectation {name!r}; "
            + (f"did you mean {' or '.join(map(repr, near))}? " if near else "")
            + "the names are Great Expectations' own without 'expect_'; dir(expect) lists them"
        )
    return _builder(name)


def __dir__() -> list[str]:
    return [*NAMES, "Expectation", "IN_A_DATABASE", "NAMES", "shown", "signature"]


@functools.cache
def _builder(name: str) -> Callable[..., Expectation]:
    def declare(*positional: Any, **named: Any) -> Expectation:
        try:
            arguments = signature(name).bind(*positional, **named).arguments
        except TypeError as error:
            raise DatasetError(f"expect.{name}: {error}; it is expect.{name}{signature(name)}") from None
        return Expectation(name, dict(arguments))

    declare.__name__ = declare.__qualname__ = name
    declare.__doc__ = f"Expect {name.replace('_', ' ')} (Great Expectations' ``expect_{name}``)."
    declare.__signature__ = signature(name)  # type: ignore[attr-defined]
    return declare
