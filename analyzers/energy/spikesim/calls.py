"""Tables of the forward convolutions of a trace, as SpikeSim's model sees them."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ...workload.geometry import weight_layer

if TYPE_CHECKING:
    from ...trace.trace import Trace

PACKETS = ("aten.convolution", "aten._convolution", "aten.cudnn_convolution")

_GEOMETRY: dict[str, pl.DataType | type[pl.DataType]] = {
    "rank": pl.Int32,
    "signature_id": pl.Int32,
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
    "macs": pl.Int64,
}
"""Of a signature. `images` is the first dimension (samples times steps); `sites` are the output
positions of one image; `macs` of one call; `differentiable`: an operand required a gradient."""

_MODULE = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "class": pl.String,
    "kind": pl.String,
    "weights_of": pl.Int32,
}


def conv_calls(trace: Trace, xbar_size: int, *, events: bool) -> pl.DataFrame:
    """Return the forward convolutions, calls that differ in nothing but their data added up.

    Args:
        trace: the trace.
        xbar_size: channels of an input tile.
        events: whether the statistics of crossbars are asked for.

    Returns:
        `rank`, `module_id`, `module` (path; null outside), `class`, `kind` (Conv2d, ...; null in
        no such module), `weights_of` (first path of the module), `stage`, `label`, `step`,
        `training`, `grad_enabled`, `in0_class`, the geometry (`_GEOMETRY`), `calls`, `first_seq`,
        `unmeasured` (calls without statistics of crossbars), and sums over the calls: `nonzero`
        (null: not known), `x_fanout`,
        `active_sites`, `patches` and `rest_rows` (of the last, partial tile), and `rows_0`,
        `rows_1`, ... of each input tile, as many as the widest input has. Without `events`, and
        where the trace cannot tell them of this size, `patches` and `rest_rows` are null and
        there is no `rows_0`. In the order of the first calls.
    """
    keys = (
        *("rank", "signature_id", "module_id", "stage", "label", "step"),
        *("training", "grad_enabled", "in0_class"),
    )
    geometry = _geometries(trace)
    most = max(geometry["in_channels"].to_list(), default=0)
    widths = trace.manifest.tile_widths if events else []
    tiles = _tiles(widths, xbar_size, most)
    calls = (
        trace.calls.with_columns(pl.col("stage", "label").cast(pl.String))
        .filter(pl.col("stage") == "forward")
        .join(
            geometry.lazy().select("rank", "signature_id", "in_channels"),
            on=["rank", "signature_id"],
        )
        .group_by(keys)
        .agg(
            calls=pl.len().cast(pl.Int64),
            first_seq=pl.col("seq").min(),
            unmeasured=pl.col("active_sites").is_null().sum().cast(pl.Int64),
            x_fanout=pl.col("x_fanout").sum(),
            nonzero=pl.when(pl.col("in0_nonzero").is_null().any())
            .then(None)
            .otherwise(pl.col("in0_nonzero").sum()),
            active_sites=pl.col("active_sites").sum(),
            **tiles,
        )
        .collect()
    )
    return (
        calls.join(geometry, on=["rank", "signature_id"])
        .join(_modules(trace), on=["rank", "module_id"], how="left")
        .sort("rank", "first_seq")
    )


def _tiles(widths: list[int], xbar_size: int, most: int) -> dict[str, pl.Expr]:
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


def _modules(trace: Trace) -> pl.DataFrame:
    rows = (
        {
            **{name: row[name] for name in ("rank", "module_id", "class")},
            "module": row["path"],
            "kind": (weight_layer(row) or {}).get("kind"),
            "weights_of": row["module_id"] if row["same_as"] is None else row["same_as"],
        }
        for row in trace.modules.iter_rows(named=True)
    )
    return pl.DataFrame(list(rows), schema=_MODULE)


def _geometries(trace: Trace) -> pl.DataFrame:
    """Return the geometry of every signature of a convolution (`_GEOMETRY`)."""
    rows = (
        _geometry(row)
        for row in trace.signatures.filter(pl.col("packet").is_in(PACKETS)).iter_rows(named=True)
    )
    return pl.DataFrame([row for row in rows if row], schema=_GEOMETRY)


def _geometry(signature: dict[str, Any]) -> dict[str, Any] | None:
    operands = {(o["role"], o["slot"]): o for o in signature["operands"]}
    x, w, out = (operands.get(key) for key in (("in", 0), ("in", 1), ("out", 0)))
    if x is None or w is None or out is None:
        return None
    a = json.loads(signature["arguments"])
    kernel = w["shape"][2:]
    spatial = len(kernel)
    transposed, groups = bool(a.get("transposed")), int(a.get("groups") or 1)
    channels_in, channels_out = x["shape"][1], out["shape"][1]
    positions = x["numel"] // channels_in if transposed else out["numel"] // channels_out
    return {
        "rank": signature["rank"],
        "signature_id": signature["signature_id"],
        "op": signature["op"],
        "in_shape": x["shape"],
        "out_shape": out["shape"],
        "in_channels": channels_in,
        "out_channels": channels_out,
        "kernel": kernel,
        "kernel_numel": prod(kernel),
        **{n: _each(a.get(n), spatial) for n in ("stride", "padding", "dilation")},
        "groups": groups,
        "transposed": transposed,
        "differentiable": any(o["requires_grad"] for o in (x, w)),
        "in_numel": x["numel"],
        "images": out["shape"][0],
        "sites": prod(out["shape"][2:]),
        "macs": positions * channels_in * channels_out // groups * prod(kernel),
    }


def _each(value: Any, spatial: int) -> list[int]:
    """Return an argument for each spatial dimension; one number stands for all."""
    found = [value] if isinstance(value, int) else list(value or [0])
    return found if len(found) == spatial else found * spatial


def calls_of(trace: Trace, convolutions: pl.DataFrame) -> pl.LazyFrame:
    """Return the module calls that some convolutions ran in.

    Args:
        trace: the trace.
        convolutions: rows of `conv_calls`, inside modules.
    """
    key = ["rank", "module_id", "training", "grad_enabled"]
    return trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward").join(
        convolutions.lazy().select(key).unique(), on=key, how="semi"
    )
