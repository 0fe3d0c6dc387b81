"""What NeuroMC's fragments do not cover, by revision: what is free, what is left out by name."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import polars as pl

from ...workload.products import product_macs
from .free_ops import FREE, LOSSES, MOVES, RELEASE
from .operands import (
    CONVOLUTION_BACKWARDS,
    CONVOLUTIONS,
    MATMULS,
    NORM_BACKWARDS,
    NORMS,
    Convolution,
    Matmul,
    Norm,
    product_of,
)

if TYPE_CHECKING:
    from ...trace.trace import Trace

LEFT_OUT = {"what": pl.String, "calls": pl.Int64, "macs": pl.Int64}


def op_counts(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id`, `stage`, `module_id` and `calls` of everything that ran."""
    return (
        trace.calls.group_by("rank", "signature_id", "stage", "module_id")
        .agg(calls=pl.len().cast(pl.Int64))
        .with_columns(pl.col("stage").cast(pl.String))
        .collect(engine="streaming")
    )


def left_out(
    counts: pl.DataFrame, trace: Trace, revision: str, neurons: pl.DataFrame, convs: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the ops that no fragment covers and that are not free.

    Args:
        counts: see `op_counts`; of the optimizer's stage nothing is looked at.
        trace: the trace.
        revision: whose rule.
        neurons: `rank`, `module_id` of neurons and what is below them; revision source: their work
            is that of their fragment.
        convs: likewise of Conv1d and Conv2d modules; 2.0 knows the backward of these alone.

    Returns:
        `what`, `calls` and `macs` (null: the op multiplies, but nobody knows how much); and the
        same of what is outside the account: losses, and what runs outside every module.
    """
    rows = [
        (row["rank"], row["signature_id"], row["op"], row["packet"], row["is_view"], _macs(row),
         _spatial(row))
        for row in trace.signatures.iter_rows(named=True)
    ]  # fmt: skip
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "op": pl.String, "packet": pl.String,
              "is_view": pl.Boolean, "each": pl.Int64, "spatial": pl.Int64}  # fmt: skip
    found = counts.filter(pl.col("stage") != "optimizer").join(
        pl.DataFrame(rows, schema=schema, orient="row"), on=["rank", "signature_id"]
    )
    if revision != "source":
        own = pl.lit(revision == "spikingjelly-2.0") & pl.col("own")
        marked = found.join(
            convs.with_columns(own=pl.lit(True)), on=["rank", "module_id"], how="left"
        ).with_columns(pl.col("own").fill_null(False))
        return _summed(marked.filter(~_release_knows(own))), _summed(found.head(0))
    found = found.join(neurons, on=["rank", "module_id"], how="anti", nulls_equal=True)
    found = found.filter(~_source_knows())
    multiplies = pl.col("each").is_null() | (pl.col("each") > 0)
    loss = pl.any_horizontal(pl.col("packet").str.contains(word, literal=True) for word in LOSSES)
    nowhere = pl.lit(trace.modules.height > 0) & pl.col("module_id").is_null()
    outside = (loss | nowhere) & ~multiplies
    return _summed(found.filter(~outside)), _summed(found.filter(outside))


def _summed(found: pl.DataFrame) -> pl.DataFrame:
    volume = pl.when(pl.col("spatial") > 2).then(pl.format("{} (3-d)", "op")).otherwise("op")
    macs = (pl.col("each") * pl.col("calls")).sum()
    return (
        found.group_by(what=volume)
        .agg(pl.col("calls").sum(), macs=pl.when(pl.col("each").null_count() == 0).then(macs))
        .sort("macs", "calls", "what", descending=[True, True, False])
        .cast(LEFT_OUT)  # type: ignore[arg-type]
    )


def _source_knows() -> pl.Expr:
    """Return whether an op has a fragment, or nothing to charge."""
    packet, op = pl.col("packet"), pl.col("op")
    products = [*MATMULS, *NORMS, *NORM_BACKWARDS]
    convolutions = [*CONVOLUTIONS, *CONVOLUTION_BACKWARDS]
    return (
        packet.is_in(products)
        | (packet.is_in(convolutions) & (pl.col("spatial") <= 2))
        | pl.col("is_view")
        | op.is_in(list(FREE))
        | packet.is_in(list(MOVES))
    )


def _release_knows(own_convolution: pl.Expr) -> pl.Expr:
    """Return whether a revision of SpikingJelly lets an op pass.

    Neither has a fragment for what it meets in three dimensions of space, batch norm included.

    Args:
        own_convolution: whether the backward of a convolution is known.
    """
    op = pl.col("op")
    known = op.is_in(list(RELEASE)) | (
        (op == "aten.convolution_backward.default") & own_convolution
    )
    return op.is_in(list(FREE)) | (known & (pl.col("spatial").fill_null(0) <= 2))


def _spatial(signature: dict[str, Any]) -> int | None:
    """Return the dimensions in space of a convolution or batch norm; None for anything else."""
    one = product_of(signature)
    if isinstance(one, Norm):
        return max(len(one.shape) - 2, 0)
    return one.spatial if isinstance(one, Convolution) else None


_MULTIPLY = ("rnn", "lstm", "gru", "_mm", "attention", "linear", "outer")
"""In the names of ops that multiply, how much only their own rules know."""


def _macs(signature: dict[str, Any]) -> int | None:
    """Return the MACs of a call; None if it multiplies and its signature does not tell how much."""
    one, packet = product_of(signature), signature["packet"]
    if isinstance(one, Convolution) and packet in CONVOLUTION_BACKWARDS:
        return sum(one.wanted) * one.macs
    if isinstance(one, Matmul | Convolution):
        return one.macs
    macs = product_macs(signature)
    if macs is None and packet.startswith("aten._scaled_dot_product"):
        return _attention_backward(signature)
    unknown = macs is None and any(word in packet for word in _MULTIPLY)
    return None if unknown else macs or 0


def _attention_backward(signature: dict[str, Any]) -> int | None:
    """Return the MACs of attention's backward: scores again, and four gradients."""
    shapes: dict[int, list[int]] = {
        o["slot"]: o["shape"] for o in signature["operands"] if o["role"] == "in"
    }
    query, key, value = (shapes.get(slot) for slot in (1, 2, 3))
    if not query or not key or not value:
        return None
    return prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])
