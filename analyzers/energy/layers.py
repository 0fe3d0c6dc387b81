"""Tables of the calls that energy models charge by layer: weight layers and spiking neurons."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from ..trace import Trace

ID = ("rank", "module_call_id")
"""What names a module call."""

# x, the operand that carries activations, by op: (packet, input slot).
_MAIN_OPS = {
    "aten.convolution": 0,
    "aten._convolution": 0,
    "aten.cudnn_convolution": 0,
    "aten.mm": 0,
    "aten.bmm": 0,
    "aten.addmm": 1,
    "aten.baddbmm": 1,
}
_STATIC = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "class": pl.String,
    "kind": pl.String,
    "in_channels": pl.Int64,
    "out_channels": pl.Int64,
    "groups": pl.Int64,
    "kernel": pl.List(pl.Int64),
    "stride": pl.List(pl.Int64),
    "kernel_numel": pl.Int64,
    "strided_taps": pl.Int64,
    "weight_shape": pl.List(pl.Int64),
    "weight_numel": pl.Int64,
    "weight_bytes": pl.Int64,
    "bias_numel": pl.Int64,
    "bias_bytes": pl.Int64,
}
_CALL = ("stage", "label", "step", "training", "grad_enabled", "step_mode", "batch", "time_steps")


def weight_layer(module: dict[str, Any]) -> dict[str, Any] | None:
    """Return the geometry of a Linear, convolution or transposed convolution module.

    Args:
        module: a row of the trace's `modules`.

    Returns:
        The columns of `_STATIC` but `rank`; None for any other module. Layers are known by their
        attributes and weight, so subclasses (SpikingJelly's, a user's) are layers too.
    """
    a = json.loads(module["attributes"] or "{}")
    parameters = {p["name"]: p for p in module["parameters"] or ()}
    weight = parameters.get("weight") or parameters.get("parametrizations.weight.original")
    shape = weight["shape"] if weight else []
    if "in_features" in a and "out_features" in a and len(shape) == 2:
        kind, c_in, c_out, kernel, stride = "Linear", a["in_features"], a["out_features"], [], []
    elif "in_channels" in a and "kernel_size" in a and len(shape) >= 3:
        spatial = len(shape) - 2
        kind = f"{'ConvTranspose' if a.get('transposed') else 'Conv'}{spatial}d"
        c_in, c_out = a["in_channels"], a["out_channels"]
        kernel, stride = shape[2:], _each(a.get("stride", 1), spatial)
    else:
        return None
    bias = parameters.get("bias") or {"numel": 0, "bytes": 0}
    return {
        "module_id": module["module_id"],
        "module": module["path"],
        "class": module["class"],
        "kind": kind,
        "in_channels": c_in,
        "out_channels": c_out,
        "groups": a.get("groups", 1),
        "kernel": kernel,
        "stride": stride,
        "kernel_numel": prod(kernel),
        "strided_taps": prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)),
        "weight_shape": shape,
        "weight_numel": weight["numel"] if weight else 0,
        "weight_bytes": weight["bytes"] if weight else 0,
        "bias_numel": bias["numel"],
        "bias_bytes": bias["bytes"],
    }


def _each(value: int | list[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def layer_calls(trace: Trace) -> pl.DataFrame:
    """Return one row for each call of a Linear, convolution or transposed convolution module.

    Returns:
        `rank`, `module_call_id`, `sample`, the module's geometry (`_STATIC`: `kernel_numel` is
        Π kernel, `strided_taps` is Π⌈kernel/stride⌉), how it was called (`_CALL`), its first
        input and output (`in_` and `out_` with `value`, `shape`, `numel`, `bytes`, `dtype`,
        `class`, `nonzero`), and of the product or convolution inside: `op`, `op_seq`, `fanout`
        ((nonzero input, output) pairs), `active_outputs`, `active_sites`, `active_patches` and
        `last_tile_rows`. Unknown facts are null.
    """
    static = pl.DataFrame(
        [
            {"rank": row["rank"], **layer}
            for row in trace.modules.iter_rows(named=True)
            if (layer := weight_layer(row)) is not None
        ],
        schema=_STATIC,
    )
    calls = _called(trace, static)
    calls = calls.join(_main_ops(trace, calls), on=ID, how="left", maintain_order="left")
    linear = pl.col("kind") == "Linear"
    return calls.with_columns(
        in_class=pl.coalesce("op_class", "in_class"),
        in_nonzero=pl.coalesce("op_nonzero", "in_nonzero"),
    ).with_columns(
        fanout=pl.when(linear)
        .then(pl.col("in_nonzero") * pl.col("out_channels"))
        .otherwise(pl.col("fanout"))
    )


def neuron_calls(trace: Trace) -> pl.DataFrame:
    """Return one row for each call of a spiking neuron.

    Returns:
        `rank`, `module_call_id`, `sample`, `module_id`, `module`, `class`, `neuron` (IF, LIF or
        other), `attributes` (JSON), how it was called (`_CALL`), its first input and output
        (`in_` and `out_` as in `layer_calls`; `out_nonzero` are its spikes) and the lists
        `state_before` and `state_after`.
    """
    static = (
        trace.modules.filter(pl.col("neuron").is_not_null())
        .rename({"path": "module"})
        .select("rank", "module_id", "module", "class", "neuron", "attributes")
    )
    return _called(trace, static, "state_before", "state_after")


def _called(trace: Trace, static: pl.DataFrame, *more: str) -> pl.DataFrame:
    """Join the calls of the modules in `static` with what their first input and output were."""
    calls = (
        trace.module_calls.join(static.lazy(), on=["rank", "module_id"])
        .select(
            *ID,
            "sample",
            *static.columns[1:],
            *_CALL,
            *more,
            "first_seq",
            "last_seq",
            *(
                pl.col(f"{side}puts").list.first().struct.field(name).alias(f"{side}_{new}")
                for side in ("in", "out")
                for name, new in (("value_id", "value"), ("shape", "shape"), ("dtype", "dtype"))
            ),
        )
        .sort(ID)
        .collect()
    )
    for side in ("in", "out"):
        known = _values(trace, calls.select("rank", f"{side}_value"), side)
        calls = calls.join(known, on=["rank", f"{side}_value"], how="left", maintain_order="left")
    return calls


def _values(trace: Trace, wanted: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return what the values in `wanted` (`rank`, `{side}_value`) were."""
    key = ["rank", f"{side}_value"]
    return (
        trace.values.select(
            "rank",
            pl.col("value_id").alias(f"{side}_value"),
            *(
                pl.col(name).alias(f"{side}_{name}")
                for name in ("numel", "bytes", "class", "nonzero", "storage_id")
            ),
        )
        .join(wanted.unique().lazy(), on=key, how="semi")
        .unique(key)
        .collect()
    )


def _main_ops(trace: Trace, layers: pl.DataFrame) -> pl.DataFrame:
    """Return, for each layer call, the product or convolution inside it."""
    ops = trace.signatures.filter(pl.col("packet").is_in(list(_MAIN_OPS))).select(
        "rank", "signature_id", "op", slot=pl.col("packet").replace_strict(_MAIN_OPS, default=0)
    )
    second = pl.col("slot") == 1
    statistics = ("active_outputs", "active_sites", "active_patches", "last_tile_rows")
    return (
        trace.calls.join(layers.select(ID).lazy(), on=ID, how="semi")
        .join(ops.lazy(), on=["rank", "signature_id"])
        .sort("rank", "seq")
        .group_by(ID, maintain_order=True)
        .agg(
            pl.col("op").first(),
            op_seq=pl.col("seq").first(),
            op_class=pl.when(second).then("in1_class").otherwise("in0_class").first(),
            op_nonzero=pl.when(second).then("in1_nonzero").otherwise("in0_nonzero").first(),
            fanout=pl.col("x_fanout").first(),
            **{name: pl.col(name).first() for name in statistics},
        )
        .collect()
    )
