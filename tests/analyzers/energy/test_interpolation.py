"""Interpolation against NumPy's, bit by bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.analyzers.energy.interpolation import interpolated, interpolation

POINTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=6, unique=True).map(sorted)
VALUES = st.lists(st.floats(0, 1e3), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(POINTS, VALUES, st.lists(st.floats(-1, 2e9), max_size=6))
def test_it_is_what_numpy_interpolates(at, values, where):
    """Between whole bytes or bits, as all machines have it."""
    of, where = values[: len(at)], [*where, *map(float, at)]
    theirs = np.interp(where, at, of).tolist()
    assert [interpolated(x, at, of) for x in where] == theirs
    frame = pl.DataFrame({"x": where})
    assert frame.select(interpolation(pl.col("x"), at, of)).to_series().to_list() == theirs


@pytest.mark.parametrize(("x", "value"), [(0, 5.0), (1, 5.0), (3, 6.0), (5, 7.0), (9, 7.0)])
def test_between_two_points_it_is_a_line(x, value):
    """From (1, 5) to (5, 7): half a unit for each."""
    assert interpolated(x, (1, 5), (5.0, 7.0)) == value
