"""Simple: compute energy, and a flat energy for each byte of weights, biases and neuron states.

The model and its price of a byte are SpikingJelly 2.0's own; there is no other publication.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....schemas.costs.compute import SimpleConfig
from ...trace.trace import narrowed
from ...workload.hints import spike_hints
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.unmeasured import input_types, outside_modules
from ..arithmetic import operations_of
from ..report import EnergyReport
from ..revisions import variant_of
from .actions import actions_of
from .energies import breakdown_pj, priced, total_pj
from .scope import scope_of, warnings_of
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace


def estimate_simple(
    trace: Trace,
    config: SimpleConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of arithmetic, parameters and neuron states of the forward passes.

    Args:
        trace: the trace.
        config: energies; by default 32-bit floats and SpikingJelly's price of a byte.
        revision: "spikingjelly-2.0": what it counts, in whatever mode the model was, with the
            additions of its own tool; "source": the same prices on counts of the rule set `full`,
            without those additions, of forward passes in eval mode.
        strict: refuse what is not covered, and a trace in which nothing is counted.
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say; "per-call": every call of the model
            is one; by default what was recorded.
        where: filters, see `where.parse_filters`. Those on ops leave neuron states out.
        spikes: what a spike tensor may hold, see `estimate_compute`.

    Returns:
        A report whose components are `mac`, `ac`, `parameter_memory` and `neuron_state_memory`;
        `count` in its rows are operations or bytes. `breakdown_pj` also has `memory_pj`, the sum
        of the last two; `details` has `tool_acs`, the accumulations of SpikingJelly's own tool.

    Raises:
        ConfigError: unknown revision, or spikes that the revision does not know.
        TraceError: there is no forward pass in eval mode, no product of it was measured, or the
            time steps of a neuron are not known; under strict, nothing was counted or something is
            left out.
    """
    config = config or SimpleConfig()
    variant: Variant = variant_of("simple", revision)
    trace = regrouped(narrowed(trace), samples)
    operations = operations_of(trace, variant, spikes=spikes, where=where)
    part, gaps = operations.part, operations.gaps()
    actions = actions_of(operations, variant, time_steps)
    warnings = warnings_of(operations, actions, gaps.warnings(), variant, strict)
    sums = actions.sums()
    parts = breakdown_pj(sums, config)
    rows = priced(actions.rows, config)
    outside = outside_modules(rows) if variant.names_uncovered else []
    outside += operations.types(config)
    hints = spike_hints(part, spikes) if variant.names_uncovered else ()
    many = samples_of(part, batch, time_steps, samples=samples, eval_only=variant.eval_only)
    moved = sum(n for what, n in sums.items() if what.endswith("_bytes"))
    counts = {**sums, "synop": operations.total("synops"), "memory_access_bytes": moved}
    return EnergyReport(
        estimator="simple",
        revision=revision,
        total_pj=total_pj(parts),
        breakdown_pj=parts,
        counts={name: float(n) for name, n in counts.items()},
        rows=rows,
        scopes=scopes_of(part),
        config=config.model_dump(),
        scope=scope_of(variant),
        warnings=(*warnings, *operations.modes(many), *outside, *hints, *many.warnings),
        account=actions.account(gaps.account),
        sampled=many,
        input_types=input_types(operations.counted, spikes),
        details={"tool_acs": actions.tool_acs, "spikes": spikes},
        recount=lambda keys: priced(
            actions_of(operations.by(keys), variant, time_steps).rows, config
        ),
    )
