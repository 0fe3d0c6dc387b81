"""What is shown of counts, coverage and firing rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError
from ...schemas.spelling import meant
from ..answers.page import Column, Page, Sheet, is_assumed
from ..answers.rows import Figures, Rows, arranged
from ..answers.shares import share_columns, with_shares
from ..units import AT_LEAST, bytes_text, count_text, quotient_sign, ratio_text, share_text
from ..workload.divisors import per_text, spread_text

if TYPE_CHECKING:
    from .count import Counts
    from .coverage import Coverage
    from .rates import Rates

FIGURES = (
    Column("calls", "calls", count_text, optional=5),
    Column("flops", "FLOP", count_text),
    Column("bytes", "bytes", bytes_text, optional=3),
    Column("synops", "SynOp", count_text),
    Column("macs", "MAC", count_text, optional=2),
    Column("acs", "AC", count_text, optional=1),
    Column("intensity", "FLOP/B", ratio_text, optional=6),
)
DATA_DEPENDENT = ("synops", "macs", "acs")
"""Counters that hang on what the elements of tensors were."""
_COVERAGE = (
    Column("op", "op", left=True),
    Column("how", "counted", left=True),
    Column("calls", "calls", count_text),
    Column("bytes", "operands + results", bytes_text),
)
_LAYERS = (
    Column("module", "layer", left=True, style="bold"),
    Column("kind", "kind", left=True),
    Column("neurons", "neurons", count_text),
    Column("nonzero_per_sample", "nonzero a sample", count_text),
    Column("rate", "rate", share_text),
)
_PRODUCTS = (
    Column("module", "product", left=True, style="bold"),
    Column("kind", "kind", left=True),
    Column("nonzero_share", "nonzero inputs", share_text),
    Column("dense_per_sample", "dense", count_text),
    Column("effective_macs_per_sample", "effective MAC", count_text),
    Column("effective_acs_per_sample", "effective AC", count_text),
)


def keys_of(frame: pl.DataFrame, figures: str = "calls") -> tuple[str, ...]:
    """Return the columns that rows are told apart by: those before the figures."""
    return tuple(frame.columns[: frame.columns.index(figures)])


def heads(keys: Sequence[str]) -> list[Column]:
    """Return the columns of keys."""
    return [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]


def counts_page(counts: Counts, share: str, rows: Rows) -> Page:
    """Return counts with shares, modules as a tree, lower bounds with a sign.

    Raises:
        ConfigError: there is no counter to share; what `answers.rows.arranged` raises.
    """
    known = [column.name for column in FIGURES if column.name in counts.total]
    if share not in known:
        hint = f"{meant(str(share), known)}choose from {', '.join(known)}"
        raise ConfigError(f"share={share!r}: no such counter: {hint}")
    keys = keys_of(counts.frame)
    frame = with_shares(counts.frame, share, counts.total[share])
    (shown,) = (column for column in FIGURES if column.name == share)
    unit = shown.title
    columns = [
        *heads(keys),
        *(column._replace(title=_headed(column, counts), show=str) for column in FIGURES),
        *share_columns(f"of {unit}", optional=4, drawn=7),
    ]
    each = {c.name: f"{c.name}_per_{counts.per}" for c in FIGURES}
    named = {name: each[name] if each[name] in frame.columns else name for name in each}
    figures = Figures(named, share, unit, shown.show)
    sheet = arranged(Sheet(frame, columns), keys, rows, figures, counts.modules)
    lead = []
    if counts.sampled is not None:
        lead.append(per_text(counts.sampled, counts.per, keys))
        if "flops_std" in counts.frame.columns:
            lead.append(spread_text(counts.sampled, counts.per))
    spikes = "" if counts.spikes == "binary" else f", {counts.spikes} spikes"
    return Page(
        sheets=(sheet._replace(frame=as_texts(sheet.frame, counts.per)),),
        title=f"counts, rules {counts.rules}{spikes}",
        lead=lead,
        notes=(counts.coverage.line(),),
        warnings=counts.warnings,
    )


def _headed(column: Column, counts: Counts) -> str:
    """Return the heading of a figure, marked where it rests on an assumption."""
    rests = column.name in DATA_DEPENDENT and is_assumed(counts.assumed)
    return f"{column.title} (assumed)" if rests else column.title


def as_texts(frame: pl.DataFrame, per: str = "total") -> pl.DataFrame:
    """Return the figures of counts as people read them, lower bounds with a sign.

    Of one sample or step, where they are divided; with their deviation, where there is one.

    FLOP by byte is a lower bound if FLOP is one, an upper bound if bytes are, and of what is known
    only if both are.
    """
    bounds = [set((text or "").split()) for text in frame["at_least"]]
    texts = {}
    for column in FIGURES:
        name = f"{column.name}_per_{per}"
        values = frame[name if name in frame.columns else column.name]
        deviation = f"{column.name}_std"
        spread = frame[deviation] if deviation in frame.columns else [None] * frame.height
        texts[column.name] = [
            column.show(value)
            if value is None
            else _sign(column.name, bound)
            + column.show(value)
            + ("" if std is None else f" ± {column.show(std)}")
            for value, bound, std in zip(values, bounds, spread, strict=True)
        ]
    return frame.with_columns(pl.Series(n, t, dtype=pl.String) for n, t in texts.items())


def _sign(figure: str, at_least: set[str]) -> str:
    if figure == "intensity":
        return quotient_sign("flops" in at_least, "bytes" in at_least)
    return AT_LEAST if figure in at_least else ""


def coverage_page(found: Coverage) -> Page:
    """Return a coverage op by op."""
    return Page((Sheet(found.frame, _COVERAGE),), title="coverage", notes=(found.line(),),
                warnings=found.assumed)  # fmt: skip


def rates_page(found: Rates, of: str | None) -> Page:
    """Return firing rates by layer and effective operations by product, or rates over time."""
    sheets = []
    lines = []
    if of in (None, "layers"):
        sheets.append(Sheet(found.layers, _LAYERS))
    if of in (None, "products"):
        sheets.append(Sheet(found.products, _PRODUCTS))
    if of == "time" and found.steps.is_empty():
        lines = ["no neuron was called once for each time step: rates over time are not recorded"]
    elif of == "time":
        sheets.append(_over_time(found.steps))
    notes = [found.line()]
    if any(each is not None for each in found.deviations.values()):
        notes.append(spread_text(found.sampled, "sample"))
    return Page(sheets, "firing rates", lead=lines, notes=notes, warnings=found.warnings)


def _over_time(steps: pl.DataFrame) -> Sheet:
    """Return a row for each neuron layer, a column for each time step."""
    wide = steps.pivot("time_step", index="module", values="rate")
    columns = [Column("module", "layer", left=True, style="bold")]
    columns += [Column(name, f"t={name}", share_text) for name in wide.columns[1:]]
    return Sheet(wide, columns)
