"""SpikeSim's crossbars: how often the parts of a processing element (PE) work, and at what price.

Amounts come first and know no energy, so that one table of them is priced for any number of
configurations.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ....schemas import TraceError
from ....schemas.costs.spikesim import SpikeSimConfig
from ...workload.spikes import spike_expr
from .scope import listed

KEYS = ("module", "stage", "op", "label", "step")
"""What an amount belongs to; columns of every report's rows."""

STRUCTURAL = frozenset(
    {"xbar_size", "device", "activity_mode", "sites", "require_if_lif_neurons", "with_gradients"}
)
"""Fields of the configuration that amounts or warnings depend on; all others are prices."""

BASE = 8
"""Columns that share a converter: the source writes xbar_size/8 wherever it counts them."""


def patch_control_parts_pj(config: SpikeSimConfig) -> dict[str, float]:
    """Return what a PE cycle costs beside crossbars and neuron, in pJ, part by part.

    `htree + mem_fetch + tile_buffer + X/8·(16·sub + temp) + (X/8)²·(adc + mux)`, X the
    crossbar's size.
    """
    share = config.xbar_size / BASE
    return {
        "htree_pj": config.htree_pj,
        "mem_fetch_pj": config.mem_fetch_pj,
        "tile_buffer_pj": config.tile_buffer_pj,
        "sub_pj": share * 16 * config.sub_pj,
        "temp_buffer_pj": share * config.temp_buffer_pj,
        "adc_pj": share * share * config.adc_pj,
        "mux_pj": share * share * config.mux_pj,
    }


def unit_pj(component: str, kernel_numel: int, config: SpikeSimConfig) -> float:
    """Return the energy of one unit of a component in pJ.

    Args:
        component: `pe_cycle` (dense): `patch_control + neuron + X/8·kh·kw·crossbar`; or, by
            events, `patch_control` (a patch and output tile), `xbar` (an active row, `crossbar/8`
            an output tile) and `neuron` (an active site and pair of tiles).
        kernel_numel: kh·kw of the convolution; a PE holds a crossbar for each.
        config: the constants.
    """
    if component == "neuron":
        return config.neuron_pj
    if component == "xbar":
        return config.xbar_pj / BASE
    control = sum(patch_control_parts_pj(config).values())
    if component == "patch_control":
        return control
    return control + config.neuron_pj + kernel_numel * (config.xbar_size / BASE * config.xbar_pj)


def tiles(channels: int, xbar_size: int) -> list[int]:
    """Return the channels of each tile: full ones of `xbar_size`, and what is left."""
    full, rest = divmod(channels, xbar_size)
    return [xbar_size] * full + ([rest] if rest else [])


def mapped(
    calls: pl.DataFrame, config: SpikeSimConfig, widths: list[int], by_values_only: bool
) -> pl.DataFrame:
    """Add to rows of `conv_calls` what crossbars of one size make of them.

    Args:
        calls: rows inside the model; `sites` may be those of a pooling.
        config: the crossbar's size and the mode.
        widths: tile widths that the trace has statistics of.
        by_values_only: whether any {0, 1} tensor is spikes, wherever it comes from.

    Returns:
        `in_tiles`, `out_tiles`, `full_tiles`, `rest` (channels of the last, partial tile), `event`
        (the calls count by events), `all_sites` (of all images and calls), `pe_cycles`, and what
        is active, all of it where `event` is false: `live_sites`, `live_patches` ((site, input
        tile) pairs), `full_rows` and `rest_rows` (inputs that meet a kernel position, in full
        tiles and the partial one) and `weighted_rows` (over tiles, rows · X/t).

    Raises:
        TraceError: event mode, and the trace has no statistics for this size or at all.
    """
    size = config.xbar_size
    c_in, c_out = pl.col("in_channels"), pl.col("out_channels")
    event = spike_expr("in0", by_values_only=by_values_only) & (config.activity_mode == "event")
    frame = calls.with_columns(
        in_tiles=(c_in + size - 1) // size,
        out_tiles=(c_out + size - 1) // size,
        full_tiles=c_in // size,
        rest=c_in % size,
        event=event,
        all_sites=pl.col("images") * pl.col("sites") * pl.col("calls"),
    )
    if config.activity_mode == "event":
        _refuse_unmeasured(frame, size, widths)
    frame = frame.with_columns(
        event=pl.col("event").fill_null(False),
        pe_cycles=pl.col("all_sites") * pl.col("in_tiles") * pl.col("out_tiles"),
    )
    weighted = pl.col("rest_rows") * size / pl.col("rest")
    return frame.with_columns(**_live(size)).with_columns(
        weighted_rows=pl.col("full_rows")
        + pl.when(pl.col("rest") > 0).then(weighted).otherwise(0.0)
    )


def _live(size: int) -> dict[str, pl.Expr]:
    """Return what is active: the trace's statistics for event calls, everything for others."""
    sites, taps, event = pl.col("all_sites"), pl.col("kernel_numel"), pl.col("event")
    alone = pl.col("in_tiles") == 1
    rows = pl.col("x_fanout") // pl.col("out_channels")
    rest_rows = (
        pl.when(alone)
        .then(pl.when(pl.col("rest") > 0).then(rows).otherwise(0))
        .otherwise("rest_rows")
    )
    return {
        "live_sites": pl.when(event).then("active_sites").otherwise(sites),
        "live_patches": pl.when(event)
        .then(pl.when(alone).then("active_sites").otherwise("patches"))
        .otherwise(sites * pl.col("in_tiles")),
        "full_rows": pl.when(event)
        .then(rows - rest_rows)
        .otherwise(sites * taps * pl.col("full_tiles") * size),
        "rest_rows": pl.when(event).then(rest_rows).otherwise(sites * taps * pl.col("rest")),
    }


def _refuse_unmeasured(frame: pl.DataFrame, size: int, widths: list[int]) -> None:
    unknown = frame.filter(
        pl.col("in0_class").is_null() | (pl.col("event") & (pl.col("unmeasured") > 0))
    )
    if unknown.height:
        names = list(dict.fromkeys(unknown["module"]))
        raise TraceError(
            f"event mode needs to know which inputs were spikes, and the trace does not tell of "
            f"{listed(names)}: record with statistics='synaptic' or 'full', or use dense mode"
        )
    split = frame.filter(pl.col("event") & (pl.col("in_tiles") > 1))
    if size not in widths and split.height:
        known = ", ".join(str(width) for width in widths)
        most = max(split["in_channels"].to_list())
        raise TraceError(
            f"event mode knows crossbars of the trace's tile widths, {known}, and of {most} or "
            f"more (all channels of this network in one); xbar_size = {size} is neither"
        )


def amounts_of(counts: pl.DataFrame, config: SpikeSimConfig) -> pl.DataFrame:
    """Return how often each component works.

    Args:
        counts: what `mapped` returns.
        config: the mode.

    Returns:
        `KEYS`, `component`, `kernel_numel`, `calls` and `amount`: PE cycles; or patches times
        output tiles, weighted rows times output tiles, and sites times both tiles.
    """
    ins, outs = pl.col("in_tiles"), pl.col("out_tiles")
    dense = {"pe_cycle": pl.col("pe_cycles")}
    event = {
        "patch_control": pl.col("live_patches") * outs,
        "xbar": pl.col("weighted_rows") * outs,
        "neuron": pl.col("live_sites") * ins * outs,
    }
    tables = [
        counts.select(
            *KEYS, "kernel_numel", "calls", component=pl.lit(name), amount=amount.cast(pl.Float64)
        )
        for name, amount in (event if config.activity_mode == "event" else dense).items()
    ]
    return (
        pl.concat(tables)
        .group_by(*KEYS, "component", "kernel_numel", maintain_order=True)
        .agg(pl.col("calls").sum(), pl.col("amount").sum())
    )


def priced(amounts: pl.DataFrame, config: SpikeSimConfig) -> pl.DataFrame:
    """Add `energy_pj` to what `amounts_of` returns."""
    kinds = amounts.select("component", "kernel_numel").unique(maintain_order=True)
    prices = [unit_pj(component, taps, config) for component, taps in kinds.iter_rows()]
    units = kinds.with_columns(unit_pj=pl.Series(prices, dtype=pl.Float64))
    return (
        amounts.join(units, on=["component", "kernel_numel"], maintain_order="left")
        .with_columns(energy_pj=pl.col("amount") * pl.col("unit_pj"))
        .drop("unit_pj")
    )


def breakdown_pj(
    totals: Mapping[tuple[str, int], float], config: SpikeSimConfig
) -> dict[str, float]:
    """Return the energy by component in pJ.

    Args:
        totals: (component, kernel_numel) -> amount.
        config: the constants.
    """
    parts: dict[str, float] = {}
    for (component, taps), amount in totals.items():
        name = f"{component}_pj"
        parts[name] = parts.get(name, 0.0) + amount * unit_pj(component, taps, config)
    return parts
