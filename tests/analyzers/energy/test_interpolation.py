"""Interpolation against NumPy's, bit by bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opjoule.analyzers.energy.interpolation import interpolated, interpolation

POINTS = st.lists(st.floats(0, 1e9), min_size=1, max_size=6, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(POINTS, st.lists(st.floats(0, 1e3), min_size=6, max_size=6), st.lists(st.floats(-1, 2e9)))
def test_it_is_what_numpy_interpolates(at, values, where):
    of, where = values[: len(at)], [*where, *at]
    theirs = np.interp(where, at, of).tolist()
    if not np.isfinite(theirs).all():
        return  # points too near to each other for a slope: no machine has such
    assert [interpolated(x, at, of) for x in where] == theirs
    frame = pl.DataFrame({"x": where}, schema={"x": pl.Float64})
    assert frame.select(interpolation(pl.col("x"), at, of)).to_series().to_list() == theirs


@pytest.mark.parametrize(("x", "value"), [(0, 5.0), (1, 5.0), (3, 6.0), (5, 7.0), (9, 7.0)])
def test_between_two_points_it_is_a_line(x, value):
    """From (1, 5) to (5, 7): half a unit for each."""
    assert interpolated(x, (1, 5), (5.0, 7.0)) == value
