"""SpikeSim: what 2-d convolutions cost in inference on in-memory crossbars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas.costs.spikesim import SpikeSimConfig
from ...trace.trace import narrowed
from ...workload.inference import forward_part, mode_warnings, passes_left_out, passes_warnings
from ...workload.modules import scopes_of
from ...workload.samples import regrouped, samples_of
from ...workload.spikes import check_spikes
from ..report import EnergyReport
from ..revisions import variant_of
from .actions import actions_of, conv_calls, mapped
from .chip import chip_of
from .energies import breakdown_pj, cycle_parts_pj, priced, totals_of
from .pooling import at_pooled_size
from .scope import SCOPE, check_options, input_types, left_out, outside_reason, warnings_of
from .stages import stages_of
from .variant import Variant

if TYPE_CHECKING:
    from ...trace.trace import Trace


def estimate_spikesim(
    trace: Trace,
    config: SpikeSimConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    samples: int | str | None = None,
    where: str | Sequence[str] | None = None,
    spikes: str = "binary",
) -> EnergyReport:
    """Estimate the energy of the forward calls of Conv2d modules in eval mode.

    Args:
        trace: the trace.
        config: crossbars and energies; by default 64 x 64 RRAM, dense.
        revision: "source", "spikingjelly-2.0" or "spikingjelly-2026-08".
        strict: refuse what the model does not cover instead of leaving it out.
        batch: samples in a batch, as you say; by default what was recorded.
        time_steps: time steps of a sample, as you say; by default what was recorded.
        samples: how many samples there are in all, as you say; "per-call": every call of the model
            is one; by default what was recorded.
        where: filters, see `where.parse_filters`.
        spikes: "binary"; or "none": in event mode every input counts as fully active. Of the
            revision source alone.

    Returns:
        A report whose components are `pe_cycle` (dense) or `patch_control`, `xbar` and `neuron`
        (event). `details` has `energy_by_stage`, `energy_by_component`, `event_stats_by_stage` and
        `stage_metadata` (a stage is a Conv2d module); in the revision source also the parts of a
        PE cycle and the chip (`latency_ns` and `area_um2` of one image; None where unknown).

    Raises:
        ConfigError: unknown revision, or options that exclude each other.
        TraceError: nothing is covered, the trace lacks statistics, or strict finds what is outside.
    """
    config = config or SpikeSimConfig()
    variant: Variant = variant_of("spikesim", revision)
    check_spikes(spikes, variant.spike_modes)
    check_options(config, variant)
    whole = trace = narrowed(regrouped(narrowed(trace), samples), where)
    trace = forward_part(whole, eval_only=True) if variant.inference_only else whole
    trained = passes_left_out(whole, trace)
    calls = conv_calls(
        trace,
        config.xbar_size,
        events=config.activity_mode == "event",
        by_values_only=variant.by_values_only,
        spikes=spikes,
    ).with_columns(reason=outside_reason(variant, config))
    passes = passes_warnings(whole, trained)
    warnings = warnings_of(trace, config, variant, calls, passes, strict)
    warnings += mode_warnings(trace) if variant.inference_only else []
    inside = calls.filter(pl.col("reason").is_null())
    if config.sites == "pooled":
        inside = at_pooled_size(trace, inside)
    counts = mapped(inside, config, trace.manifest.tile_widths)
    rows = priced(actions_of(counts, config), config)
    parts = breakdown_pj(totals_of(rows), config)
    many = samples_of(trace, batch, time_steps, samples=samples, eval_only=True)
    return EnergyReport(
        estimator="spikesim",
        revision=revision,
        total_pj=float(rows["energy_pj"].sum()),
        breakdown_pj=parts,
        counts={
            "dense_pe_cycle_count": int(counts["pe_cycles"].sum()),
            "stage_count": counts["module"].n_unique(),
        },
        rows=rows,
        scopes=scopes_of(trace),
        config=config.model_dump(),
        scope=SCOPE,
        warnings=(*warnings, *many.warnings),
        account=left_out(trace, counts, trained),
        sampled=many,
        input_types=input_types(counts),
        details=_details(counts, rows, config, variant, many.samples),
    )


def _details(
    counts: pl.DataFrame,
    rows: pl.DataFrame,
    config: SpikeSimConfig,
    variant: Variant,
    samples: int | None,
) -> dict[str, Any]:
    stages = stages_of(counts, rows, config.xbar_size)
    if not variant.authors:
        return stages
    return {
        **stages,
        "pe_cycle_parts_pj": cycle_parts_pj(counts["kernel_numel"], config),
        **chip_of(counts, config.xbar_size, config.device, samples),
    }
