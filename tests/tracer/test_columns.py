"""Columns of numbers and lists: nulls, and numbers that do not fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from opjoule.tracer.columns import NULL, booleans, built, column, lists


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


CELLS = {
    pa.int16(): [7, None, -(1 << 15), 0],
    pa.int64(): [1 << 62, None, -1, np.int32(5)],
    pa.float64(): [0.5, None, float("inf"), -0.0, 3],
    pa.bool_(): [True, None, False, True, True, True, True, False, True],
    pa.string(): ["a", None, "", "\u00fc\u4e2d", "a"],
    pa.dictionary(pa.int32(), pa.string()): ["b", None, "", "a", "b"],
    pa.list_(pa.string()): [["a", None], None, [], ["b"]],
    pa.list_(pa.list_(pa.int64())): [[[1], None, []], None, []],
    pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]): [
        {"a": 1, "b": ["x"]}, None, {"b": None}, {"a": 2},
    ],
    pa.list_(pa.struct([("name", pa.string()), ("numel", pa.int64())])): [
        [{"name": "w", "numel": 3}, {"name": "b"}], [], None,
    ],
}  # fmt: skip
"""Type -> cells of it."""


@pytest.mark.parametrize("kind", CELLS, ids=str)
@pytest.mark.parametrize("take", [slice(None), slice(0), slice(1, 2)], ids=["all", "no", "null"])
def test_columns_are_those_that_arrow_makes(kind, take):
    cells = CELLS[kind][take]
    found, expected = built(cells, kind), pa.array(cells, kind)
    found.validate(full=True)
    assert (found.type, found.to_pylist()) == (kind, expected.to_pylist())
    assert found.null_count == expected.null_count


@pytest.mark.parametrize(
    ("cell", "kind", "error"),
    [(1 << 40, pa.int32(), OverflowError), (1 << 70, pa.int64(), OverflowError),
     (1.5, pa.int64(), TypeError), ("a", pa.float64(), ValueError), ("\udcff", pa.string(),
      UnicodeEncodeError)],
)  # fmt: skip
def test_a_cell_that_does_not_fit_is_refused(cell, kind, error):
    with pytest.raises(error):
        built([None, cell], kind)


def test_truth_values():
    flags = np.array([True, False, True])
    assert booleans(flags).to_pylist() == [True, False, True]
    assert booleans(flags, flags).to_pylist() == [None, False, None]
