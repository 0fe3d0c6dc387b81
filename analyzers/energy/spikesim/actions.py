"""SpikeSim's crossbars: how often the parts of a processing element (PE) work.

Action counts know no energy, so one table of them is priced for any number of configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas import TraceError
from ....schemas.costs.spikesim import SpikeSimConfig
from ...frames import at_once
from ...rules import family_of
from ...rules.geometry import Convolution, product_of
from ...text import listed
from ...trace.files import collected
from ...trace.filters import of_signatures
from ...trace.signatures import of_each_signature
from ...workload.layers import layers_of
from ...workload.spikes import with_spikes
from ..row_keys import KEYS

if TYPE_CHECKING:
    from ...trace.trace import Trace

_GEOMETRY: dict[str, pl.DataType | type[pl.DataType]] = {
    "op": pl.String,
    "in_shape": pl.List(pl.Int64),
    "out_shape": pl.List(pl.Int64),
    "in_channels": pl.Int64,
    "out_channels": pl.Int64,
    "kernel": pl.List(pl.Int64),
    "kernel_numel": pl.Int64,
    "stride": pl.List(pl.Int64),
    "padding": pl.List(pl.Int64),
    "dilation": pl.List(pl.Int64),
    "groups": pl.Int64,
    "transposed": pl.Boolean,
    "differentiable": pl.Boolean,
    "in_numel": pl.Int64,
    "images": pl.Int64,
    "sites": pl.Int64,
}
"""Of a convolution's signature. `images` is the first dimension (samples times steps); `sites` are
the output positions of one image; `differentiable`: an operand required a gradient."""


def conv_calls(
    trace: Trace, xbar_size: int, *, events: bool, by_values_only: bool, spikes: str = "binary"
) -> pl.DataFrame:
    """Return the forward convolutions, calls that differ in nothing but their data added up.

    Args:
        trace: the trace.
        xbar_size: channels of an input tile.
        events: whether the statistics of crossbars are asked for.
        by_values_only: take constants for what their values are.
        spikes: what a spike tensor may hold.

    Returns:
        `rank`, `module_id`, `module` (path; null outside), `class`, `kind` (Conv2d, ...; null in
        no such module), `weights_of` (first path of the module), `stage`, `label`, `step`,
        `training`, `grad_enabled`, `in0_spikes`, the geometry (`_GEOMETRY`), `calls`,
        `first_seq`, `unmeasured` (calls without statistics of crossbars), and sums over the
        calls: `nonzero` (null: not known), `x_fanout`,
        `active_sites`, `patches` and `rest_rows` (of the last, partial tile), and `rows_0`,
        `rows_1`, ... of each input tile, as many as the widest input has. Without `events`, and
        where the trace has no statistics of this size, `patches` and `rest_rows` are null and
        there is no `rows_0`. In the order of the first calls.
    """
    keys = (
        *("rank", "signature_id", "module_id", "stage", "label", "step"),
        *("training", "grad_enabled", "in0_spikes"),
    )
    geometry = _geometries(trace)
    most = max(geometry["in_channels"].to_list(), default=0)
    widths = trace.manifest.tile_widths if events else []
    nonzero = pl.when(pl.col("in0_nonzero").null_count() == 0).then(pl.col("in0_nonzero").sum())
    forward = of_signatures(
        trace.calls.filter(pl.col("stage") == "forward"),
        geometry.select("rank", "signature_id", "in_channels"),
    )
    calls = (
        with_spikes(trace, ("in0",), spikes, by_values_only=by_values_only, calls=forward)
        .group_by(keys)
        .agg(
            pl.col("x_fanout", "active_sites").sum(),
            calls=pl.len().cast(pl.Int64),
            first_seq=pl.col("seq").min(),
            unmeasured=pl.col("active_sites").is_null().sum().cast(pl.Int64),
            nonzero=nonzero,
            **_tile_sums(widths, xbar_size, most),
        )
        .pipe(collected, trace)
    )
    kinds = layers_of(trace).lazy().select("rank", "module_id", "kind")
    modules = trace.modules.lazy().select(
        "rank", "module_id", "class", module="path",
        weights_of=pl.coalesce("same_as", "module_id"),
    )  # fmt: skip
    return (
        calls.lazy()
        .join(geometry.lazy(), on=["rank", "signature_id"])
        .join(modules, on=["rank", "module_id"], how="left")
        .join(kinds, on=["rank", "module_id"], how="left")
        .sort("rank", "first_seq")
        .pipe(at_once)
    )


def _tile_sums(widths: list[int], xbar_size: int, most: int) -> dict[str, pl.Expr]:
    """Return the sums over calls that depend on the tiles' width.

    Args:
        widths: tile widths that the trace has statistics of.
        xbar_size: channels of an input tile.
        most: channels of the widest input.
    """
    if xbar_size not in widths:
        return dict.fromkeys(("patches", "rest_rows"), pl.lit(None, pl.Int64))
    patches = pl.col("active_patches").list.get(widths.index(xbar_size), null_on_oob=True)
    narrow = min(widths)  # `tile_rows` is by tile of this width, which divides all others
    together = xbar_size // narrow
    rows = pl.col("tile_rows")
    full = pl.col("in_channels") // xbar_size
    return {
        "patches": patches.sum(),
        "rest_rows": rows.list.slice(full * together).list.sum().sum(),
        **{
            f"rows_{tile}": rows.list.slice(tile * together, together).list.sum().sum()
            for tile in range(-(-most // xbar_size))
        },
    }


def _geometries(trace: Trace) -> pl.DataFrame:
    """Return the geometry of every signature of a convolution (`_GEOMETRY`)."""
    return of_each_signature(trace, _geometry, _GEOMETRY)


def _geometry(row: Mapping[str, Any]) -> dict[str, Any] | None:
    conv = product_of(row) if family_of(row["op"]) == "convolution" else None
    if not isinstance(conv, Convolution):
        return None
    found = (
        *(conv.op, conv.x.shape, conv.out_shape, *conv.channels, conv.kernel, prod(conv.kernel)),
        *(conv.stride, conv.padding, conv.dilation, conv.groups, conv.transposed),
        conv.x.requires_grad or conv.weight.requires_grad,
        *(conv.x.numel, conv.out_shape[0], prod(conv.out_shape[2:])),
    )
    return dict(zip(_GEOMETRY, found, strict=True))


def tiles(channels: int, xbar_size: int) -> list[int]:
    """Return the channels of each tile: full ones of `xbar_size`, and what is left."""
    full, rest = divmod(channels, xbar_size)
    return [xbar_size] * full + ([rest] if rest else [])


def mapped(calls: pl.DataFrame, config: SpikeSimConfig, widths: list[int]) -> pl.DataFrame:
    """Add to rows of `conv_calls` what crossbars of one size make of them.

    Args:
        calls: rows inside the model; `sites` may be those of a pooling.
        config: the crossbar's size and the mode.
        widths: tile widths that the trace has statistics of.

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
    event = pl.col("in0_spikes") & (config.activity_mode == "event")
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
        pl.col("in0_spikes").is_null() | (pl.col("event") & (pl.col("unmeasured") > 0))
    )
    if unknown.height:
        names = list(dict.fromkeys(unknown["module"]))
        raise TraceError(
            f"event mode needs to know which inputs were spikes, which was not recorded of "
            f"{listed(names)}: record with statistics='synaptic' or 'full', or use dense mode"
        )
    split = frame.filter(pl.col("event") & (pl.col("in_tiles") > 1))
    if size not in widths and split.height:
        known = ", ".join(str(width) for width in widths)
        most = max(split["in_channels"].to_list())
        raise TraceError(
            f"xbar_size = {size} is not available in event mode: expected a tile width of the "
            f"trace ({known}), or {most} or more (all channels of this network in one tile)"
        )


def actions_of(counts: pl.DataFrame, config: SpikeSimConfig) -> pl.DataFrame:
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
