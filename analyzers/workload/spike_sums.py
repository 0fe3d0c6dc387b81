"""Values that are sums of spikes: what residual connections between spiking layers hand on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import SpikeClass
from ..rules import family_of
from ..trace.files import collected
from ..trace.filters import of_signatures
from ..trace.signatures import of_each_signature
from .spikes import with_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

_TOTALS = {"rank": pl.Int32, "value_id": pl.Int64, "total": pl.Int64}
_SUMS = {
    "op": pl.String,
    "alpha": pl.Float64,
    "numel": pl.Int64,
    "first": pl.Int64,
    "channels": pl.Int64,
    "sizes": pl.Int64,
}
_SIDES = ("in0", "in1")
_ADDS = ("add", "add_")


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
    rest = _additions(trace, by_values_only)
    rest = rest.with_columns(pl.lit(None, pl.Int64).alias(f"{side}_total") for side in _SIDES)
    spikes = {side: pl.coalesce(f"{side}_spikes", f"{side}_total") for side in _SIDES}
    fits = [spikes[side].is_not_null() | (pl.col(f"{side}_nonzero") == 0) for side in _SIDES]
    found = fits[0] & fits[1] & pl.any_horizontal(each.is_not_null() for each in spikes.values())
    key, known = ["rank", "value_id"], [pl.DataFrame(schema=_TOTALS)]
    while rest.height:
        rest = rest.with_columns(found=found.fill_null(False))
        new = rest.filter("found").select(
            "rank", value_id="out0_value", total=pl.sum_horizontal(*spikes.values())
        )
        if new.is_empty():
            break
        known.append(new.unique(key))
        rest = _told(rest.filter(~pl.col("found")).drop("found"), known[-1])
    return pl.concat(known).unique(key).sort(key)


def _told(additions: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Return additions with the totals of values that were found to be sums."""
    for side in _SIDES:
        totals = new.rename({"value_id": f"{side}_value", "total": "new"})
        additions = (
            additions.join(totals, on=["rank", f"{side}_value"], how="left")
            .with_columns(pl.coalesce(f"{side}_total", "new").alias(f"{side}_total"))
            .drop("new")
        )
    return additions


def _additions(trace: Trace, by_values_only: bool) -> pl.DataFrame:
    """Return the forward additions of two tensors of one shape, with the spikes in each.

    Spikes and sums of them are whole numbers; additions of other values are left out at once.
    """
    signatures = sum_signatures(trace).filter(pl.col("alpha") == 1).select("rank", "signature_id")
    whole = [
        ((pl.col(f"{side}_class") & int(SpikeClass.WHOLE)) != 0).fill_null(True) for side in _SIDES
    ]
    forward = trace.calls.filter((pl.col("stage") == "forward") & pl.all_horizontal(whole))
    calls = of_signatures(forward, signatures)
    return (
        with_spikes(trace, _SIDES, by_values_only=by_values_only, calls=calls)
        .select(
            "rank",
            "out0_value",
            *(f"{side}_{what}" for side in _SIDES for what in ("value", "nonzero")),
            *(
                pl.when(f"{side}_spikes").then(f"{side}_nonzero").alias(f"{side}_spikes")
                for side in _SIDES
            ),
        )
        .pipe(collected, trace)
    )


def sum_signatures(trace: Trace) -> pl.DataFrame:
    """Return the signatures of sums of two tensors of one shape.

    Returns:
        `rank`, `signature_id`, `op`, `alpha` (what the second is multiplied by), and of an operand
        `numel`, `first` (size of its first dimension), `channels` (of its second) and `sizes` (of
        all after the first added up).
    """
    if "sum signatures" not in trace.facts:
        trace.facts["sum signatures"] = of_each_signature(trace, _sum, _SUMS)
    found: pl.DataFrame = trace.facts["sum signatures"]
    return found


def _sum(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if family_of(row["op"]) != "addition" or row["packet"].rpartition(".")[2] not in _ADDS:
        return None
    ins = [o for o in row["operands"] if o["role"] == "in"]
    if len(ins) != 2 or ins[0]["shape"] != ins[1]["shape"] or not ins[0]["shape"]:
        return None
    shape = ins[0]["shape"]
    return {
        "op": row["op"],
        "alpha": float(json.loads(row["arguments"]).get("alpha", 1)),
        "numel": ins[0]["numel"],
        "first": shape[0],
        "channels": sum(shape[1:2]),
        "sizes": sum(shape[1:]),
    }
