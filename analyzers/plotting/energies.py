"""Pictures of estimates: energy by module and part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import OpjouleError
from ...schemas.several import texts
from ..frames import added_up
from ..units import energy_text
from ..workload.divisors import spread_text
from .axes import axis_of
from .bars import Bars, draw_bars, largest
from .canvas import assumed, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..energy.estimators import Energies
    from ..energy.report import EnergyReport

_EACH = 5
"""Bars of a panel, where each estimator has one."""

_PARTS = 8
"""Parts with a colour of their own; the smallest beyond them are one."""

IN_ORDER = ("step", "sample", "rank")
"""Keys whose rows stand in their own order."""


def report_figure(
    report: EnergyReport,
    by: str | Sequence[str],
    *,
    per: str | None,
    spread: bool,
    most: int,
    width: float | None,
) -> Figure:
    """Draw an estimate, see `EnergyReport.plot`."""
    keys, per = _asked(by, per or report.per, spread)
    page = report.page(keys, per=per, spread=spread)
    bars = _bars(report, keys, per, spread, most)
    lines = [*page.lead, *assumed(page), *([report.coverage] if report.coverage else [])]
    with canvas([bars.height()], title=page.title, source=lines, width=width) as (figure, (axes,)):
        draw_bars(axes, bars, width=width)
    return figure


def energies_figure(
    found: Energies,
    by: str | Sequence[str],
    *,
    per: str | None,
    spread: bool,
    most: int | None,
    width: float | None,
) -> Figure:
    """Draw estimates below each other, each on an axis of its own, see `Energies.plot`."""
    if not found:
        raise OpjouleError("there is nothing to draw: no estimator applies")
    panels, titles = [], []
    lines: list[str] = []
    for name, report in found.items():
        keys, unit = _asked(by, per or report.per, spread)
        if spread and not lines:
            lines.append(spread_text(report.sampled, unit))
        panels.append(_bars(report, keys, unit, spread, most or _EACH))
        each = "" if unit == "total" else f" a {unit}"
        titles.append(f"{name}: {energy_text(report.each_pj(unit))}{each}")
        if report.coverage:
            lines.append(f"{name}: {report.coverage}")
    page = found.page(by)
    heights = [bars.height() + 0.25 for bars in panels]
    lines = [*assumed(page), *lines]
    with canvas(heights, title=page.title, source=lines, width=width) as (figure, axes):
        for panel, bars, text in zip(axes, panels, titles, strict=True):
            draw_bars(panel, bars, width=width)
            panel.set_title(text, loc="left", pad=4 + 10 * bars.legend_rows)
    return figure


def _asked(by: str | Sequence[str], per: str, spread: bool) -> tuple[tuple[str, ...], str]:
    keys = tuple(texts(by))
    return keys, "sample" if spread and per == "total" else per


def _bars(report: EnergyReport, keys: Sequence[str], per: str, spread: bool, most: int) -> Bars:
    """Return the largest rows of an estimate in parts; a module has what is its own."""
    column = "energy_pj" if per == "total" else f"per_{per}_pj"
    others = [key for key in keys if key != "component"]
    rows = report.by(*others, "component", exclusive=True, per=per)
    ordered = len(others) == 1 and others[0] in IN_ORDER
    rows = _named(rows.sort(others) if ordered else rows, others).rename({column: "energy"})
    parts = _parts(rows, report)
    wide = (
        rows.with_columns(pl.col("component").replace_strict(parts, default="other parts"))
        .group_by("row", "component", maintain_order=True)
        .agg(added_up(pl.col("energy")))
        .pivot("component", index="row", values="energy")
    )
    names = [
        name for name in dict.fromkeys([*parts.values(), "other parts"]) if name in wide.columns
    ]
    wide = wide.with_columns(pl.col(names).fill_null(0.0))
    kept = wide if ordered else largest(wide, "row", names, most)
    totals = kept.select(pl.sum_horizontal(names)).to_series().to_list() if names else []
    axis = axis_of("energy.", "energy", totals, per)
    deviations = _deviations(report, others, per, kept["row"].to_list()) if spread else None
    return Bars(
        kept["row"].to_list(),
        {name: [value / axis.size for value in kept[name]] for name in names},
        axis.label,
        deviations and [None if each is None else each / axis.size for each in deviations],
    )


def _named(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Add `row`: the name of each combination of keys."""
    return rows.with_columns(row=name_of(keys))


def name_of(keys: Sequence[str]) -> pl.Expr:
    """Return the name of a row by its keys."""
    if not keys:
        return pl.lit("everything")
    texts = [
        pl.concat_str(
            pl.lit(f"{key} " if key in IN_ORDER else ""), pl.col(key).cast(pl.String)
        ).fill_null(f"(no {key})")
        for key in keys
    ]
    return pl.concat_str(texts, separator=", ")


def _parts(rows: pl.DataFrame, report: EnergyReport) -> dict[str, str]:
    """Return the parts that have a colour of their own, in the order of the breakdown."""
    sizes = rows.group_by("component").agg(added_up(pl.col("energy"))).sort("energy", "component")
    kept = sizes["component"].tail(_PARTS).to_list()
    order = [name.removesuffix("_pj") for name in report.breakdown_pj]
    kept.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    return {name: name for name in kept}


def _deviations(
    report: EnergyReport, keys: Sequence[str], per: str, names: Sequence[str]
) -> list[float | None]:
    """Return the deviation of each row; the others together have none."""
    rows = _named(report.by(*keys, exclusive=True, per=per, spread=True), keys)
    known = dict(rows.select("row", "std_pj").iter_rows())
    return [known.get(name) for name in names]
