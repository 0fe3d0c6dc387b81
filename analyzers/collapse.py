"""Collapsing a trace: millions of calls to the few thousand kinds that differ.

Calls of one signature whose operands are spike tensors alike cost the same linear form of their
statistics, so their sums are all that counting needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from .rules.amount import STATISTICS
from .rules.call import FLAGGED
from .spikes import decided_by_provenance, spike_expr

if TYPE_CHECKING:
    from .trace import Trace

KEYS = ("module_id", "stage", "label", "step", "training", "thread")
"""Columns of `calls` that a collapse may keep apart."""


def collapsed(
    trace: Trace,
    keys: Iterable[str] = (),
    *,
    spikes: str = "binary",
    by_values_only: bool = False,
) -> pl.DataFrame:
    """Sum the calls of a trace by signature, spike tensors and `keys`.

    Args:
        trace: the trace.
        keys: of `KEYS`: what is kept apart besides.
        spikes: what a spike tensor may hold.
        by_values_only: whether constants are spikes if their values are.

    Returns:
        `rank`, `signature_id`, `keys`, `in0_spikes` to `out0_spikes` (null: not measured), `calls`,
        `first_seq`, `decided` (calls in which provenance decided whether an operand is spikes),
        the sums of `STATISTICS`, and for each `<statistic>_unknown`, in how many calls it is null.
    """
    kept = list(keys)
    flags = [spike_expr(slot, spikes, by_values_only).alias(f"{slot}_spikes") for slot in FLAGGED]
    decided = pl.any_horizontal(decided_by_provenance(slot, spikes) for slot in FLAGGED[:3])
    groups = ["rank", "signature_id", *kept, *(f"{slot}_spikes" for slot in FLAGGED)]
    return (
        trace.calls.select(
            "rank", "signature_id", *kept, "seq", *flags, *STATISTICS, decided=decided
        )
        .group_by(groups)
        .agg(
            calls=pl.len().cast(pl.Int64),
            first_seq=pl.col("seq").min(),
            decided=pl.lit(0, pl.Int64)
            if by_values_only
            else pl.col("decided").sum().cast(pl.Int64),
            **{name: pl.col(name).sum() for name in STATISTICS},
            **{f"{name}_unknown": pl.col(name).null_count().cast(pl.Int64) for name in STATISTICS},
        )
        .collect(engine="streaming")
        .sort("rank", "first_seq")
    )
