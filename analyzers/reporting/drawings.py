"""Drawings of a page as numbers: where lines, points and their labels stand in an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..text import plain
from ..units import count_text, ratio_text, share_text

if TYPE_CHECKING:
    from ..timing.points import Roofs

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 14, 44
_NAMED = 6
"""So many points of a roofline carry their names, those that take longest."""


class Mark(NamedTuple):
    """A text at a place."""

    x: float
    y: float
    text: str


class Point(NamedTuple):
    """A module in a roofline: its place, its size, what bounds it, what it is, its label or ""."""

    x: float
    y: float
    radius: float
    bound: str
    title: str
    label: str
    before: bool
    """The label stands to the left of the point."""


class Chart(NamedTuple):
    """A roofline on logarithmic axes."""

    roofs: Sequence[str]
    """Points of each line, as SVG has them."""
    names: Sequence[Mark]
    points: Sequence[Point]
    across: Sequence[Mark]
    up: Sequence[Mark]


def roofline_chart(roofs: Roofs) -> Chart | None:
    """Return a roofline as a drawing; None where nothing has a point."""
    rows = roofs.points.to_dicts()
    if not rows or not roofs.peaks:
        return None
    ridges = [roofs.ridge(name) for name in roofs.peaks]
    xs = _decades([row["intensity"] for row in rows] + ridges)
    ys = _decades([row["flops_per_s"] for row in rows] + list(roofs.peaks.values()))

    def x(value: float) -> float:
        return _at(value, xs, LEFT, WIDTH - RIGHT)

    def y(value: float) -> float:
        return _at(value, ys, HEIGHT - BOTTOM, TOP)

    lines, names = [], []
    for name, peak in roofs.peaks.items():
        low = max(10.0 ** xs[0], 10.0 ** ys[0] / roofs.bytes_per_s)
        corner = roofs.ridge(name)
        places = [(low, low * roofs.bytes_per_s), (corner, peak), (10.0 ** xs[1], peak)]
        lines.append(" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in places))
        names.append(Mark(WIDTH - RIGHT, round(y(peak) - 5, 1),
                          f"{plain(name)} {count_text(peak, 'FLOP/s')}"))  # fmt: skip
    points = [_point(row, place, x(row["intensity"]), y(row["flops_per_s"]))
              for place, row in enumerate(rows)]  # fmt: skip
    across = [Mark(round(x(10.0**n), 1), HEIGHT - BOTTOM + 16, _power(n))
              for n in range(xs[0], xs[1] + 1)]  # fmt: skip
    up = [
        Mark(LEFT - 8, round(y(10.0**n), 1), count_text(10.0**n)) for n in range(ys[0], ys[1] + 1)
    ]
    return Chart(lines, names, points, across, up)


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}"


def _point(row: dict[str, Any], place: int, x: float, y: float) -> Point:
    name, share = plain(row["name"]), row["share"] or 0.0
    title = (
        f"{name}: {ratio_text(row['intensity'])} FLOP/B, "
        f"{count_text(row['flops_per_s'], 'FLOP/s')} at the roof, {share_text(share)} of the time"
    )
    short = name if len(name) <= 24 else "..." + name[-21:]
    label = short if place < _NAMED and share >= 0.02 else ""
    radius = round(3 + 9 * math.sqrt(min(share, 1.0)), 1)
    before = x > (LEFT + WIDTH) / 2
    return Point(round(x, 1), round(y, 1), radius, row["bound"] or "", title, label, before)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that lie around values."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values)) + 1e-9))


def _at(value: float, decades: tuple[int, int], low: float, high: float) -> float:
    part = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return low + part * (high - low)


def sparkline(values: Sequence[float | None], highest: float) -> str:
    """Return the points of a line of 100 by 24, 0 at the bottom; what is not known is left out."""
    last = max(len(values) - 1, 1)
    return " ".join(
        f"{100 * place / last:.1f},{23 - 22 * value / (highest or 1.0):.1f}"
        for place, value in enumerate(values)
        if value is not None
    )
