"""The modules that energy models charge: weight layers with their geometry, and neurons."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from ..trace.trace import Trace

_STATIC = {
    "rank": pl.Int32,
    "module_id": pl.Int32,
    "module": pl.String,
    "kind": pl.String,
    "in_channels": pl.Int64,
    "out_channels": pl.Int64,
    "groups": pl.Int64,
    "kernel_numel": pl.Int64,
    "strided_taps": pl.Int64,
    "weight_numel": pl.Int64,
    "weight_bytes": pl.Int64,
    "bias_numel": pl.Int64,
    "bias_bytes": pl.Int64,
}


def weight_layer(module: dict[str, Any]) -> dict[str, Any] | None:
    """Return the geometry of a Linear, convolution or transposed convolution module.

    Args:
        module: a row of the trace's `modules`.

    Returns:
        The columns of `_STATIC` but `rank`: `kernel_numel` is Π kernel, `strided_taps` is
        Π⌈kernel/stride⌉. None for any other module. Layers are known by their attributes and
        weight, so subclasses (SpikingJelly's, a user's) are layers too.
    """
    a = json.loads(module["attributes"] or "{}")
    parameters = {p["name"]: p for p in module["parameters"] or ()}
    weight = parameters.get("weight") or parameters.get("parametrizations.weight.original")
    shape: list[int] = weight["shape"] if weight else []
    kernel: list[int] = []
    stride: list[int] = []
    if "in_features" in a and "out_features" in a and len(shape) == 2:
        kind, c_in, c_out = "Linear", a["in_features"], a["out_features"]
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
        "kind": kind,
        "in_channels": c_in,
        "out_channels": c_out,
        "groups": a.get("groups", 1),
        "kernel_numel": prod(kernel),
        "strided_taps": prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)),
        "weight_numel": weight["numel"] if weight else 0,
        "weight_bytes": weight["bytes"] if weight else 0,
        "bias_numel": bias["numel"],
        "bias_bytes": bias["bytes"],
    }


def _each(value: int | list[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def layers_of(trace: Trace) -> pl.DataFrame:
    """Return the geometry of every Linear and convolution in the module tree (`_STATIC`)."""
    found = [
        {"rank": row["rank"], **layer}
        for row in trace.modules.iter_rows(named=True)
        if (layer := weight_layer(row)) is not None
    ]
    return pl.DataFrame(found, schema=_STATIC)


def neurons_of(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `module_id`, `module` (path), `class` and `neuron` of spiking neurons."""
    return trace.modules.filter(pl.col("neuron").is_not_null()).select(
        "rank", "module_id", "class", "neuron", module="path"
    )
