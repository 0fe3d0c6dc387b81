"""SpikeSim: what 2-d convolutions cost in inference on in-memory crossbars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas import ConfigError, TraceError
from ....schemas.costs.spikesim import SpikeSimConfig
from ...workload.inference import narrowed, without_training
from ...workload.samples import samples_of
from ...workload.spikes import spike_expr
from ..report import EnergyReport
from ..spikingjelly.spikesim_details import (
    energy_by_component,
    energy_by_stage,
    metadata_by_stage,
    statistics_by_stage,
)
from .calls import calls_of, conv_calls
from .chip import chip_of
from .crossbars import (
    BASE,
    amounts_of,
    breakdown_pj,
    mapped,
    patch_control_parts_pj,
    priced,
    unit_pj,
)
from .pooling import pooled_sites
from .scope import (
    SCOPE,
    left_out,
    neuron_warning,
    nothing_covered,
    outside_reason,
    outside_warnings,
)

if TYPE_CHECKING:
    from ...trace.trace import Trace

REVISIONS = ("source", "spikingjelly-2.0", "spikingjelly-2026-08")

_SRAM = (
    "sram_xbar_pj: the released tool uses 671.089 as the area of an SRAM crossbar in square "
    "micrometres too; it is most likely no energy, and makes the total some 59 times RRAM's"
)
_EVENT = (
    "event mode is an extension of SpikingJelly's; SpikeSim itself is dense: there every "
    "processing element works at every position, whether spikes come or not"
)


def estimate_spikesim(
    trace: Trace,
    config: SpikeSimConfig | None = None,
    *,
    revision: str = "source",
    strict: bool = False,
    batch: int | None = None,
    time_steps: int | None = None,
    where: str | Sequence[str] | None = None,
) -> EnergyReport:
    """Estimate the energy of the forward calls of Conv2d modules in eval mode.

    Args:
        trace: the trace.
        config: crossbars and energies; by default 64 x 64 RRAM, dense.
        revision: "source", "spikingjelly-2.0" or "spikingjelly-2026-08".
        strict: refuse what the model does not cover instead of leaving it out.
        batch: samples in a call, where the trace does not know.
        time_steps: time steps of a sample in a call, where the trace does not know.
        where: filters, see `where.parse_filters`.

    Returns:
        A report whose components are `pe_cycle` (dense) or `patch_control`, `xbar` and `neuron`
        (event). `details` has `energy_by_stage`, `energy_by_component`, `event_stats_by_stage` and
        `stage_metadata` (a stage is a Conv2d module); in the revision source also the parts of a
        PE cycle and the chip (`latency_ns` and `area_um2` of one image; None where unknown).

    Raises:
        ConfigError: no such revision, or options that exclude each other.
        TraceError: nothing is covered, the trace lacks statistics, or strict finds what is outside.
    """
    config = config or SpikeSimConfig()
    source = revision == "source"
    trace = narrowed(trace, where)
    trace = without_training(trace) if source else trace
    counts, warnings = covered(trace, config, revision=revision, strict=strict)
    rows = priced(amounts_of(counts, config), config)
    many = samples_of(trace, batch, time_steps, eval_only=True, ran=calls_of(trace, counts))
    rest, share = left_out(trace, counts)
    return EnergyReport(
        estimator="spikesim",
        revision=revision,
        total_pj=float(rows["energy_pj"].sum()),
        breakdown_pj=breakdown_pj(totals_of(rows), config),
        counts=_counts(counts),
        rows=rows,
        config=config.model_dump(),
        scope=SCOPE,
        warnings=(*warnings, *many.warnings),
        left_out=rest,
        coverage=f"{share:.1%} of the MACs of convolutions and products in the forward pass",
        batch=many.batch,
        time_steps=many.time_steps,
        samples=many.samples,
        input_types=_input_types(counts),
        details={
            **_stages(counts, rows, config),
            **({"pe_cycle_parts_pj": _parts(counts, config)} if source else {}),
            **(chip_of(counts, config.xbar_size, config.device, many.samples) if source else {}),
        },
    )


def covered(
    trace: Trace, config: SpikeSimConfig, *, revision: str = "source", strict: bool = False
) -> tuple[pl.DataFrame, list[str]]:
    """Return the calls that the model covers, mapped onto crossbars, and the warnings.

    Args:
        trace: the trace, narrowed.
        config: only its structural fields matter (`spikesim_crossbars.STRUCTURAL`).
        revision: see `estimate_spikesim`.
        strict: likewise.

    Returns:
        Rows of `conv_calls` with what `mapped` adds.

    Raises:
        ConfigError, TraceError: see `estimate_spikesim`.
    """
    _check(config, revision)
    source = revision == "source"
    calls = conv_calls(
        trace, config.xbar_size, events=config.activity_mode == "event"
    ).with_columns(reason=outside_reason(source and config.with_gradients))
    inside = calls.filter(pl.col("reason").is_null())
    outside = calls.filter(pl.col("reason").is_not_null())
    warnings = _warnings(trace, config, revision, inside, outside, strict)
    if config.sites == "pooled":
        inside = _at_pooled_size(trace, inside)
    counts = mapped(inside, config, trace.manifest.tile_widths, by_values_only=not source)
    return counts, warnings


def totals_of(amounts: pl.DataFrame) -> dict[tuple[str, int], float]:
    """Return (component, kernel_numel) -> amount: all that a price of the total needs."""
    sums = amounts.group_by("component", "kernel_numel", maintain_order=True).agg(
        pl.col("amount").sum()
    )
    return {(component, taps): amount for component, taps, amount in sums.iter_rows()}


def _check(config: SpikeSimConfig, revision: str) -> None:
    if revision not in REVISIONS:
        raise ConfigError(f"no revision {revision!r} of spikesim: {', '.join(REVISIONS)}")
    if config.sites == "pooled" and revision != "source":
        raise ConfigError("sites = 'pooled' is of the revision source; SpikingJelly counts output")
    if config.sites == "pooled" and config.activity_mode == "event":
        raise ConfigError(
            "sites = 'pooled' goes with activity_mode = 'dense': events are known at the output "
            "positions of the convolution"
        )


def _warnings(
    trace: Trace,
    config: SpikeSimConfig,
    revision: str,
    inside: pl.DataFrame,
    outside: pl.DataFrame,
    strict: bool,
) -> list[str]:
    """Return the warnings; under strict, or where nothing is covered, raise TraceError."""
    found = outside_warnings(outside, revision)
    neurons = neuron_warning(trace) if config.require_if_lif_neurons else None
    found += [neurons] if neurons else []
    if strict and found:
        raise TraceError(f"{found[0]} (strict)")
    if inside.is_empty():
        if strict or revision == "source":
            raise TraceError(nothing_covered(outside))
        found.append(nothing_covered(outside))
    if config.activity_mode == "event" and revision != "spikingjelly-2.0":
        found.append(_EVENT)
    if config.device == "sram" and revision == "source":
        found.append(_SRAM)
    return found


def _at_pooled_size(trace: Trace, inside: pl.DataFrame) -> pl.DataFrame:
    """Count the positions that the pooling behind a convolution leaves, where there is one."""
    hiding = [text for text in trace.filters if text.strip().startswith(("module", "op"))]
    if hiding:
        raise ConfigError(
            f"sites = 'pooled' looks for the pooling behind a convolution, which {hiding[0]!r} may "
            "leave out: filter by stage, label, step or rank"
        )
    key = ["rank", "module_id", "signature_id"]
    return inside.join(pooled_sites(trace), on=key, how="left", maintain_order="left").with_columns(
        sites=pl.coalesce("pooled", "sites")
    )


def _counts(counts: pl.DataFrame) -> dict[str, float]:
    return {
        "dense_pe_cycle_count": int(counts["pe_cycles"].sum()),
        "stage_count": counts["module"].n_unique(),
    }


def _stages(counts: pl.DataFrame, rows: pl.DataFrame, config: SpikeSimConfig) -> dict[str, Any]:
    sized = counts.with_columns(xbar_size=pl.lit(config.xbar_size))
    return {
        "energy_by_stage": energy_by_stage(rows),
        "energy_by_component": energy_by_component(rows),
        "event_stats_by_stage": statistics_by_stage(counts, config.xbar_size),
        "stage_metadata": metadata_by_stage(sized),
    }


def _input_types(counts: pl.DataFrame) -> str:
    calls, spiking = counts["calls"].sum(), counts.filter(spike_expr("in0"))["calls"].sum()
    elements = int((counts["in_numel"] * counts["calls"]).sum())
    text = f"{spiking} of {calls} convolution calls take spikes"
    if not elements or counts["nonzero"].null_count():
        return text
    return (
        f"{text}; {1 - int(counts['nonzero'].sum()) / elements:.1%} of all input elements are zero"
    )


def _parts(counts: pl.DataFrame, config: SpikeSimConfig) -> dict[str, dict[str, float]]:
    """Return the parts of a PE cycle in pJ, by the number of kernel positions."""
    return {
        str(taps): {
            **patch_control_parts_pj(config),
            "neuron_pj": config.neuron_pj,
            "xbar_pj": config.xbar_size / BASE * taps * config.xbar_pj,
            "total_pj": unit_pj("pe_cycle", taps, config),
        }
        for taps in counts["kernel_numel"].unique().sort()
    }
