"""Pictures of counts: a counter by module, or by other keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError
from ..answers.tree import parents
from ..workload.modules import GLOBAL
from .axes import axis_of
from .bars import Bars, draw_bars, largest
from .canvas import assumed, canvas
from .energies import IN_ORDER, name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..counting.count import Counts

TITLES = {"flops": "FLOP", "bytes": "bytes", "synops": "SynOp", "macs": "MAC", "acs": "AC",
          "calls": "calls", "dense_macs": "dense MAC"}  # fmt: skip


def counts_figure(counts: Counts, figure: str, *, most: int, width: float | None) -> Figure:
    """Draw a counter, see `Counts.plot`."""
    if figure not in TITLES:
        raise ConfigError(f"unknown figure {figure!r}: choose from {', '.join(TITLES)}")
    frame = counts.frame
    keys = frame.columns[: frame.columns.index("calls")]
    name = figure if counts.per == "total" else f"{figure}_per_{counts.per}"
    rows = own(frame.select(*keys, value=pl.col(name).cast(pl.Float64)), keys)
    rows = rows.select(row=name_of(keys), value="value")
    unknown = rows["value"].null_count()
    if len(keys) != 1 or keys[0] not in IN_ORDER:
        rows = largest(rows.drop_nulls(), "row", ["value"], most)
    axis = axis_of(figure, TITLES[figure], rows["value"], counts.per)
    lengths = [None if value is None else value / axis.size for value in rows["value"]]
    bars = Bars(rows["row"].to_list(), {TITLES[figure]: lengths}, axis.label)
    page = counts.page(figure if figure in ("flops", "bytes", "synops", "macs", "acs") else "flops")
    told = [f"not known for {unknown} rows"] if unknown else []
    lines = [*page.lead, *assumed(page), *told, counts.coverage.line()]
    with canvas([bars.height(legend=False)], title=page.title, source=lines, width=width) as (
        drawn,
        (axes,),
    ):
        draw_bars(axes, bars, width=width)
    return drawn


def own(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return rows of modules without what the modules below them have; null: not known.

    Args:
        frame: the keys and `value`; rows that include those of modules below, if there is a row of
            everything, which goes; others are returned as they are.
        keys: what rows are told apart by.
    """
    if "module" not in keys or GLOBAL not in frame["module"]:
        return frame
    others = [key for key in keys if key != "module"]
    paths = frame["module"].unique(maintain_order=True).to_list()
    above = {path: parent or GLOBAL for path, parent in zip(paths, parents(paths), strict=True)}
    below = (
        frame.filter(pl.col("module") != GLOBAL)
        .with_columns(pl.col("module").replace_strict(above))
        .group_by("module", *others)
        .agg(
            below=pl.col("value").sum(),
            lost=pl.col("value").null_count(),
        )
    )
    told = frame.join(below, on=keys, how="left", nulls_equal=True, maintain_order="left")
    rest = pl.col("value") - pl.col("below").fill_null(0)
    outside = pl.when(pl.col("module") != GLOBAL).then("module")
    return (
        told.with_columns(value=pl.when(pl.col("lost").fill_null(0) == 0).then(rest))
        .with_columns(module=outside)
        .filter(pl.col("value").is_null() | (pl.col("value") != 0) | pl.col("module").is_not_null())
        .select(*keys, "value")
    )
