"""What another setting of `spikes` would change: products that count as dense, but need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import SpikeClass
from ..rules import factors_of
from ..text import agreeing, number
from ..trace.files import collected
from .products import product_signatures
from .spike_sums import spike_sums
from .spikes import spike_expr

if TYPE_CHECKING:
    from ..trace.trace import Trace

_WORDS = {
    "graded": "whole numbers that came out of adding spikes",
    "scaled": "zeros and one other number",
}


def spike_hints(trace: Trace, mode: str = "binary") -> list[str]:
    """Return a sentence for each setting of `spikes` that takes more products for spike-driven.

    Args:
        trace: the trace.
        mode: the setting that the question was asked with; only "binary" has hints.

    Returns:
        How many forward products have an operand of sums of spikes (`graded`), or of zeros and one
        other number (`scaled`), and count as dense.
    """
    if mode != "binary":
        return []
    found = []
    operands = _dense_operands(trace)
    for setting, rows in operands.items():
        calls = rows.select("rank", "seq").n_unique() if rows.height else 0
        if calls:
            them = agreeing(calls, "it", "them")
            found.append(
                f"{number(calls, 'product')} {agreeing(calls, 'counts', 'count')} as dense "
                f"although {agreeing(calls, 'its', 'their')} input is {_WORDS[setting]}: "
                f"--spikes {setting} counts {them} as spike-driven"
            )
    return found


def _dense_operands(trace: Trace) -> dict[str, pl.DataFrame]:
    """Return `rank`, `seq` and `value` of first factors that only another setting calls spikes."""
    rows = [
        (rank, signature, factors[0])
        for rank, signature, op in product_signatures(trace)
        .select("rank", "signature_id", "op")
        .rows()
        if (factors := factors_of(op)) is not None and factors[0] < 3
    ]
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "slot": pl.Int32}
    signatures = pl.LazyFrame(rows, schema=schema, orient="row")
    calls = trace.calls.filter(pl.col("stage") == "forward").join(
        signatures, on=["rank", "signature_id"]
    )
    kinds = {"graded": SpikeClass.WHOLE, "scaled": SpikeClass.SCALED}
    parts = []
    for slot in range(3):
        bits = pl.col(f"in{slot}_class")
        dense = ~spike_expr(f"in{slot}") & (
            (bits & int(SpikeClass.BINARY | SpikeClass.CONSTANT)) == 0
        )
        parts += [
            calls.filter((pl.col("slot") == slot) & dense & ((bits & int(bit)) != 0)).select(
                "rank", "seq", value_id=f"in{slot}_value", setting=pl.lit(setting)
            )
            for setting, bit in kinds.items()
        ]
    found = collected(pl.concat(parts), trace.path)
    by_setting = {name: found.filter(setting=name) for name in kinds}
    if by_setting["graded"].height:
        sums = spike_sums(trace.whole).select("rank", "value_id")
        by_setting["graded"] = by_setting["graded"].join(sums, on=["rank", "value_id"], how="semi")
    return by_setting
