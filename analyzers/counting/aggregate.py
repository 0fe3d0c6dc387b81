"""Collapsing a trace: millions of calls to the few thousand kinds that differ.

Calls of one signature whose operands are spike tensors alike cost the same linear form of their
statistics, so their sums are all that counting needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ..rules.amount import STATISTICS
from ..rules.call import FLAGGED
from ..trace.files import collected
from ..workload.ran import tell_what_ran
from ..workload.spikes import alike, with_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

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

    What an optimizer works on is not measured at any level; it is no spikes.

    Args:
        trace: the trace.
        keys: of `KEYS`: what is kept apart besides.
        spikes: what a spike tensor may hold.
        by_values_only: whether constants are spikes if their values are.

    Returns:
        `rank`, `signature_id`, `keys`, `in0_spikes` to `out0_spikes` (null: not measured),
        `in0_decided` to `in3_decided` (whether provenance decided that), `calls`, `first_seq`, the
        sums of `STATISTICS`, and for each `<statistic>_unknown`, in how many calls it is null.

    Raises:
        TraceError: a part cannot be decoded.
    """
    kept = list(keys)
    groups = _groups(trace, kept, spikes, by_values_only)
    told = with_spikes(trace, FLAGGED, spikes, by_values_only=by_values_only, calls=groups.lazy())
    optimizing = (pl.col("stage") == "optimizer").fill_null(False)
    flags = {}
    for slot in FLAGGED:
        known = pl.col(f"{slot}_spikes")
        flags[f"{slot}_spikes"] = pl.when(optimizing).then(known.fill_null(False)).otherwise(known)
    for slot in FLAGGED[:-1]:
        flags[f"{slot}_decided"] = pl.col(f"{slot}_decided")
    sums = (*STATISTICS, *(f"{name}_unknown" for name in STATISTICS))
    summed = (
        told.select("rank", "signature_id", *kept, "calls", "first_seq", *sums, **flags)
        .group_by("rank", "signature_id", *kept, *flags)
        .agg(
            pl.col("calls").cast(pl.Int64).sum(),
            pl.col("first_seq").min(),
            pl.col(sums).cast(pl.Int64).sum(),
        )
    )
    return collected(summed, trace, engine="auto").sort("rank", "first_seq")


_SHARED = ("module_id", "stage", "label", "training", "grad_enabled")
"""What most questions keep apart: their groups are summed once, and answer for parts too."""


def _groups(trace: Trace, keys: Sequence[str], spikes: str, by_values_only: bool) -> pl.DataFrame:
    """Return the sums of calls whose operands are alike, for at least `keys` and `stage`."""
    if not set(keys) <= set(_SHARED):
        return _summed(trace, (*keys, "stage"), spikes, by_values_only)
    name = ("groups", spikes, by_values_only)
    if name not in trace.facts:
        trace.facts[name] = _summed(trace.whole, _SHARED, spikes, by_values_only)
        tell_what_ran(trace, trace.facts[name])
    kept = trace.kept(trace.facts[name])
    if kept is None:
        return _summed(trace, _SHARED, spikes, by_values_only)
    sure, rest = kept
    if rest is None:
        return sure
    return pl.concat([sure, _summed(rest, _SHARED, spikes, by_values_only)])


def _summed(trace: Trace, keys: Sequence[str], spikes: str, by_values_only: bool) -> pl.DataFrame:
    calls, same = alike(trace, _with_fourth(trace), FLAGGED, spikes, by_values_only=by_values_only)
    groups = calls.group_by(*dict.fromkeys((*same, *keys))).agg(
        calls=pl.len(),
        first_seq=pl.col("seq").min(),
        **{name: pl.col(name).sum() for name in STATISTICS},
        **{f"{name}_unknown": pl.col(name).null_count() for name in STATISTICS},
    )
    return collected(groups, trace)


def _with_fourth(trace: Trace) -> pl.LazyFrame:
    """Return the calls with class and nonzero elements of the fourth operand where rules ask.

    These are backward passes of attention, of a gradient, queries, keys and values; null elsewhere.
    """
    packet = pl.col("packet")
    asking = trace.signatures.filter(
        packet.str.contains("attention", literal=True)
        & packet.str.contains("backward", literal=True)
    ).select("rank", "signature_id")
    if asking.is_empty():
        return trace.calls.with_columns(
            in3_class=pl.lit(None, pl.Int16), in3_nonzero=pl.lit(None, pl.Int64)
        )
    seqs = trace.calls.join(asking.lazy(), on=["rank", "signature_id"], how="semi")
    fourth = (
        trace.call_operands.filter((pl.col("role").cast(pl.String) == "in") & (pl.col("slot") == 3))
        .join(seqs.select("rank", "seq"), on=["rank", "seq"], how="semi")
        .select("rank", "seq", in3_class="class", in3_nonzero="nonzero")
    )
    return trace.calls.join(fourth, on=["rank", "seq"], how="left")
