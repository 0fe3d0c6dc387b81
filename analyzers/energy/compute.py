"""Compute: multiply-accumulates and accumulations at an energy each, and nothing else.

E = MACs·e_mac + ACs·e_ac; the energies of Horowitz, ISSCC 2014, 45 nm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError, TraceError
from ...schemas.costs.compute import ComputeConfig
from ..counting.coverage import Coverage, covered
from ..counting.evaluate import tally
from ..rules import rule_set
from ..workload.inference import forward_part, narrowed
from ..workload.samples import samples_of
from ..workload.spikes import SPIKE_MODES
from ..workload.unmeasured import Gaps, gaps_of, input_types, outside_modules
from .report import EnergyReport, Scope

if TYPE_CHECKING:
    from ..trace.trace import Trace

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")

STRUCTURAL: frozenset[str] = frozenset()
"""Fields of the configuration that change what is counted: none, all are prices."""

KEYS = ("module", "stage", "op", "label", "step")

MOST_STEPS = 256
"""Up to so many steps the rows of a report tell them apart; `report.by("step")` always does."""

SCOPE = Scope(
    title="MAC and AC energy",
    source="M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014",
    stages=("forward",),
    technology="45 nm CMOS",
    covers="multiply-accumulates and accumulations",
    leaves_out="memory, addressing, neuron states, mapping to hardware",
)


def estimate_compute(
    trace: Trace,
    config: ComputeConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of the arithmetic of the forward passes.

    Args:
        trace: the trace.
        config: energies of a MAC and an AC; by default 32-bit floats.
        revision: "source" counts with the rule set `full`, forward passes in eval mode; the
            revisions of SpikingJelly with theirs, in whatever mode the model was.
        strict: refuse ops that no rule covers, calls that were not measured, and a trace in which
            nothing is counted.
        batch: samples in a batch, where the trace does not know.
        time_steps: time steps of a sample, where the trace does not know.
        where: filters, see `where.parse_filters`.
        spikes: what a spike tensor may hold: "binary", "ternary", "scaled" or "graded"; a spike
            that is no 1 costs an accumulation too. Of the revision source alone.

    Raises:
        ConfigError: no such revision, or kind of spikes.
        TraceError: there is no forward pass in eval mode, or no product of it was measured; under
            strict, nothing was counted or something is left out.
    """
    config = config or ComputeConfig()
    check_revision("compute", revision)
    check_spikes(spikes, revision)
    part = forward_part(narrowed(trace, where), eval_only=revision == "source")
    counted = operations(part, revision, _keys(part), spikes)
    coverage, gaps = covered(part, counted), gaps_of(part, counted)
    warnings = _warnings(coverage, gaps, counted, revision, strict)
    rows = rows_of(part, counted, config)
    if revision == "source":
        warnings += outside_modules(rows)
    many = samples_of(part, batch, time_steps, eval_only=revision == "source")
    sums = {name: int(counted[name].sum()) for name in ("macs", "acs", "synops", "flops")}
    parts = {"mac_pj": sums["macs"] * config.e_mac_pj, "ac_pj": sums["acs"] * config.e_ac_pj}
    return EnergyReport(
        estimator="compute",
        revision=revision,
        total_pj=sum(parts.values()),
        breakdown_pj=parts,
        counts={name.removesuffix("s"): float(n) for name, n in sums.items()},
        rows=rows,
        config=config.model_dump(),
        scope=SCOPE,
        warnings=(*warnings, *many.warnings),
        left_out=gaps.left_out,
        coverage=coverage.line(),
        batch=many.batch,
        time_steps=many.time_steps,
        samples=many.samples,
        input_types=input_types(counted, spikes),
        details={"spikes": spikes},
        recount=lambda keys: rows_of(part, operations(part, revision, keys, spikes), config),
    )


def check_revision(estimator: str, revision: str) -> None:
    """Refuse a revision that does not exist.

    Raises:
        ConfigError: it does not.
    """
    if revision not in REVISIONS:
        raise ConfigError(f"no revision {revision!r} of {estimator}: {', '.join(REVISIONS)}")


def check_spikes(spikes: str, revision: str) -> None:
    """Refuse kinds of spikes that a revision does not know.

    Raises:
        ConfigError: it does not.
    """
    if spikes not in SPIKE_MODES:
        raise ConfigError(f"{spikes!r} is no kind of spikes; there are {', '.join(SPIKE_MODES)}")
    if spikes != "binary" and revision != "source":
        raise ConfigError(
            f"spikes = {spikes!r} is of the revision source; {revision} knows binary spikes only"
        )


def operations(
    trace: Trace, revision: str, keys: Sequence[str], spikes: str = "binary"
) -> pl.DataFrame:
    """Return what `tally` counts under the rules of a revision, apart by some of `KEYS`."""
    rules = rule_set("full" if revision == "source" else revision)
    kept = ["module_id" if key == "module" else key for key in keys if key != "op"]
    return tally(trace, rules, kept, spikes=spikes)


def _keys(trace: Trace) -> tuple[str, ...]:
    return KEYS if trace.manifest.steps <= MOST_STEPS else KEYS[:-1]


def rows_of(trace: Trace, counted: pl.DataFrame, config: ComputeConfig) -> pl.DataFrame:
    """Price counted calls: a row for each kind of call and component, with its operations."""
    modules = trace.modules.select("rank", "module_id", module="path")
    if "module_id" in counted.columns:
        counted = counted.join(modules, on=["rank", "module_id"], how="left", maintain_order="left")
    missing = [pl.lit(None, kind).alias(name) for name, kind in _KINDS.items()
               if name not in counted.columns]  # fmt: skip
    counted = counted.with_columns(missing)
    kinds = []
    for component, counter, price in (
        ("mac", "macs", config.e_mac_pj),
        ("ac", "acs", config.e_ac_pj),
    ):
        kinds.append(
            counted.filter(pl.col(counter) > 0)
            .group_by(KEYS, maintain_order=True)
            .agg(count=pl.col(counter).sum())
            .select(
                *(pl.col(name).cast(kind) for name, kind in _KINDS.items()),
                component=pl.lit(component),
                count="count",
                energy_pj=pl.col("count") * price,
            )
        )
    return pl.concat(kinds)


_KINDS = {
    "module": pl.String,
    "stage": pl.String,
    "op": pl.String,
    "label": pl.String,
    "step": pl.Int32,
}


def _warnings(
    coverage: Coverage, gaps: Gaps, counted: pl.DataFrame, revision: str, strict: bool
) -> list[str]:
    figures = ("macs", "acs") if revision == "source" else ("macs", "acs", "synops", "flops")
    nothing = not any(counted[name].sum() for name in figures)
    found = ["nothing was counted: no MAC and no AC in the forward pass"] if nothing else []
    if revision == "source" and coverage.uncovered:
        found.append(f"no rule covers {', '.join(coverage.uncovered)}: left out")
    found += gaps.warnings()
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    return found
