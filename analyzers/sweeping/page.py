"""What is shown of a sweep: a row for each configuration, or for each constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ..answers.page import Column, Page, Sheet
from ..text import listed
from ..units import bar, energy_text, ratio_text
from ..workload.divisors import per_text

if TYPE_CHECKING:
    from .sweep import Sweep


def _value_text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_SENSITIVITY = (
    Column("constant", "constant", left=True, style="bold"),
    Column("value", "value", _value_text),
    Column("percent_per_percent", "% per %", ratio_text),
    Column("energy_pj", "charged with it", energy_text),
    Column("bar", "", left=True, style="cyan", optional=1, drawn=True),
)


def sweep_page(found: Sweep) -> Page:
    """Return a sweep, or a sensitivity, with what its energies speak of."""
    report = found.reports[0]
    frame, columns = found.frame, _columns(found)
    if "percent_per_percent" in frame.columns:
        bars = [bar(abs(share)) for share in frame["percent_per_percent"]]
        frame = frame.with_columns(pl.Series("bar", bars, dtype=pl.String))
        columns = [*_SENSITIVITY]
    notes = [
        f"{report.estimator}, revision {report.revision}: {report.scope.title}; "
        f"{report.scope.technology}; stages {', '.join(report.scope.stages)}",
        *([report.coverage] if report.coverage else []),
    ]
    return Page(
        (Sheet(frame, columns),),
        title=_title(found),
        lead=[] if found.per == "total" else [per_text(report.sampled, found.per)],
        notes=notes,
        warnings=found.warnings,
    )


def _title(found: Sweep) -> str:
    """Return what a sweep is over, in one line."""
    names, name = found.frame.columns, found.reports[0].estimator
    if "percent_per_percent" in names:
        return f"{name}: what each of {found.frame.height} constants decides"
    fields = listed(names[: names.index("total_pj")], 3)
    return f"{name} over {fields}: {found.frame.height} rows"


def _columns(found: Sweep) -> list[Column]:
    """Return the columns of a sweep: of its energies those that speak of what was asked for."""
    per = found.per
    ending = "_pj" if per == "total" else f"_per_{per}_pj"
    columns = []
    for name in found.frame.columns:
        if name in ("total_pj", "per_sample_pj", "per_step_pj"):
            if per == "total" or name == f"per_{per}_pj":
                title = found.reports[0].sign + name.removesuffix("_pj").replace("_", " ")
                columns.append(Column(name, title, energy_text))
        elif name.startswith("energy_"):
            part = name[len("energy_") :].removesuffix(ending)
            if name.endswith(ending) and "_per_" not in part:
                columns.append(Column(name, part, energy_text, optional=1))
        else:
            columns.append(Column(name, name, _value_text, style="bold"))
    return columns
