"""How often a processing element's parts work: counts by call group, before anything is priced."""

from __future__ import annotations

import polars as pl

from ...schemas import TraceError
from ...schemas.costs.spikesim import SpikeSimConfig
from ..spikes import spike_expr
from .charges import KEYS
from .spikesim_formulas import event_xbar_pj, patch_control_pj, pe_cycle_pj
from .spikesim_scope import listed

DENSE = ("pe_cycle",)
EVENT = ("patch_control", "xbar", "neuron")
"""Components of an estimate, by mode."""


def counted(
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
    return frame.with_columns(**_live(size, widths)).with_columns(
        weighted_rows=pl.col("full_rows")
        + pl.when(pl.col("rest") > 0)
        .then(pl.col("rest_rows") * size / pl.col("rest"))
        .otherwise(0.0)
    )


def _live(size: int, widths: list[int]) -> dict[str, pl.Expr]:
    """Return what is active: the trace's statistics for event calls, everything for others."""
    sites, taps, event = pl.col("all_sites"), pl.col("kernel_numel"), pl.col("event")
    alone = pl.col("in_tiles") == 1
    rows = pl.col("x_fanout") // pl.col("out_channels")
    known = size in widths
    patches = pl.col(f"patches_{size}") if known else pl.lit(None, pl.Int64)
    last = pl.col(f"last_rows_{size}") if known else pl.lit(None, pl.Int64)
    rest_rows = (
        pl.when(alone).then(pl.when(pl.col("rest") > 0).then(rows).otherwise(0)).otherwise(last)
    )
    return {
        "live_sites": pl.when(event).then("active_sites").otherwise(sites),
        "live_patches": pl.when(event)
        .then(pl.when(alone).then("active_sites").otherwise(patches))
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
        most = split["in_channels"].max()
        raise TraceError(
            f"event mode knows crossbars of the trace's tile widths, {known}, and of {most} or "
            f"more (all channels of this network in one); xbar_size = {size} is neither"
        )


def priced(counts: pl.DataFrame, config: SpikeSimConfig) -> pl.DataFrame:
    """Return the energy of what `counted` returns, a row for each component.

    Returns:
        `module`, `stage`, `op`, `label`, `step`, `component`, `calls`, `amount` (PE cycles; or
        patches times output tiles, weighted rows times output tiles, and sites times both tiles)
        and `energy_pj`.
    """
    ins, outs = pl.col("in_tiles"), pl.col("out_tiles")
    rows = pl.col("weighted_rows")
    dense = {"pe_cycle": (pl.col("pe_cycles"), pe_cycle_pj(config, pl.col("kernel_numel")))}
    event = {
        "patch_control": (pl.col("live_patches") * outs, pl.lit(patch_control_pj(config))),
        "xbar": (rows * outs, pl.lit(event_xbar_pj(config, 1.0, 1.0))),
        "neuron": (pl.col("live_sites") * ins * outs, pl.lit(config.neuron_pj)),
    }
    parts = event if config.activity_mode == "event" else dense
    keys = (*KEYS, "component")
    tables = [
        counts.select(
            *KEYS,
            "calls",
            component=pl.lit(name),
            amount=amount.cast(pl.Float64),
            energy_pj=amount.cast(pl.Float64) * unit_pj,
        )
        for name, (amount, unit_pj) in parts.items()
    ]
    return (
        pl.concat(tables)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("calls").sum(), pl.col("amount").sum(), pl.col("energy_pj").sum())
    )
