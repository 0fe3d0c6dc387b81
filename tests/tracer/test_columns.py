"""Columns of numbers and lists: nulls, and numbers that do not fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from opjoule.tracer.columns import NULL, column, lists


@pytest.mark.parametrize("kind", [pa.int16(), pa.int32(), pa.int64()], ids=str)
def test_null_stays_null_in_every_width(kind):
    cells = np.array([[7, 1], [NULL, 1], [-3, 1]], np.int64)
    found = column(cells[:, 0], kind)
    assert (found.type, found.to_pylist()) == (kind, [7, None, -3])
    assert column(cells[:, 1], kind).to_pylist() == [1, 1, 1]
    assert column(cells[:0, 1], kind).to_pylist() == []


@pytest.mark.parametrize("number", [1 << 31, -(1 << 31) - 1, NULL + 1])
def test_a_number_that_does_not_fit_is_no_other_one(number):
    with pytest.raises(OverflowError, match="too large for int32"):
        column(np.array([0, number, NULL]), pa.int32())


def test_lists_are_cut_from_their_elements():
    kind = pa.list_(pa.int64())
    found = lists(np.array([2, NULL, 0, 1]), pa.array([5, 6, 7]), kind)
    found.validate(full=True)
    assert (found.type, found.to_pylist()) == (kind, [[5, 6], None, [], [7]])
    part = lists(np.array([1, 2]), pa.array([5, 6, 7, 8]).slice(1, 3), kind)
    assert part.to_pylist() == [[6], [7, 8]]
    none = np.array([], np.int64)
    assert lists(none, pa.array(none), kind).to_pylist() == []
    assert lists(np.array([NULL]), pa.array(none), kind).to_pylist() == [None]
