"""Sums of two feature maps in a formal network: residual connections.

With N elements in a sample: 2 N reads and N writes, each from or to a memory of N, N additions and
N of addressing; their code adds the sizes of the dimensions up instead of multiplying them (Q4).
In a spiking network the authors charge nothing for them. Sums with parameters, buffers or what an
embedding looked up (positions, token types) are no connections of layers, and with a batch of one
they have the same shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...rules import family_of
from ...trace.files import collected
from ...workload.layers import MODULE
from ...workload.spike_sums import sum_signatures
from .actions import action, added

if TYPE_CHECKING:
    from ...trace.trace import Trace


def sums_of(
    trace: Trace, owners: pl.DataFrame, batch: int | None, *, by_step: bool
) -> pl.DataFrame:
    """Return the sums of two feature maps of one shape that containers compute.

    Args:
        trace: the inference.
        owners: what `owners_of` returns.
        batch: samples in a call; None: the first dimension tells.
        by_step: whether steps are kept apart.

    Returns:
        `rank`, `module_id`, `signature_id`, `KEYS`, `calls`, `numel` (of one operand of all calls),
        `each` (of one sample), and of all calls' samples the `sizes` of their dimensions added up
        and the `channels`.
    """
    containers = owners.filter(pl.col("owner").is_null()).select(*MODULE, "module")
    keys = [*MODULE, "signature_id", "stage", "label", *(["step"] if by_step else [])]
    inside = (pl.col("stage") == "forward") & pl.col("module_id").is_not_null()
    calls = trace.calls.filter(inside).join(
        sum_signatures(trace).lazy(), on=["rank", "signature_id"]
    )
    others = _no_feature_maps(trace).pipe(collected, trace).lazy()
    for value in ("in0_value", "in1_value"):
        calls = calls.join(others.rename({"value_id": value}), on=["rank", value], how="anti")
    sums = (
        calls.group_by(*keys, "op", "numel", "first", "sizes", "channels")
        .agg(calls=pl.len().cast(pl.Int64), began=pl.col("seq").min())
        .pipe(collected, trace)
        .sort("rank", "began")
    )
    if not by_step:
        sums = sums.with_columns(step=pl.lit(None, pl.Int32))
    samples = pl.col("first") if batch is None else pl.lit(batch)
    return sums.join(containers, on=MODULE, maintain_order="left").with_columns(
        each=pl.col("numel") / samples,
        numel=pl.col("numel") * pl.col("calls"),
        sizes=pl.col("sizes") * samples * pl.col("calls"),
        channels=pl.col("channels") * samples * pl.col("calls"),
    )


def _no_feature_maps(trace: Trace) -> pl.LazyFrame:
    """Return `rank` and `value_id` of parameters, buffers, parts of them, and embeddings."""
    values = trace.values.select(
        "rank", "value_id", "base_value_id", kind=pl.col("kind").cast(pl.String)
    )
    held = (
        values.filter(pl.col("kind").is_in(["parameter", "buffer"]))
        .select("rank", "value_id")
        .pipe(collected, trace)
        .lazy()
    )
    ops = trace.signatures.select("rank", "signature_id", "op")
    ops = ops.filter([family_of(op) == "embedding" for op in ops["op"]])
    looked_up = trace.calls.join(ops.lazy(), on=["rank", "signature_id"], how="semi").select(
        "rank", value_id="out0_value"
    )
    parts = values.join(
        held.rename({"value_id": "base_value_id"}), on=["rank", "base_value_id"], how="semi"
    ).select("rank", "value_id")
    return pl.concat([held, parts, looked_up])


def sum_actions(sums: pl.DataFrame, *, every_element: bool) -> pl.DataFrame:
    """Return the action counts of what `sums_of` returns; their code's unless of every element."""
    taken, made = ("numel", "numel") if every_element else ("sizes", "channels")
    each = pl.col("each")
    return added(
        [
            action(sums, "read_in", 2 * pl.col(taken), each),
            action(sums, "write_out", pl.col(made), each),
            action(sums, "ac", pl.col(taken)),
            action(sums, "acc_addr", pl.col(taken)),
        ]
    )
