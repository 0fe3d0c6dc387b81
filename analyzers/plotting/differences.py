"""Pictures of comparisons: which modules a difference comes from, biggest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas.several import texts
from ..units import figure_text
from .axes import axis_of
from .bars import Bars, draw_bars, largest
from .canvas import COLOURS, assumed, canvas, shown
from .energies import name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..comparing.compare import Comparison

MORE, LESS = COLOURS[5], COLOURS[0]


def comparison_figure(
    found: Comparison,
    figures: Sequence[str],
    by: str | Sequence[str],
    *,
    most: int,
    width: float | None,
) -> Figure:
    """Draw the differences of some figures, see `Comparison.plot`."""
    keys = texts(by)
    rows = found.by(*keys, exclusive=True)
    panels = [_bars(found, rows, figure, keys, most) for figure in figures]
    unit = found.unit_line()
    page = found.page(figures)
    lines = [*([unit] if unit else []), *assumed(page), *(text for _, text in panels if text)]
    lines += [f"{name}: {side.coverage.line()}" for name, side in
              (("base", found.base), ("head", found.head))]  # fmt: skip
    heights = [bars.height(legend=False) + 0.15 for bars, _ in panels]
    with canvas(heights, title=page.title, source=lines, width=width) as (
        drawn,
        axes,
    ):
        for panel, figure, (bars, _) in zip(axes, figures, panels, strict=True):
            lengths = bars.parts["difference"]
            colours = [MORE if (length or 0) > 0 else LESS for length in lengths]
            draw_bars(panel, bars, width=width, colours=[colours], legend=False)
            panel.axvline(0, color="black", linewidth=0.6)
            panel.set_title(_headline(found, figure), loc="left")
    return drawn


def _bars(
    found: Comparison, rows: pl.DataFrame, figure: str, keys: Sequence[str], most: int
) -> tuple[Bars, str]:
    """Return the bars of a figure, and what they leave out."""
    name = f"{figure}_difference"
    told = rows.select(row=name_of(keys), value=pl.col(name).cast(pl.Float64))
    unknown = told["value"].null_count()
    changed = largest(told.filter(pl.col("value") != 0), "row", ["value"], most)
    axis = axis_of(figure, f"{_title(figure)}, head - base", changed["value"], found.per)
    lengths = [value / axis.size for value in changed["value"]]
    text = f"{figure}: difference not known for {unknown} rows" if unknown else ""
    return Bars(changed["row"].to_list(), {"difference": lengths}, axis.label), text


def _title(figure: str) -> str:
    units = {"flops": "FLOP", "synops": "SynOp", "macs": "MAC", "acs": "AC"}
    return units.get(figure, figure.replace("energy.", "energy, "))


def _headline(found: Comparison, figure: str) -> str:
    """Return both sides of a figure, and whether anything changed."""
    total, show = found.totals[figure], figure_text(figure)
    change = (
        ""
        if total.difference is None
        else f" ({'+' if total.difference > 0 else ''}"
        + (f"{show(total.difference)})" if total.difference else "equal)")
    )
    return shown(f"{_title(figure)}: {show(total.base)} to {show(total.head)}{change}")
