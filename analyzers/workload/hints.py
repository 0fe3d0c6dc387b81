"""What another setting of `spikes` would change: products that count as dense, but need not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import SpikeClass
from ..rules import factors_of
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.filters import of_signatures
from .spike_sums import spike_sums

if TYPE_CHECKING:
    from ..trace.trace import Trace

_WORDS = {
    "graded": "whole numbers that came out of adding spikes",
    "scaled": "zeros and one other number",
}

_BITS = {"graded": SpikeClass.WHOLE, "scaled": SpikeClass.SCALED}


_CALL = ("rank", "seq", "module_id", "signature_id", "stage", "label", "step", "training")
"""Of a call, what a trace may be narrowed by."""


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
    if "operands of hints" not in trace.facts:
        trace.facts["operands of hints"] = _with_other_bits(trace.whole)
    found: pl.DataFrame = trace.facts["operands of hints"]
    kept = trace.kept(found)
    if kept is not None and kept[1] is None:
        found = kept[0]
    elif found.height:
        key = ["rank", "seq"]
        left = trace.calls.select(key).join(found.lazy().select(key), on=key, how="semi")
        found = found.join(collected(left, trace), on=key, how="semi")
    by_setting = {
        name: found.filter((pl.col("bits") & int(bit)) != 0).drop("bits")
        for name, bit in _BITS.items()
    }
    by_setting["graded"] = _of_sums(trace, by_setting["graded"])
    return by_setting


def _with_other_bits(trace: Trace) -> pl.DataFrame:
    """Return first factors of forward products that another setting may call spikes.

    Returns:
        `_CALL`, `value_id` and `bits` (their class).
    """
    rows = [
        (rank, signature, factors[0])
        for rank, signature, op in trace.signatures.select("rank", "signature_id", "op").rows()
        if (factors := factors_of(op)) is not None and factors[0] < 3
    ]
    schema = {"rank": pl.Int32, "signature_id": pl.Int32, "slot": pl.Int32}
    signatures = pl.DataFrame(rows, schema=schema, orient="row")
    bits, value = (
        pl.when(pl.col("slot") == 0)
        .then(f"in0_{what}")
        .when(pl.col("slot") == 1)
        .then(f"in1_{what}")
        .otherwise(f"in2_{what}")
        for what in ("class", "value")
    )
    asked = [_only_another_setting(f"in{slot}_class") for slot in sorted({row[2] for row in rows})]
    forward = trace.calls.filter(
        (pl.col("stage") == "forward") & pl.any_horizontal(pl.lit(False), *asked)
    )
    return collected(
        of_signatures(forward, signatures)
        .select(*_CALL, value_id=value, bits=bits)
        .filter(_only_another_setting("bits")),
        trace,
    )


def _only_another_setting(bits: str) -> pl.Expr:
    """Return whether a class is none of binary spikes, but of what another setting allows."""
    binary, others = SpikeClass.BINARY | SpikeClass.CONSTANT, SpikeClass.WHOLE | SpikeClass.SCALED
    return ((pl.col(bits) & int(binary)) == 0) & ((pl.col(bits) & int(others)) != 0)


def _of_sums(trace: Trace, operands: pl.DataFrame) -> pl.DataFrame:
    """Return the operands that came out of adding spikes.

    All operands of a signature in a module are what the first one is, so that only the calls up to
    the last of these first ones are followed.
    """
    if operands.is_empty():
        return operands
    key = ["rank", "module_id", "signature_id"]
    firsts = operands.sort("rank", "seq").unique(key, keep="first", maintain_order=True)
    whole = trace.whole
    begun = whole.with_tables(calls=whole.calls.filter(pl.col("seq") <= firsts["seq"].max()))
    sums = spike_sums(begun).select("rank", "value_id")
    proved = firsts.join(sums, on=["rank", "value_id"], how="semi").select(key)
    return operands.join(proved, on=key, how="semi", nulls_equal=True)
