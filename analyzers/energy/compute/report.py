"""Compute: multiply-accumulates and accumulations at an energy each, and nothing else.

E = MACs·e_mac + ACs·e_ac; the energies of Horowitz, ISSCC 2014, 45 nm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....schemas.costs.compute import ComputeConfig
from ...trace.trace import narrowed
from ...workload.hints import spike_hints
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.unmeasured import input_types, outside_modules
from ..arithmetic import operations_of
from ..report import EnergyReport
from ..revisions import variant_of
from .energies import breakdown_pj, priced
from .scope import SCOPE, warnings_of
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace


def estimate_compute(
    trace: Trace,
    config: ComputeConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
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
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say; "per-call": every call of the model
            is one; by default what was recorded.
        where: filters, see `where.parse_filters`.
        spikes: what a spike tensor may hold: "binary", "ternary", "scaled" or "graded"; a spike
            that is not 1 costs an accumulation too. "none": every product is dense. Of the
            revision source alone.

    Raises:
        ConfigError: unknown revision, or spikes that the revision does not know.
        TraceError: there is no forward pass in eval mode, or no product of it was measured; under
            strict, nothing was counted or something is left out.
    """
    config = config or ComputeConfig()
    variant: Variant = variant_of("compute", revision)
    trace = regrouped(narrowed(trace), samples)
    operations = operations_of(trace, variant, spikes=spikes, where=where)
    part, gaps = operations.part, operations.gaps()
    warnings = warnings_of(operations, gaps.warnings(), variant, strict)
    rows = priced(operations.rows(), config)
    outside = outside_modules(rows) if variant.names_uncovered else []
    outside += operations.types(config)
    hints = spike_hints(part, spikes) if variant.names_uncovered else ()
    many = samples_of(part, batch, time_steps, samples=samples, eval_only=variant.eval_only)
    counts = {n: float(operations.total(f"{n}s")) for n in ("mac", "ac", "synop", "flop")}
    parts = breakdown_pj(counts, config)
    return EnergyReport(
        estimator="compute",
        revision=revision,
        total_pj=sum(parts.values()),
        breakdown_pj=parts,
        counts=counts,
        rows=rows,
        scopes=scopes_of(part),
        config=config.model_dump(),
        scope=SCOPE,
        warnings=(*warnings, *operations.modes(many), *outside, *hints, *many.warnings),
        account=gaps.account,
        sampled=many,
        input_types=input_types(operations.counted, spikes),
        details={"spikes": spikes},
        recount=lambda keys: priced(operations.by(keys).rows(), config),
    )
