"""Charges of sums of two tensors in a formal network: residual connections.

With N elements in a sample: 2 N reads and N writes, each from or to a memory of N, N additions and
N of addressing. In a spiking network the authors charge nothing for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .charges import charge, together

if TYPE_CHECKING:
    from ..trace import Trace

PACKETS = ("aten.add", "aten.add_")


def sums_of(
    trace: Trace, owners: pl.DataFrame, batch: int | None, *, by_step: bool
) -> pl.DataFrame:
    """Return the sums of two tensors of one shape that containers compute in eval mode.

    Args:
        trace: the trace.
        owners: what `owners_of` returns.
        batch: samples in a call; None: the first dimension tells.
        by_step: whether steps are kept apart.

    Returns:
        `KEYS`, `calls`, `numel` (of one operand of all calls) and `each` (of one sample).
    """
    containers = owners.filter(pl.col("owner").is_null()).select("rank", "module_id", "module")
    keys = ["rank", "module_id", "signature_id", "stage", "label", *(["step"] if by_step else [])]
    calls = (
        trace.calls.filter(
            (pl.col("stage").cast(pl.String) == "forward") & ~pl.col("training").fill_null(True)
        )
        .join(sum_signatures(trace).lazy(), on=["rank", "signature_id"])
        .group_by(*keys, "op", "numel", "first")
        .agg(calls=pl.len().cast(pl.Int64), began=pl.col("seq").min())
        .collect(engine="streaming")
        .sort("rank", "began")
    )
    if not by_step:
        calls = calls.with_columns(step=pl.lit(None, pl.Int32))
    samples = pl.col("first") if batch is None else pl.lit(batch)
    return calls.join(containers, on=["rank", "module_id"], maintain_order="left").with_columns(
        each=pl.col("numel") / samples, numel=pl.col("numel") * pl.col("calls")
    )


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
