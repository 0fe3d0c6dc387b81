"""MACs of matrix products, convolutions and attention, dense, from their signatures alone."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from ..trace.trace import Trace

_FACTORS = {"aten.mm": 0, "aten.bmm": 0, "aten.addmm": 1, "aten.baddbmm": 1}
"""Packet -> slot of the first factor; its last dimension is summed over."""

_CONVOLUTIONS = ("aten.convolution", "aten._convolution", "aten.cudnn_convolution")


def forward_products(trace: Trace) -> pl.DataFrame:
    """Return the forward products by module and op.

    Returns:
        `module` (path of the innermost module; null outside), `op`, `calls` and `macs`, in the
        order of the first calls. A spike input counts as a dense one.
    """
    modules = trace.modules.select("rank", "module_id", module="path")
    return (
        products_of(trace)
        .join(modules, on=["rank", "module_id"], how="left", maintain_order="left")
        .group_by("module", "op")
        .agg(pl.col("first").min(), pl.col("calls", "macs").sum())
        .sort("first", "module", "op")
        .drop("first")
    )


def products_of(trace: Trace) -> pl.DataFrame:
    """Return the forward products by module id.

    Returns:
        `rank`, `module_id` (of the innermost module; null outside), `op`, `training` (its mode;
        null outside), `calls`, `macs` and `first` (the seq of the first call), in that order. A
        spike input counts as a dense one.
    """
    static = [
        {"rank": row["rank"], "signature_id": row["signature_id"], "op": row["op"], "each": macs}
        for row in trace.signatures.iter_rows(named=True)
        if (macs := product_macs(row)) is not None
    ]
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "op": pl.String, "each": pl.Int64}
    return (
        trace.calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(pl.LazyFrame(static, schema=schema), on=["rank", "signature_id"])
        .group_by("rank", "module_id", "op", "training")
        .agg(
            calls=pl.len().cast(pl.Int64),
            macs=pl.col("each").sum(),
            first=pl.col("seq").min(),
        )
        .collect(engine="streaming")
        .sort("rank", "first")
    )


def product_macs(signature: dict[str, Any]) -> int | None:
    """Return the MACs of a call of a signature; None if it is no product."""
    packet: str = signature["packet"]
    shapes: dict[tuple[str, int], list[int]] = {
        (o["role"], o["slot"]): o["shape"] for o in signature["operands"]
    }
    out = shapes.get(("out", 0))
    if packet in _FACTORS:
        first = shapes.get(("in", _FACTORS[packet]))
        return None if out is None or not first else prod(out) * first[-1]
    x, w = shapes.get(("in", 0)), shapes.get(("in", 1))
    if x is None or w is None or out is None:
        return None
    if packet in _CONVOLUTIONS:
        a = json.loads(signature["arguments"])
        positions = prod(x[2:]) if a.get("transposed") else prod(out[2:])
        return out[0] * positions * prod(w[2:]) * w[0] * w[1]
    if packet.startswith("aten._scaled_dot_product") and not packet.endswith("backward"):
        v = shapes.get(("in", 2))
        return None if v is None else prod(x[:-1]) * w[-2] * (x[-1] + v[-1])
    return None
