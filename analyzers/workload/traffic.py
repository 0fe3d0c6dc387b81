"""Bytes that ops read and write, told apart by what the values were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ..trace.files import collected

if TYPE_CHECKING:
    from ..trace.trace import Trace

_SLOTS = {"in0": ("in", 0), "in1": ("in", 1), "in2": ("in", 2), "out0": ("out", 0)}


def bytes_by_kind(trace: Trace, keys: Sequence[str]) -> pl.DataFrame:
    """Return the bytes of the operands that calls read and of the results that they return.

    Dense, and without views, which move nothing.

    Args:
        trace: the trace.
        keys: columns of `calls` that are kept apart.

    Returns:
        `rank`, `signature_id`, `op`, `keys`, `kind` (of the value; null: not recorded), `calls`,
        `bytes_read` and `bytes_written` (null: a size is not known).
    """
    operands = _operand_bytes(trace)
    moving = operands.select("rank", "signature_id").unique().lazy()
    calls = trace.calls.join(moving, on=["rank", "signature_id"], how="semi")
    place = ["rank", "signature_id", *keys]
    first = [
        calls.select(
            *place, value_id=f"{name}_value",
            role=pl.lit(role), slot=pl.lit(slot, pl.Int32),
        )
        for name, (role, slot) in _SLOTS.items()
    ]  # fmt: skip
    more = (
        trace.call_operands.select(
            "rank", "seq", "value_id", role=pl.col("role").cast(pl.String), slot="slot"
        )
        .join(calls.select("rank", "seq", *place[1:]), on=["rank", "seq"])
        .select(*place, "value_id", "role", "slot")
    )
    kinds = trace.values.select("rank", "value_id", kind=pl.col("kind").cast(pl.String))
    used = (
        pl.concat([*first, more])
        .filter(pl.col("value_id").is_not_null())
        .join(kinds, on=["rank", "value_id"], how="left")
        .group_by(*place, "role", "slot", "kind")
        .agg(calls=pl.len().cast(pl.Int64))
        .pipe(collected, trace)
    )
    sized = used.join(operands, on=["rank", "signature_id", "role", "slot"], how="left")
    moved = pl.col("bytes") * pl.col("calls")
    return (
        sized.with_columns(
            bytes_read=pl.when(pl.col("role") == "in").then(moved).otherwise(0),
            bytes_written=pl.when(pl.col("role") == "out").then(moved).otherwise(0),
        )
        .join(trace.signatures.select("rank", "signature_id", "op"), on=["rank", "signature_id"])
        .select("rank", "signature_id", "op", *keys, "kind", "calls", "bytes_read", "bytes_written")
        .sort("rank", "signature_id", *keys, "kind", "bytes_read", "bytes_written", "calls",
              nulls_last=True)
    )  # fmt: skip


def _operand_bytes(trace: Trace) -> pl.DataFrame:
    """Return `rank`, `signature_id`, `role`, `slot` and `bytes` of the operands of no views."""
    return (
        trace.signatures.filter(~pl.col("is_view"))
        .select("rank", "signature_id", pl.col("operands").alias("operand"))
        .explode("operand")
        .filter(pl.col("operand").is_not_null())
        .select(
            "rank",
            "signature_id",
            role=pl.col("operand").struct.field("role"),
            slot=pl.col("operand").struct.field("slot"),
            bytes=pl.col("operand").struct.field("bytes"),
        )
        .unique(["rank", "signature_id", "role", "slot"], maintain_order=True)
    )
