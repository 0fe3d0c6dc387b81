"""Pictures of firing rates: by layer, over time, and what zeros leave of the products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...schemas import ConfigError, OpjouleError
from .bars import NAMED, Bars, draw_bars, numbers
from .canvas import COLOURS, ROW, assumed, canvas, name_room, short_names
from .maps import Grid, draw_map

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..counting.rates import Rates

PARTS = ("layers", "products", "time")

_LINES = 6
"""Rates over time of so many layers are lines, of more a heat map."""

Panel = tuple[float, "Callable[[Axes], None]"]
"""The height of a panel in inches, and what draws it."""


def rates_figure(found: Rates, of: str | None, *, width: float | None) -> Figure:
    """Draw firing rates, see `Rates.plot`."""
    if of not in (None, *PARTS):
        raise ConfigError(f"unknown of={of!r}: choose from {', '.join(PARTS)}")
    if of == "time" and found.steps.is_empty():
        raise OpjouleError(found.page(of).lead[0])
    if of is None and found.layers.is_empty():
        of = "products"
    panels = []
    if of in (None, "layers"):
        panels.append(_shares(found.layers, "rate", "firing rate", width))
    if of == "products":
        panels.append(_shares(found.products, "nonzero_share", "nonzero inputs", width))
    if of == "time" or (of is None and not found.steps.is_empty()):
        panels.append(_over_time(found.steps, width))
    page = found.page(of)
    lines = [*page.lead, *assumed(page), *page.notes]
    heights = [height for height, _ in panels]
    with canvas(heights, title=page.title, source=lines, width=width) as (figure, axes):
        for panel, (_, draw) in zip(axes, panels, strict=True):
            draw(panel)
    return figure


def _percent(value: float) -> str:
    return f"{100 * value:.6g}"


def _shares(frame: pl.DataFrame, column: str, label: str, width: float | None) -> Panel:
    """Return a bar for each row, in the order of the network."""
    bars = Bars(frame["module"].to_list(), {label: frame[column].to_list()}, f"{label} (%)")

    def draw(axes: Axes) -> None:
        draw_bars(axes, bars, width=width)
        numbers(axes.xaxis, _percent)
        if bars.dense:
            axes.set_ylabel(f"{frame.height} layers, as in the network")

    return bars.height(legend=False), draw


def _over_time(steps: pl.DataFrame, width: float | None) -> Panel:
    """Return the rates at each time step: lines of few layers, else a heat map."""
    layers = steps["module"].unique(maintain_order=True).to_list()
    if len(layers) <= _LINES:
        return 1.6 + 0.16 * -(-len(layers) // 2), lambda axes: _lines(axes, steps, width)
    wide = steps.pivot("time_step", index="module", values="rate", sort_columns=False)
    times = sorted(wide.columns[1:], key=int)
    grid = Grid(wide["module"].to_list(), times, wide.select(times).rows(), "time step",
                "layer" if len(layers) > NAMED else "", "firing rate (%)")  # fmt: skip
    height = 0.6 + min(3.0, ROW * len(layers))
    return height, lambda axes: draw_map(axes, grid, width=width, show=_percent)


def _lines(axes: Axes, steps: pl.DataFrame, width: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    handles, names = [], []
    for place, ((name,), rows) in enumerate(steps.group_by("module", maintain_order=True)):
        rates = [float("nan") if rate is None else rate for rate in rows["rate"]]
        (line,) = axes.plot(rows["time_step"].to_list(), rates, color=COLOURS[place], marker="o",
                            markersize=2.5, label="")  # fmt: skip
        handles.append(line)
        names.append(str(name))
    axes.set_xlabel("time step")
    axes.set_ylabel("firing rate (%)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    numbers(axes.yaxis, _percent)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if names:
        texts = short_names(names, name_room(width) * 3 // 4)
        axes.legend(handles, texts, loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
                    borderpad=0, borderaxespad=0.2)  # fmt: skip
