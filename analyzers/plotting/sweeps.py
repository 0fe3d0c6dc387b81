"""Pictures of sweeps: a line, a heat map, bars; and which constants decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..units import ratio_text
from .axes import Axis, axis_of
from .bars import Bars, draw_bars, largest, numbers, plain_number, write_ends
from .canvas import COLOURS, assumed, canvas, shown
from .maps import Grid, draw_map
from .rooflines import logarithmic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..sweeping.sweep import Sweep

_PANEL = 2.0
_WIDE = 50.0
"""Positive values that lie further apart than this factor stand on a logarithmic axis."""

NAME = "name"


def sweep_figure(found: Sweep, *, most: int, width: float | None) -> Figure:
    """Draw a sweep, or a sensitivity, see `Sweep.plot`."""
    page = found.page()
    lines = [*page.lead, *assumed(page), found.reports[0].coverage]
    frame = found.frame
    sheet: dict[str, Any] = {"title": page.title, "source": lines, "width": width}
    if "percent_per_percent" in frame.columns:
        return _tornado(frame, most, sheet)
    column = "total_pj" if found.per == "total" else f"per_{found.per}_pj"
    axis = axis_of("energy.", "energy", frame[column], found.per)
    fields = frame.columns[: frame.columns.index("total_pj")]
    frame = frame.with_columns(energy=pl.col(column) / axis.size)
    varied = [field for field in fields if field != NAME and frame[field].n_unique() > 1]
    once = frame.select(varied).is_unique().all() and NAME not in fields
    if len(varied) == 1 and once and frame.schema[varied[0]].is_numeric():
        return _line(frame.sort(varied[0]), varied[0], axis, sheet)
    if len(varied) == 2 and once:
        return _map(frame, varied, axis, sheet)
    return _rows(frame, fields, axis, sheet)


def _line(frame: pl.DataFrame, field: str, axis: Axis, sheet: dict[str, Any]) -> Figure:
    values = frame[field].cast(pl.Float64).to_list()
    known = [value for value in values if value is not None]
    with canvas([_PANEL], **sheet) as (figure, (axes,)):
        axes.plot(values, frame["energy"].to_list(), color=COLOURS[0], marker="o", markersize=3)
        if known and min(known) > 0 and max(known) > _WIDE * min(known):
            logarithmic(axes, "x", known)
            axes.set_xlim(min(known) / 1.3, max(known) * 1.3)
        else:
            numbers(axes.xaxis, plain_number)
        numbers(axes.yaxis, plain_number)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(shown(field))
        axes.set_ylabel(axis.label)
        axes.grid(True)
    return figure


def _map(frame: pl.DataFrame, fields: Sequence[str], axis: Axis, sheet: dict[str, Any]) -> Figure:
    up, across = fields
    rows, columns = _values(frame, up), _values(frame, across)
    cells = {(a, b): energy for a, b, energy in frame.select(up, across, "energy").iter_rows()}
    grid = Grid(
        [value_text(each) for each in rows], [value_text(each) for each in columns],
        [[cells.get((a, b)) for b in columns] for a in rows], across, up, axis.label,
    )  # fmt: skip
    with canvas([_PANEL + 0.3], **sheet) as (figure, (axes,)):
        draw_map(axes, grid, width=sheet["width"])
    return figure


def _values(frame: pl.DataFrame, field: str) -> list[Any]:
    found = frame[field].unique(maintain_order=True)
    return (found.sort() if found.dtype.is_numeric() else found).to_list()


def value_text(value: Any) -> str:
    """Return the value of a field as it is short."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rows(frame: pl.DataFrame, fields: Sequence[str], axis: Axis, sheet: dict[str, Any]) -> Figure:
    """Draw a bar for each configuration, in their order."""
    told = fields if NAME not in fields or frame[NAME].is_duplicated().any() else [NAME]
    names = [
        ", ".join(
            str(value) if field == NAME and value is not None else f"{field}={value_text(value)}"
            for field, value in row.items()
        )
        for row in frame.select(told).iter_rows(named=True)
    ]
    bars = Bars(names, {"energy": frame["energy"].to_list()}, axis.label)
    with canvas([bars.height(legend=False)], **sheet) as (figure, (axes,)):
        draw_bars(axes, bars, width=sheet["width"])
    return figure


def _tornado(frame: pl.DataFrame, most: int, sheet: dict[str, Any]) -> Figure:
    """Draw by how many percent the total grows with each constant, the most decisive on top."""
    name = "percent_per_percent"
    kept = frame.filter(pl.col(name) != 0)
    kept = kept if kept.height else frame
    rows = largest(kept, "constant", [name], most).head(most)
    values = rows[name].to_list()
    bars = Bars(rows["constant"].to_list(), {"share": values}, "% of the total, if it grows by 1 %")
    with canvas([bars.height(legend=False)], **sheet) as (figure, (axes,)):
        draw_bars(axes, bars, width=sheet["width"])
        axes.axvline(0, color="black", linewidth=0.6)
        if not bars.dense:
            write_ends(axes, values, [ratio_text(value) for value in values])
    return figure
