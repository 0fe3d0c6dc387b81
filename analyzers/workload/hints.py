"""What another setting of `spikes` would change: products that count as dense, but need not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import SpikeClass
from ..rules import factors_of
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE
from .kinds import kinds_of
from .spike_sums import spike_sums

if TYPE_CHECKING:
    from ..trace.trace import Trace

_WORDS = {
    "graded": "whole numbers that came out of adding spikes",
    "scaled": "zeros and one other number",
}

_BITS = {"graded": SpikeClass.WHOLE, "scaled": SpikeClass.SCALED}


_KIND = ("rank", "module_id", "signature_id")
"""Whose operands are all what the first one is."""


def spike_hints(trace: Trace, mode: str = "binary") -> tuple[str, ...]:
    """Return a sentence for each setting of `spikes` that takes more products for spike-driven.

    Args:
        trace: the trace.
        mode: the setting that the question was asked with; only "binary" has hints.

    Returns:
        How many forward products have an operand of sums of spikes (`graded`), or of zeros and one
        other number (`scaled`), and count as dense.
    """
    if mode != "binary":
        return ()
    if "spike hints" not in trace.own:
        trace.own["spike hints"] = (*_spike_hints(trace),)
    found: tuple[str, ...] = trace.own["spike hints"]
    return found


def _spike_hints(trace: Trace) -> Iterator[str]:
    operands = _dense_operands(trace)
    for setting, bit in _BITS.items():
        rows = operands.filter((pl.col("bits") & int(bit)) != 0)
        if setting == "graded":
            rows = _of_sums(trace, rows)
        if calls := int(rows["calls"].sum()):
            them = agreeing(calls, "it", "them")
            yield (
                f"{number(calls, 'product')} {agreeing(calls, 'counts', 'count')} as dense "
                f"although {agreeing(calls, 'its', 'their')} input is {_WORDS[setting]}: "
                f"--spikes {setting} counts {them} as spike-driven"
            )


def _dense_operands(trace: Trace) -> pl.DataFrame:
    """Return first factors of forward products that another setting may call spikes.

    Returns:
        `_KIND`, `slot`, `bits` (their class), `calls` and `first_seq`.
    """
    slots = [
        (op, factors[0])
        for op in trace.signatures["op"].unique()
        if (factors := factors_of(op)) is not None and factors[0] < 3
    ]
    of_op = pl.DataFrame(slots, schema={"op": pl.String, "slot": pl.Int32}, orient="row")
    signatures = trace.signatures.select(*SIGNATURE, "op").join(of_op, on="op").drop("op")
    return (
        kinds_of(trace)
        .filter(pl.col("stage") == "forward")
        .join(signatures, on=list(SIGNATURE))
        .select(*_KIND, "slot", "calls", "first_seq", bits=_at_slot("class"))
        .filter(_only_another_setting("bits"))
    )


def _at_slot(what: str) -> pl.Expr:
    slot = pl.col("slot")
    return pl.coalesce(pl.when(slot == each).then(f"in{each}_{what}") for each in range(3))


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
    firsts = operands.group_by(*_KIND, "slot").agg(seq=pl.col("first_seq").min())
    whole = trace.whole
    taken = of_numbers(whole.calls, firsts.select("rank", "seq", "slot"))
    values = collected(taken.select(*_KIND, value_id=_at_slot("value")), trace)
    begun = whole.with_tables(calls=whole.calls.filter(pl.col("seq") <= firsts["seq"].max()))
    sums = spike_sums(begun).select("rank", "value_id")
    proved = values.join(sums, on=["rank", "value_id"], how="semi").select(_KIND)
    return operands.join(proved, on=list(_KIND), how="semi", nulls_equal=True)
