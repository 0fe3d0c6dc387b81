"""Collapsing a trace: millions of calls to the few thousand kinds that differ.

Calls of one signature whose operands are spike tensors alike cost the same linear form of their
statistics, so their sums are all that counting needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ..rules.call import FLAGGED
from ..trace.files import collected
from ..workload.kinds import SHARED, SUMS, kinds_of, summed
from ..workload.spikes import deciding, with_calls_apart, with_spikes

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
    found = (
        told.select("rank", "signature_id", *kept, *SUMS, "first_seq", **flags)
        .group_by("rank", "signature_id", *kept, *flags)
        .agg(
            pl.col("calls").sum(),
            pl.col("first_seq").min(),
            pl.col(SUMS[1:]).sum(),
        )
    )
    return collected(found, trace, engine="auto").sort("rank", "first_seq")


_ALWAYS = ("rank", "module_id", "signature_id", "stage")
"""What evidence about constants speaks of."""


def _groups(trace: Trace, keys: Sequence[str], spikes: str, by_values_only: bool) -> pl.DataFrame:
    """Return the sums of calls whose operands are alike, for at least `keys` and `stage`."""
    if set(keys) <= set(SHARED):
        kinds, bits = kinds_of(trace), None
    else:
        bits = deciding(spikes, by_values_only)
        apart = dict.fromkeys((*_ALWAYS, *keys))
        kinds = summed(trace, trace.calls, (*apart,), bits)
    return kinds if by_values_only else with_calls_apart(trace, kinds, spikes, bits)
