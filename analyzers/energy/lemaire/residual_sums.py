"""Charges of sums of two feature maps in a formal network: residual connections.

With N elements in a sample: 2 N reads and N writes, each from or to a memory of N, N additions and
N of addressing. In a spiking network the authors charge nothing for them. Sums with parameters,
buffers or what an embedding looked up (positions, token types) are no connections of layers, and
with a batch of one their shapes do not tell them from those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .charges import charge, together

if TYPE_CHECKING:
    from ...trace.trace import Trace

PACKETS = ("aten.add", "aten.add_")


def sums_of(
    trace: Trace, owners: pl.DataFrame, batch: int | None, *, by_step: bool
) -> pl.DataFrame:
    """Return the sums of two feature maps of one shape that containers compute in eval mode.

    Args:
        trace: the trace.
        owners: what `owners_of` returns.
        batch: samples in a call; None: the first dimension tells.
        by_step: whether steps are kept apart.

    Returns:
        `rank`, `module_id`, `signature_id`, `KEYS`, `calls`, `numel` (of one operand of all calls)
        and `each` (of one sample).
    """
    containers = owners.filter(pl.col("owner").is_null()).select("rank", "module_id", "module")
    keys = ["rank", "module_id", "signature_id", "stage", "label", *(["step"] if by_step else [])]
    calls = trace.calls.filter(
        (pl.col("stage").cast(pl.String) == "forward") & ~pl.col("training").fill_null(True)
    ).join(sum_signatures(trace).lazy(), on=["rank", "signature_id"])
    others = _no_feature_maps(trace).collect(engine="streaming").lazy()
    for value in ("in0_value", "in1_value"):
        calls = calls.join(others.rename({"value_id": value}), on=["rank", value], how="anti")
    sums = (
        calls.group_by(*keys, "op", "numel", "first")
        .agg(calls=pl.len().cast(pl.Int64), began=pl.col("seq").min())
        .collect(engine="streaming")
        .sort("rank", "began")
    )
    if not by_step:
        sums = sums.with_columns(step=pl.lit(None, pl.Int32))
    samples = pl.col("first") if batch is None else pl.lit(batch)
    return sums.join(containers, on=["rank", "module_id"], maintain_order="left").with_columns(
        each=pl.col("numel") / samples, numel=pl.col("numel") * pl.col("calls")
    )


def _no_feature_maps(trace: Trace) -> pl.LazyFrame:
    """Return `rank` and `value_id` of parameters, buffers, parts of them, and embeddings."""
    values = trace.values.select(
        "rank", "value_id", "base_value_id", kind=pl.col("kind").cast(pl.String)
    )
    held = (
        values.filter(pl.col("kind").is_in(["parameter", "buffer"]))
        .select("rank", "value_id")
        .collect(engine="streaming")
        .lazy()
    )
    ops = trace.signatures.filter(pl.col("packet").str.contains("embedding"))
    looked_up = trace.calls.join(
        ops.lazy().select("rank", "signature_id"), on=["rank", "signature_id"], how="semi"
    ).select("rank", value_id="out0_value")
    parts = values.join(
        held.rename({"value_id": "base_value_id"}), on=["rank", "base_value_id"], how="semi"
    ).select("rank", "value_id")
    return pl.concat([held, parts, looked_up])


def sum_signatures(trace: Trace) -> pl.DataFrame:
    """Return the signatures of sums of two tensors of one shape.

    Returns:
        `rank`, `signature_id`, `op`, `numel` of an operand and `first`, its first dimension.
    """
    rows = []
    for row in trace.signatures.filter(pl.col("packet").is_in(PACKETS)).iter_rows(named=True):
        ins = [o for o in row["operands"] if o["role"] == "in"]
        if len(ins) == 2 and ins[0]["shape"] == ins[1]["shape"] and ins[0]["shape"]:
            shape, numel = ins[0]["shape"], ins[0]["numel"]
            rows.append((row["rank"], row["signature_id"], row["op"], numel, shape[0]))
    schema = {
        "rank": pl.Int32,
        "signature_id": pl.Int32,
        "op": pl.String,
        "numel": pl.Int64,
        "first": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def sum_charges(sums: pl.DataFrame) -> pl.DataFrame:
    """Return the charges of what `sums_of` returns."""
    numel, each = pl.col("numel"), pl.col("each")
    return together(
        [
            charge(sums, "read_in", 2 * numel, each),
            charge(sums, "write_out", numel, each),
            charge(sums, "ac", numel),
            charge(sums, "acc_addr", numel),
        ]
    )
