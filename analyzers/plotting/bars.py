"""Horizontal bars: the largest rows of a frame, each in parts, and the rest as others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .canvas import COLOURS, GREY, ROW, name_room, short_names, shortened, shown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

MOST = 12
"""Bars of a picture, the others apart."""

NAMED = 30
"""So many bars carry their names; more of them are a profile."""

_AXIS = 0.42
_LEGEND = 0.16
_COLUMNS = 3
_HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Bars:
    """Bars below each other, the first on top.

    Attributes:
        names: of each bar.
        parts: name of a part -> its length in each bar; None: not known.
        label: of the axis, with its unit.
        spread: a deviation of each bar's whole length; None: there is none.
    """

    names: Sequence[str]
    parts: Mapping[str, Sequence[float | None]]
    label: str
    spread: Sequence[float | None] | None = None

    @property
    def dense(self) -> bool:
        """Tell whether there are too many bars for names."""
        return len(self.names) > NAMED

    def height(self, *, legend: bool = True) -> float:
        """Return the inches that the bars take, with their axis and a legend."""
        rows = 2.0 if self.dense else ROW * max(len(self.names), 1) + 0.1
        return rows + _AXIS + (_LEGEND * self.legend_rows if legend else 0.0)

    @property
    def legend_rows(self) -> int:
        """Lines of a legend of the parts; a single part needs none."""
        return -(-len(self.parts) // _COLUMNS) if len(self.parts) > 1 else 0


def largest(frame: pl.DataFrame, name: str, values: Sequence[str], most: int) -> pl.DataFrame:
    """Return the largest rows by the sum of their values, and one row for the others.

    Args:
        frame: the rows.
        name: the column that names them.
        values: what is added up of the others.
        most: rows that stay.
    """
    import polars as pl

    if not values:
        return frame.select(name)
    size = pl.sum_horizontal(pl.col(values).abs())
    rows = frame.select(name, *values).sort(size, descending=True, maintain_order=True)
    if rows.height <= most + 1:
        return rows
    rest = rows[most:]
    others = rest.select(pl.lit(f"{rest.height} others").alias(name), pl.col(values).sum())
    return pl.concat([rows[:most], others], how="vertical_relaxed")


def draw_bars(
    axes: Axes,
    bars: Bars,
    *,
    width: float | None = None,
    colours: Sequence[str | Sequence[str]] = COLOURS,
    legend: bool = True,
) -> None:
    """Draw bars in parts from the left to the right; the parts of a bar are signed alike.

    Args:
        axes: where.
        bars: what.
        width: of the picture, in inches.
        colours: of each part; of a part one for each bar, or one for all.
        legend: name the parts, if there are several.
    """
    places = list(range(len(bars.names)))
    ends = [0.0] * len(places)
    drawn = []
    for number, (part, values) in enumerate(bars.parts.items()):
        lengths = [value or 0.0 for value in values]
        made = axes.barh(
            places, lengths, left=ends, height=1.0 if bars.dense else 0.72, label="",
            color=colours[number % len(colours)], linewidth=0,
            hatch=_HATCHES[number // len(colours) % len(_HATCHES)],
        )  # fmt: skip
        drawn.append((made, shortened(part, 24)))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    reach = ends
    if bars.spread is not None:
        spread = [float("nan") if value is None else value for value in bars.spread]
        reach = [end + (each or 0.0) for end, each in zip(ends, bars.spread, strict=True)]
        axes.errorbar(ends, places, xerr=spread, fmt="none", ecolor="black", elinewidth=0.7,
                      capsize=1.5)  # fmt: skip
    _mark_unknown(axes, bars)
    _axes(axes, bars, width)
    _limits(axes, min(ends, default=0.0), max(reach, default=0.0))
    if legend and len(drawn) > 1:
        handles, texts = zip(*drawn, strict=True)
        axes.legend(handles, texts, loc="lower left", bbox_to_anchor=(0, 1), ncols=_COLUMNS,
                    borderpad=0, borderaxespad=0.2)  # fmt: skip


def write_ends(axes: Axes, lengths: Sequence[float | None], texts: Sequence[str]) -> None:
    """Write a text behind the end of each bar whose length is known, and make room for it."""
    from matplotlib.transforms import offset_copy

    figure = axes.get_figure(root=True)
    beside = offset_copy(axes.transData, figure, x=2, y=0, units="points")
    for place, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        if length is not None:
            axes.text(max(length, 0.0), place, shown(text), va="center", transform=beside,
                      fontsize="small")  # fmt: skip
    low, high = axes.get_xlim()
    axes.set_xlim(low, low + (high - low) * 1.35)


def numbers(axis: Any, show: Callable[[float], str]) -> None:
    """Let an axis write its numbers in a way; at most six of them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))


def plain_number(value: float) -> str:
    """Return a round number as an axis shows it: 1.5, 20, 1e-07."""
    return f"{value:.6g}"


def _limits(axes: Axes, low: float, high: float) -> None:
    """Let an axis begin at 0 and end a little behind the longest bar."""
    low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low)
    if room:
        axes.set_xlim(low - (room if low < 0 else 0.0), high + (room if high > 0 else 0.0))
        return
    axes.set_xlim(0, 1)
    axes.set_xticks([0])


def _axes(axes: Axes, bars: Bars, width: float | None) -> None:
    axes.set_xlabel(shown(bars.label))
    axes.grid(axis="x")
    numbers(axes.xaxis, plain_number)
    edge = 0.5 if len(bars.names) > 1 else 0.75
    axes.set_ylim(max(len(bars.names), 1) - 1 + edge, -edge)
    if bars.dense:
        axes.set_ylabel(f"{len(bars.names)} rows, from the top")
        numbers(axes.yaxis, plain_number)
        return
    axes.set_yticks(range(len(bars.names)), short_names(bars.names, name_room(width)))
    axes.tick_params(axis="y", length=0)


def _mark_unknown(axes: Axes, bars: Bars) -> None:
    if bars.dense:
        return
    for place in range(len(bars.names)):
        if all(values[place] is None for values in bars.parts.values()):
            axes.text(0, place, " ?", va="center", color=GREY)
