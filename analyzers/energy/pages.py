"""What is shown of estimates: energies by some keys, their parts, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ..answers.page import Column, Page, Sheet, is_assumed
from ..answers.rows import Figures, Rows, arranged
from ..answers.shares import share_columns, with_shares
from ..units import count_text, energy_text, share_text
from ..workload.divisors import per_text, spread_text

if TYPE_CHECKING:
    from ..workload.account import Account
    from .estimators import Energies
    from .report import EnergyReport

_LEFT_OUT = (
    Column("what", "left out", left=True),
    Column("calls", "calls", count_text),
    Column("macs_share", "share of MACs", share_text),
)
_EVERY = (
    Column("estimator", "estimator", left=True, style="bold"),
    Column("revision", "revision", left=True, optional=2),
    Column("total_pj", "energy"),
    Column("per_sample_pj", "energy a sample"),
    Column("macs_share", "MACs charged", share_text, optional=1),
)
_APART = "different estimators speak of different machines: do not compare their energies"


def report_page(
    report: EnergyReport, keys: Sequence[str], exclusive: bool, per: str, spread: bool, asked: Rows
) -> Page:
    """Return an estimate by some keys, by its parts, and what it leaves out."""
    rows = report.by(*keys, exclusive=exclusive, per=per, spread=spread)
    heads = [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]
    named = {"energy": _column(per), "energy_pj": _column(per)} | (
        {"std": "std_pj"} if spread else {}
    )
    figures = Figures(named, "energy", "", energy_text)
    found = _energies(rows, heads, report, per, spread)
    sheets = [arranged(found, keys, asked, figures, report.modules), _parts(report, per)]
    sheets += left_out_sheets(report.account)
    lead = [per_text(report.sampled, per, keys)] if per != "total" else []
    if spread:
        lead.append(spread_text(report.sampled, per))
    return Page(sheets, title_of(report), lead, tuple(_notes(report)), report.warnings)


def left_out_sheets(account: Account) -> list[Sheet]:
    """Return the table of what is left out; none, if nothing is."""
    return [Sheet(account.left_out, _LEFT_OUT)] if account.left_out.height else []


def title_of(report: EnergyReport) -> str:
    """Return an estimate in one line."""
    each = f", {_shown(report, report.per_sample_pj)} a sample" if report.samples else ""
    whole = _shown(report, report.total_pj)
    return f"{report.estimator}, revision {report.revision}: {whole}{each}"


def _shown(report: EnergyReport, value_pj: float | None) -> str:
    """Return an energy of a report, a lower bound with its sign."""
    return ("" if value_pj is None else report.sign) + energy_text(value_pj)


def energies_page(found: Energies, keys: Sequence[str], **options: Any) -> Page:
    """Return all estimates in one table, and a block for each; they are not to be compared."""
    reports = found.values()
    frame = found.frame.with_columns(
        total_pj=pl.Series([_shown(each, each.total_pj) for each in reports]),
        per_sample_pj=pl.Series([_shown(each, each.per_sample_pj) for each in reports]),
    )
    sheets = [Sheet(frame, _EVERY)]
    for report in found.values():
        page = report.page(keys, **options)
        first, *others = page.sheets
        sheets += [first._replace(title=page.title), *others]
        sheets[-1] = sheets[-1]._replace(notes=(*page.lead, *page.notes))
    return Page(
        sheets,
        title="energies by estimator (not to be compared)",
        notes=[
            *(f"{name} does not apply: {why}" for name, why in found.refused.items()),
            *([_APART] if len(found) > 1 else []),
        ],
        warnings=found.warnings,
    )


def _notes(report: EnergyReport) -> Iterator[str]:
    """Yield the lines under an estimate: total, what it speaks of, and its coverage."""
    each = f", {_shown(report, report.per_sample_pj)} a sample" if report.per_sample_pj else ""
    scope = report.scope
    total = "total (assumed)" if is_assumed(report.assumed) else "total"
    yield f"{total} {_shown(report, report.total_pj)} ({report.total_pj:.10g} pJ){each}"
    yield f"{report.estimator}, revision {report.revision}: {scope.title}; {scope.technology}"
    yield f"stages {', '.join(scope.stages)}; covers {scope.covers}; leaves out {scope.leaves_out}"
    if report.input_types:
        yield f"inputs {report.input_types}"
    if report.coverage:
        yield report.coverage


def _parts(report: EnergyReport, per: str) -> Sheet:
    each = report.each_pj(per)
    scale = (each or 0.0) / report.total_pj if report.total_pj else 1.0
    frame = pl.DataFrame(
        {
            "part": [name.removesuffix("_pj") for name in report.breakdown_pj],
            "energy_pj": list(report.breakdown_pj.values()),
        },
        schema={"part": pl.String, "energy_pj": pl.Float64},
    ).with_columns((pl.col("energy_pj") * scale).alias(_column(per)))
    return _energies(frame, [Column("part", "part", left=True)], report, per, False)


def _column(per: str) -> str:
    return "energy_pj" if per == "total" else f"per_{per}_pj"


def _headed(report: EnergyReport, per: str) -> str:
    """Return the heading of energies, marked where they are bounds or rest on an assumption."""
    title = report.sign + ("energy" if per == "total" else f"energy a {per}")
    return f"{title} (assumed)" if is_assumed(report.assumed) else title


def _energies(
    frame: pl.DataFrame, heads: list[Column], report: EnergyReport, per: str, spread: bool
) -> Sheet:
    columns = [
        *heads,
        Column(_column(per), _headed(report, per), energy_text),
        *([Column("std_pj", "±", energy_text)] if spread else []),
        *share_columns("share"),
    ]
    return Sheet(with_shares(frame, "energy_pj", report.total_pj), columns)
