"""Pictures of rooflines: what a device allows, and where the work of a trace stands under it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..timing.points import Roofs, roofs_of
from ..units import count_text
from .canvas import COLOURS, GREY, assumed, canvas, letters, shortened, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..timing.roofline import Roofline

BOUNDS = {"memory": COLOURS[0], "compute": COLOURS[5]}
"""The colour of what bounds a point."""

_PANEL = 2.5
_SMALLEST, _LARGEST = 6.0, 150.0
"""Areas of points in square points: of no time, and of all of it."""

_FONT = 6.0
_HALO = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.3}
_NAME = 22


def roofline_figure(found: Roofline, *, labels: int, width: float | None) -> Figure:
    """Draw a roofline, see `Roofline.plot`."""
    roofs = roofs_of(found)
    page = found.page()
    lines = [*assumed(page), *page.notes]
    with canvas([_PANEL], title=page.title, source=lines, width=width) as (figure, (axes,)):
        _frame(axes, roofs)
        _roofs(axes, roofs)
        _points(axes, roofs, labels, letters(figure.get_figwidth(), _FONT))
    return figure


def _frame(axes: Axes, roofs: Roofs) -> None:
    """Set up logarithmic axes that hold all points and the ridge of every roof."""
    ridges = [roofs.ridge(name) for name in roofs.peaks]
    logarithmic(axes, "x", [*roofs.points["intensity"], *ridges])
    logarithmic(axes, "y", [*roofs.points["flops_per_s"], *roofs.peaks.values()])
    axes.set_xlabel("intensity (FLOP/B)")
    axes.set_ylabel("FLOP/s at the roof")
    axes.grid(True)


def logarithmic(axes: Axes, way: str, values: Sequence[float]) -> None:
    """Make an axis logarithmic, over the decades around values, each named at most once."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.log10(max(values, default=1.0)) + 0.15  # room over what is largest
    last = max(low + 1, math.ceil(high))
    axis = axes.xaxis if way == "x" else axes.yaxis
    axes.set(**{f"{way}scale": "log", f"{way}lim": (10.0**low, 10.0**last)})
    every = max(1, (last - low) // 5)
    axis.set_major_locator(FixedLocator([10.0**n for n in range(low, last + 1, every)]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _decade(value)))
    axis.set_minor_formatter(NullFormatter())


def _decade(value: float) -> str:
    if value < 1:
        return f"{value:.1g}"
    return count_text(value).replace(".00", "").replace(",", "").replace("10.0", "10")


def _roofs(axes: Axes, roofs: Roofs) -> None:
    low, high = axes.get_xlim()
    for name, peak in roofs.peaks.items():
        ridge = roofs.ridge(name)
        axes.plot([low, ridge, high], [low * roofs.bytes_per_s, peak, peak], color="black",
                  linewidth=1, label="")  # fmt: skip
        text = shown(f"{name} {count_text(peak, 'FLOP/s')}")
        axes.annotate(text, (high, peak), (-2, 1.5), textcoords="offset points", ha="right",
                      va="bottom", fontsize=_FONT)  # fmt: skip


def _points(axes: Axes, roofs: Roofs, labels: int, room: int) -> None:
    rows = roofs.points.to_dicts()
    sizes = [_SMALLEST + (_LARGEST - _SMALLEST) * min(row["share"] or 0.0, 1.0) for row in rows]
    colours = [BOUNDS.get(row["bound"] or "", GREY) for row in rows]
    axes.scatter(
        [row["intensity"] for row in rows], [row["flops_per_s"] for row in rows],
        s=sizes, c=colours, alpha=0.75, linewidths=0.4, edgecolors="white", zorder=3, label="",
    )  # fmt: skip
    bounds = [name for name in BOUNDS if any(row["bound"] == name for row in rows)]
    keys = [axes.scatter([], [], s=20, c=BOUNDS[name], label="") for name in bounds]
    if keys:
        axes.legend(keys, [f"bound by {name}" for name in bounds], loc="lower right",
                    borderpad=0.2, handletextpad=0.2)  # fmt: skip
    place = _placer(axes, room)
    for row, size in list(zip(rows, sizes, strict=True))[:labels]:
        text = shortened(row["name"], _NAME)
        at = (row["intensity"], row["flops_per_s"])
        where = place(at, len(text), math.sqrt(size) / 2)
        if where is not None:
            offset, side = where
            axes.annotate(text, at, offset, textcoords="offset points", ha=side, va="center",
                          fontsize=_FONT, zorder=4, bbox=_HALO)  # fmt: skip


def _placer(axes: Axes, room: int) -> Callable[[tuple[float, float], int, float], Any]:
    """Return what finds a free place for a label beside its point, in points from it, or None."""
    figure = axes.get_figure(root=True)
    width = (figure.get_figwidth() if figure is not None else 3.5) * 72 * 0.78
    height = _PANEL * 72 * 0.8
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    letter = width / 0.78 / max(room, 1)
    taken: list[tuple[float, float, float, float]] = []

    def place(at: tuple[float, float], size: int, radius: float) -> Any:
        x = width * math.log(at[0] / left) / math.log(right / left)
        y = height * math.log(at[1] / low) / math.log(high / low)
        long = size * letter
        for up in (0.0, 7.0, -7.0, 14.0, -14.0):
            for side, start in (("left", x + radius + 2), ("right", x - radius - 2 - long)):
                box = (start, start + long, y + up - 3.5, y + up + 3.5)
                free = all(box[1] < a or b < box[0] or box[3] < c or d < box[2]
                           for a, b, c, d in taken)  # fmt: skip
                if free and box[0] > 0 and box[1] < width and 0 < box[2] and box[3] < height:
                    taken.append(box)
                    return ((radius + 2) * (1 if side == "left" else -1), up), side
        return None

    return place
