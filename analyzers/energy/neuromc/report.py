"""NeuroMC: what training or running a spiking network costs on an accelerator with its memories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ....schemas import TraceError
from ....schemas.costs import NeuroMCConfig
from ...trace.trace import narrowed
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.spikes import check_spikes
from ..estimators import default_config
from ..report import EnergyReport
from ..revisions import variant_of
from ..row_keys import MOST_STEPS
from .actions import actions_of
from .details import details_of, rows_of
from .energies import parts_of, priced
from .left_out import left_out_of
from .run import run_of
from .scope import input_types, refusals, refuse_uncharged, scope_of, warnings_of

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from .variant import Variant


def estimate_neuromc(
    trace: Trace,
    config: NeuroMCConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of everything that was recorded: forward, backward, optimizer.

    Products of matrices, convolutions (1-d and 2-d), batch norms, neurons and steps of SGD, Adam
    and AdamW are charged, in training and evaluation alike; losses are not modelled. Stages are
    what calls were part of, or the user's (`NeuroMCConfig.stages`).

    Args:
        trace: the trace.
        config: the hardware; by default NeuroMC's, with the memory sizes of the revision.
        revision: "source" counts each product once; "spikingjelly-2.0" and "spikingjelly-2026-08"
            count as these do.
        strict: refuse ops and optimizers without a fragment instead of leaving them out.
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say; "per-call": every call of the model
            is one; by default what was recorded.
        where: filters, see `where.parse_filters`.
        spikes: "binary"; or "none": every product runs on the cores of dense values. Of the
            revision source alone.

    Returns:
        A report whose components are `mac`, `extra_compute`, `base_memory` and `extra_memory`;
        `amount` in its rows are MACs, operations or bits, `fragments` how many there are.
        `details` has the figures by SpikingJelly's names (`energy_by_stage`,
        `energy_by_core_type`, `energy_by_memory_level_dir`, `mapping_summary`, ...) and `amounts`,
        which `prices_of` needs.

    Raises:
        ConfigError: unknown revision, or spikes that it does not know.
        TraceError: nothing is covered, or none of the products; or under strict, something is not.
    """
    variant: Variant = variant_of("neuromc", revision)
    check_spikes(spikes, variant.spike_modes)
    config = config or cast(NeuroMCConfig, default_config("neuromc", revision))
    trace = regrouped(narrowed(trace), samples)
    part = narrowed(trace, where)
    many = samples_of(part, batch, time_steps, samples=samples)
    whole = many if part is trace else samples_of(trace, batch, time_steps, samples=samples)
    run = run_of(part, config, whole, variant, spikes)
    found = variant.cut(run)
    missing = left_out_of(run, found, variant)
    refused = refusals(found, missing)
    if strict and refused:
        raise TraceError(f"{trace.path}: {refused[0]} (strict)")
    refuse_uncharged(run, found, missing)
    counts = found.counts()
    each = priced(actions_of(found.kinds, variant, config), counts, config)
    parts = parts_of(each)
    details = details_of(found, each, parts, variant.default_core)
    rows = rows_of(found, each, part, by_step=part.manifest.steps <= MOST_STEPS)
    return EnergyReport(
        estimator="neuromc",
        revision=revision,
        total_pj=sum(parts.values()),
        breakdown_pj={f"{name}_pj": value for name, value in parts.items()},
        counts={**details["primitive_counts"]["totals"], "fragments": sum(counts)},
        rows=rows,
        scopes=scopes_of(part),
        config=config.model_dump(),
        scope=scope_of(rows, variant, revision),
        warnings=tuple(warnings_of(run, found, missing, variant, revision, many)),
        account=missing.account,
        sampled=many,
        input_types=input_types(run),
        details=details,
        recount=lambda keys: rows_of(found, each, part, by_step="step" in keys),
    )
