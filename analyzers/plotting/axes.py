"""Figures on an axis: one unit for all of them, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..units import scale_of


class Axis(NamedTuple):
    """What an axis says, and by what figures are divided to stand on it."""

    label: str
    size: float


def axis_of(figure: str, title: str, values: Iterable[float | None], per: str = "total") -> Axis:
    """Return the axis of some figures.

    Args:
        figure: as results call it: "flops", "bytes", "energy.compute".
        title: its name.
        values: the figures.
        per: what one of them speaks of.
    """
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    unit, size = scale_of(figure, largest)
    each = "" if per == "total" else f" a {per}"
    return Axis(f"{title}{each}{f' ({unit})' if unit else ''}", size)
