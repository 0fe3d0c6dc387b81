"""Straight lines between points, held at both ends: energies by the size of a memory or a width.

NumPy has it (`interp`), with the same arithmetic; to load NumPy takes longer than to estimate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import polars as pl


def interpolated(x: float, at: Sequence[float], of: Sequence[float]) -> float:
    """Return the value at x.

    Args:
        x: where.
        at: where the points are, rising.
        of: their values.
    """
    place = bisect_right(at, x) - 1
    if place < 0 or place == len(at) - 1:
        return of[max(place, 0)]
    return _slope(at, of, place) * (x - at[place]) + of[place]


def interpolation(x: pl.Expr, at: Sequence[float], of: Sequence[float]) -> pl.Expr:
    """Return the values at the numbers of a column, see `interpolated`."""
    found = pl.lit(of[-1], pl.Float64)
    for place in reversed(range(len(at) - 1)):
        line = _slope(at, of, place) * (x - at[place]) + of[place]
        found = pl.when(x < at[place + 1]).then(line).otherwise(found)
    return pl.when(x < at[0]).then(pl.lit(of[0], pl.Float64)).otherwise(found)


def _slope(at: Sequence[float], of: Sequence[float], place: int) -> float:
    return (of[place + 1] - of[place]) / (at[place + 1] - at[place])
