"""Pictures of a paper's table: each estimator on a panel of its own, as ratios to the first row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...schemas import OpjouleError
from ..comparing.columns import NONE, cell_text, title_of
from ..units import ratio_text
from .bars import Bars, draw_bars, write_ends
from .canvas import canvas, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from ..comparing.table import Table

_ENERGY, _RATIO = "energy.", "ratio."
_PER_SAMPLE = ("flops", "macs", "acs", "synops", "bytes", "dense_macs", "effective_macs",
               "effective_acs")  # fmt: skip


def table_figure(found: Table, columns: Sequence[str] | None, *, width: float | None) -> Figure:
    """Draw the columns of a table, see `Table.plot`."""
    chosen = [name for name in columns or _energies(found) if _drawable(found, name)]
    if not chosen:
        raise OpjouleError("a picture of a table needs a column of numbers: an energy, flops, ...")
    page = found.page()
    names = found.frame["network"].to_list()
    panels = []
    for column in chosen:
        values = found.frame[column].to_list()
        first = 1.0 if column.startswith(_RATIO) else values[0]
        ratios = [None if not first or value is None else value / first for value in values]
        spread = found.frame.get_column(f"{column}_std", default=None)
        deviations = [None] * len(values) if spread is None else spread.to_list()
        texts = [cell_text(column, *each) for each in zip(values, deviations, strict=True)]
        read = list(zip(ratios, texts, strict=True))
        ends = [t if ratio is None else f"{ratio_text(ratio)} ({t})" for ratio, t in read]
        lengths = [0.0 if text == NONE else ratio for ratio, text in read]
        panels.append((Bars(names, {column: lengths}, f"by the value of {names[0]}"), ends))
    said = [line for line in found.footnotes if "±" in line]
    with canvas(
        [bars.height(legend=False) + 0.2 for bars, _ in panels],
        title=page.title, source=[*found.assumed, *said, *found.coverage], width=width,
    ) as (figure, axes):  # fmt: skip
        for panel, column, (bars, ends) in zip(axes, chosen, panels, strict=True):
            draw_bars(panel, bars, width=width)
            panel.axvline(1, color="black", linewidth=0.6, linestyle=":")
            if not bars.dense:
                write_ends(panel, next(iter(bars.parts.values())), ends)
            panel.set_title(shown(_heading(column, title_of(column), found.per)), loc="left")
    return figure


def _heading(column: str, title: str, per: str) -> str:
    """Return the heading of a panel: what a table calls the column, and what it speaks of."""
    name = column.removeprefix(_RATIO)
    if name.startswith(_ENERGY):
        title = f"{name.removeprefix(_ENERGY)}: energy"
    elif name not in _PER_SAMPLE:
        per = "total"
    return title.removesuffix(", ratio") + ("" if per == "total" else f" a {per}")


def _energies(found: Table) -> list[str]:
    """Return the energies of a table, those of which it has ratios too; else all numbers."""
    bare = dict.fromkeys(name.removeprefix(_RATIO) for name in found.columns)
    found_in = [n if n in found.frame.columns else f"{_RATIO}{n}" for n in bare]
    energies = [n for n in found_in if n.removeprefix(_RATIO).startswith(_ENERGY)]
    return energies or [n for n in found_in if n not in ("samples", "time_steps", "batch")]


def _drawable(found: Table, column: str) -> bool:
    return column in found.frame.columns and found.frame.schema[column].is_numeric()
