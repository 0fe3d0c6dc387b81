"""Values that are sums of spikes: what residual connections between spiking layers hand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..spikes import spike_expr
from .lemaire_sums import sum_signatures

if TYPE_CHECKING:
    from ..trace import Trace

_TOTALS = {"rank": pl.Int32, "value_id": pl.Int64, "total": pl.Int64}
_SIDES = ("in0", "in1")


def spike_sums(trace: Trace, *, by_values_only: bool = False) -> pl.DataFrame:
    """Return the values that came out of adding spikes, with the number of spikes in each.

    The sum of two tensors of one shape is a sum of spikes if each of the two is a spike tensor,
    such a sum or all zeros, and not both are mere zeros. It holds the spikes of both.

    Args:
        trace: the trace.
        by_values_only: see `spike_expr`.

    Returns:
        `rank`, `value_id` and `total`, the spikes: the sum of the value's elements.
    """
    known, rest = pl.DataFrame(schema=_TOTALS), _additions(trace, by_values_only)
    spikes = {side: pl.coalesce(f"{side}_spikes", f"{side}_total") for side in _SIDES}
    fits = [spikes[side].is_not_null() | (pl.col(f"{side}_nonzero") == 0) for side in _SIDES]
    found = fits[0] & fits[1] & pl.any_horizontal(each.is_not_null() for each in spikes.values())
    while rest.height:
        told = rest
        for side in _SIDES:
            totals = known.rename({"value_id": f"{side}_value", "total": f"{side}_total"})
            told = told.join(totals, on=["rank", f"{side}_value"], how="left")
        told = told.with_columns(found=found.fill_null(False))
        new = told.filter("found").select(
            "rank", value_id="out0_value", total=pl.sum_horizontal(*spikes.values())
        )
        if new.is_empty():
            break
        known = pl.concat([known, new]).unique(["rank", "value_id"])
        rest = told.filter(~pl.col("found")).select(rest.columns)
    return known.sort("rank", "value_id")


def _additions(trace: Trace, by_values_only: bool) -> pl.DataFrame:
    """Return the forward additions of two tensors of one shape, with the spikes in each."""
    signatures = sum_signatures(trace).lazy().filter(pl.col("alpha") == 1)
    return (
        trace.calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(signatures, on=["rank", "signature_id"], how="semi")
        .select(
            "rank",
            "out0_value",
            *(f"{side}_{what}" for side in _SIDES for what in ("value", "nonzero")),
            *(
                pl.when(spike_expr(side, by_values_only=by_values_only))
                .then(f"{side}_nonzero")
                .alias(f"{side}_spikes")
                for side in _SIDES
            ),
        )
        .collect(engine="streaming")
    )
