"""Kinds of calls: those that are alike, summed once for every question about a trace.

Calls of one signature in one module, stage, label and mode whose operands are of the same classes
differ in nothing but their statistics, of which sums are all that counting needs. Millions of calls
are some thousand kinds; to read them is most of what an answer takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from ..rules.amount import STATISTICS
from ..rules.call import FLAGGED
from ..trace.files import collected

if TYPE_CHECKING:
    from ..trace.trace import Trace

SHARED = ("rank", "module_id", "signature_id", "stage", "label", "training", "grad_enabled")
"""What most questions tell calls apart by, and most filters."""

CLASSES = tuple(f"{slot}_class" for slot in FLAGGED)
"""What the operands hold, see `SpikeClass`."""

SUMS = ("calls", *STATISTICS, *(f"{name}_unknown" for name in STATISTICS))
"""What is summed of a kind: its calls, statistics, and in how many calls each of these is null."""

_FOURTH = ("in3_class", "in3_nonzero")


def kinds_of(trace: Trace) -> pl.DataFrame:
    """Return the kinds of calls of a trace; the calls of the whole trace are read once.

    A narrowed trace is answered from the same table if its filters speak of `SHARED` alone.

    Args:
        trace: the trace.

    Returns:
        `SHARED` (module: the innermost; null outside), `CLASSES`, `SUMS` and `first_seq` (seq of
        the first call), in no certain order.

    Raises:
        TraceError: a part cannot be decoded.
    """
    if "kinds" not in trace.facts:
        trace.facts["kinds"] = summed(trace.whole, trace.whole.calls, SHARED)
    if "kinds" not in trace.own:
        trace.own["kinds"] = _kept(trace, trace.facts["kinds"])
    found: pl.DataFrame = trace.own["kinds"]
    return found


def _kept(trace: Trace, kinds: pl.DataFrame) -> pl.DataFrame:
    kept = trace.kept(kinds)
    if kept is None:
        return summed(trace, trace.calls, SHARED)
    sure, rest = kept
    return sure if rest is None else pl.concat([sure, summed(rest, rest.calls, SHARED)])


def summed(
    trace: Trace, calls: pl.LazyFrame, keys: Sequence[str], bits: int | None = None
) -> pl.DataFrame:
    """Sum calls by keys and the classes of their operands.

    Args:
        trace: the trace that they are of.
        calls: the calls.
        keys: columns of `calls`.
        bits: of the classes, those that are told apart; None: all.

    Returns:
        `keys`, `CLASSES`, `SUMS` and `first_seq`.
    """
    asking = _asking_for_fourth(trace)
    if asking.height:
        calls = _with_fourth(trace, calls, asking)
    slots = [slot for slot in FLAGGED if asking.height or f"{slot}_class" not in _FOURTH]
    names = [name for name in STATISTICS if asking.height or name not in _FOURTH]
    classes = [f"{slot}_class" for slot in slots]
    if bits is not None:
        calls = calls.with_columns(pl.col(name) & bits for name in classes)
    groups = calls.group_by(*keys, *classes).agg(
        calls=pl.len().cast(pl.Int64),
        first_seq=pl.col("seq").min(),
        **{name: pl.col(name).sum() for name in names},
        **{f"{name}_unknown": pl.col(name).null_count().cast(pl.Int64) for name in names},
    )
    found = collected(groups, trace)
    columns = {name: pl.col(name) for name in (*keys, *CLASSES, *SUMS, "first_seq")}
    if not asking.height:
        columns["in3_class"] = pl.lit(None, pl.Int16)
        columns["in3_nonzero"] = pl.lit(0, pl.Int64)
        columns["in3_nonzero_unknown"] = pl.col("calls")
    return found.select(**columns)


def _asking_for_fourth(trace: Trace) -> pl.DataFrame:
    """Return the signatures of which a rule asks for the fourth operand.

    These are backward passes of attention, of a gradient, queries, keys and values.
    """
    if "asking for fourth" not in trace.facts:
        packet = pl.col("packet")
        trace.facts["asking for fourth"] = trace.whole.signatures.filter(
            packet.str.contains("attention", literal=True)
            & packet.str.contains("backward", literal=True)
        ).select("rank", "signature_id")
    found: pl.DataFrame = trace.facts["asking for fourth"]
    return found


def _with_fourth(trace: Trace, calls: pl.LazyFrame, asking: pl.DataFrame) -> pl.LazyFrame:
    """Return calls with class and nonzero elements of the fourth operand; null of other calls."""
    seqs = calls.join(asking.lazy(), on=["rank", "signature_id"], how="semi")
    fourth = (
        trace.call_operands.filter((pl.col("role").cast(pl.String) == "in") & (pl.col("slot") == 3))
        .join(seqs.select("rank", "seq"), on=["rank", "seq"], how="semi")
        .select("rank", "seq", in3_class="class", in3_nonzero="nonzero")
    )
    return calls.join(fourth, on=["rank", "seq"], how="left")
