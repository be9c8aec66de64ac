"""What a model is given of an event."""

from __future__ import annotations

import polars as pl

from millrace import features


def test_nulls_are_left_out_and_keys_are_in_the_order_of_the_columns() -> None:
    x = pl.DataFrame({"b": ["x", None, ""], "a": [1.0, 2.0, None], "c": [True, None, False]})
    assert [list(row.items()) for row in features.rows(x)] == [
        [("b", "x"), ("a", 1.0), ("c", True)],
        [("a", 2.0)],
        [("b", ""), ("c", False)],
    ]


def test_equal_texts_are_one_object_however_the_log_is_cut() -> None:
    """A dict then finds them without comparing letters."""
    first, second = (features.rows(pl.DataFrame({"airport": ["".join(("J", "F", "K"))]}))[0] for _ in range(2))
    assert next(iter(first)) is next(iter(second))
    assert first["airport"] is second["airport"]
