"""Why does the other tool say something else? One network, counted as each of them defines it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import STAGES
from ...schemas.costs import load_machine
from ..answers.page import Column, Page, Sheet, is_assumed
from ..answers.result import Result
from ..trace.files import collected
from ..trace.trace import narrowed
from ..units import ratio_text
from ..workload.divisors import both_modes, check_per, known_number, per_text
from ..workload.inference import forward_part
from ..workload.samples import regrouped, samples_of
from .counters import flop_counter_rows, own_energy, own_rows, spikingjelly_rows
from .facts import facts_of
from .papers import paper_rows
from .rows import OF_SIZES, UNITS, Row, shown
from .synapses import neurobench_rows, norse_rows, sinabs_rows

if TYPE_CHECKING:
    from ..trace.trace import Trace
    from ..workload.samples import Samples

MACHINE = "paper"
"""The machine whose prices of a MAC and a SynOp are those of the formula in papers."""

_SCHEMA = {
    "convention": pl.String,
    "figure": pl.String,
    "unit": pl.String,
    "value": pl.Float64,
    "total": pl.Float64,
    "kind": pl.String,
    "ratio": pl.Float64,
    "why": pl.String,
    "definition": pl.String,
    "at_least": pl.Boolean,
}

_DIFFERENCES = {
    "convention": pl.String,
    "figure": pl.String,
    "what": pl.String,
    "amount": pl.Float64,
}

_COLUMNS = (
    Column("convention", "convention", left=True, style="bold"),
    Column("figure", "figure", left=True),
    Column("shown", "value"),
    Column("ratio", "by opjoule's", lambda ratio: "" if ratio is None else ratio_text(ratio)),
    Column("why", "why it differs", left=True, wrap=True),
)
_DEFINITIONS = (
    Column("convention", "convention", left=True, style="bold"),
    Column("figure", "figure", left=True),
    Column("definition", "counts", left=True, wrap=True),
)


@dataclass(frozen=True, repr=False, eq=False)
class Conventions(Result):
    """The figures of one network by the definitions of several tools.

    Attributes:
        frame: a row for each figure of each tool: `convention`, `figure`, `unit`, `value` (of one
            sample, or what `per` says), `total` (of all forward passes; null: the trace does not
            tell it), `kind` (flops, macs, acs, synops, dense_macs or energy_pj), `ratio` (by
            opjoule's figure of that kind; null: one is not known, or that is 0), `why` it differs,
            or is not known, its `definition`, and `at_least` (the value is a lower bound).
        differences: `convention`, `figure`, `what` and `amount`, in the units of `value`: the
            parts of the difference between a figure and opjoule's own, which add up to it.
        per: of "sample", "step" and "total".
        sampled: the samples.
        coverage: how far opjoule's own counts reach.
        notes: what the figures leave out.
        assumed: what is assumed of data that was not measured.
    """

    frame: pl.DataFrame
    differences: pl.DataFrame
    per: str
    sampled: Samples
    coverage: str
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def total(self) -> Mapping[str, float | None]:
        """The values by "convention figure": of what `per` says, so of one sample by default.

        The column `total` of `frame` is of all forward passes instead.
        """
        rows = self.frame.select("convention", "figure", "value").rows()
        return {f"{convention} {figure}": value for convention, figure, value in rows}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        modes = both_modes(self.sampled, self.per)
        return (*self.assumed, *self.sampled.warnings, *modes, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, ready for JSON."""
        return {
            "per": self.per,
            "samples": self.sampled.samples,
            "batch_from": self.sampled.batch_from,
            "rows": self.frame.to_dicts(),
            "differences": self.differences.to_dicts(),
            "coverage": self.coverage,
            "assumed": list(self.assumed),
            "warnings": list(self.warnings),
        }

    def page(self) -> Page:
        """Return what is shown: the figures and why they differ, and the definitions."""
        rests = is_assumed(self.assumed)
        texts = [
            shown(*row) + (" (assumed)" if rests and row[0] not in OF_SIZES else "")
            for row in self.frame.select("kind", "value", "at_least").iter_rows()
        ]
        figures = self.frame.with_columns(pl.Series("shown", texts, pl.String))
        return Page(
            (Sheet(figures, _COLUMNS), Sheet(self.frame, _DEFINITIONS, "what each counts")),
            title="one network by the conventions of several tools",
            lead=(f"{per_text(self.sampled, self.per)}, forward passes",),
            notes=(f"opjoule's {self.coverage}",),
            warnings=self.warnings,
        )


def conventions(
    trace: Trace | str | os.PathLike[str],
    *,
    where: str | Sequence[str] | None = None,
    assume: str | Sequence[str] | None = None,
    per: str = "sample",
    samples: int | str | None = None,
    batch: int | None = None,
    time_steps: int | None = None,
) -> Conventions:
    """Count the forward passes of a trace as other tools define it, and say why they differ.

    Args:
        trace: the trace, or its directory.
        where: filters, see `where.parse_filters`.
        assume: what is assumed of data that was not measured, see `Trace.assuming`.
        per: "sample", "step" or "total": what a value is of.
        samples: how many samples there are in all, or "per-call"; by default as recorded.
        batch: samples in a batch; by default as recorded.
        time_steps: time steps of a sample; by default as recorded.

    Raises:
        ConfigError: a filter or setting that means nothing.
        TraceError: there is no forward pass, a part is damaged, or it is not known how many
            samples there are.
    """
    check_per(per)
    opened = regrouped(narrowed(trace, where, assume), samples)
    part = forward_part(opened, eval_only=False)
    sampled = samples_of(part, batch, time_steps, samples=samples)
    units = known_number(part, sampled, per)
    facts = facts_of(part, sampled)
    mac_pj, synop_pj = _prices()
    rows = [
        *own_rows(facts, mac_pj, synop_pj),
        *flop_counter_rows(facts),
        *spikingjelly_rows(facts),
        *neurobench_rows(facts),
        *paper_rows(facts, mac_pj, synop_pj),
        *norse_rows(facts),
        *sinabs_rows(facts),
    ]
    own = {kind: facts.own_figure(kind) for kind in UNITS if kind != "energy_pj"}
    known: dict[str, float | None] = {**own, "energy_pj": own_energy(facts, mac_pj, synop_pj)}
    return Conventions(
        frame=pl.DataFrame([_told(row, known[row.kind], units) for row in rows], schema=_SCHEMA),
        differences=_differences(rows, units),
        per=per,
        sampled=sampled,
        coverage=facts.coverage,
        notes=_left_out(opened),
        assumed=part.assumed,
    )


def _prices() -> tuple[float, float]:
    """Return the energy of a MAC and of a SynOp, in pJ."""
    prices = {term.quantity: term.price for term in load_machine(MACHINE).term.values()}
    return prices["macs",] or 0.0, prices["synops",] or 0.0


def _told(row: Row, own: float | None, units: int) -> dict[str, Any]:
    value, mine = row.value, row.convention == "opjoule"
    return {
        "convention": row.convention,
        "figure": row.figure,
        "unit": row.unit,
        "value": None if value is None else value / units,
        "total": value,
        "kind": row.kind,
        "ratio": None if value is None or not own else value / own,
        "why": row.note if mine else row.why(own, units),
        "definition": row.definition,
        "at_least": row.at_least,
    }


def _differences(rows: Sequence[Row], units: int) -> pl.DataFrame:
    parts = [
        (row.convention, row.figure, term.what, term.amount / units)
        for row in rows
        for term in row.terms
    ]
    return pl.DataFrame(parts, schema=_DIFFERENCES, orient="row")


def _left_out(trace: Trace) -> tuple[str, ...]:
    """Return what ran besides the forward passes, which only some tools count."""
    found = trace.calls.select(pl.col("stage").cast(pl.String).unique()).pipe(collected, trace)
    others = [stage for stage in STAGES if stage in set(found["stage"]) - {"forward"}]
    if not others:
        return ()
    return (
        f"what ran in other stages ({', '.join(others)}) is left out: FlopCounterMode and "
        "SpikingJelly count it too where they run",
    )
