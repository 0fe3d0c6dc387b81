"""Heat maps: a value for each cell of a grid, with the scale beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bars import NAMED, numbers, plain_number
from .canvas import MAP, name_room, short_names, shortened, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = 8


@dataclass(frozen=True)
class Grid:
    """Values of cells.

    Attributes:
        rows: names of the rows, the first on top.
        columns: names of the columns.
        values: of each row, of each column; None: not known, and left white.
        across: what the columns are.
        up: what the rows are.
        label: what the values are, with their unit.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    across: str
    up: str
    label: str


def draw_map(
    axes: Axes, grid: Grid, *, width: float | None, show: Callable[[float], str] = plain_number
) -> None:
    """Draw a grid."""
    unknown = float("nan")
    values = [[unknown if v is None else v for v in row] for row in grid.values]
    known = [v for row in grid.values for v in row if v is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    image = axes.imshow(values, cmap=MAP, aspect="auto", interpolation="nearest",
                        vmin=low, vmax=high if high > low else low + (abs(low) or 1.0))  # fmt: skip
    axes.spines[:].set_visible(False)
    axes.set_xlabel(shown(grid.across))
    axes.set_ylabel(shown(grid.up))
    every = max(1, -(-len(grid.columns) // _TICKS))
    places = range(0, len(grid.columns), every)
    axes.set_xticks(places, [shortened(grid.columns[place], 8) for place in places])
    if len(grid.rows) > NAMED:
        numbers(axes.yaxis, plain_number)
    else:
        axes.set_yticks(range(len(grid.rows)), short_names(grid.rows, name_room(width)))
    axes.tick_params(length=0)
    if axes.figure is not None:
        scale = axes.figure.colorbar(image, ax=axes, pad=0.02)
        scale.set_label(shown(grid.label))
        scale.outline.set_visible(False)
        numbers(scale.ax.yaxis, show)
