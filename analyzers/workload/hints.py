"""What another setting of `spikes` would change: products that count as dense, but need not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import SpikeClass
from ..rules import RULE_SETS
from ..rules.call import FLAGGED, call_of
from ..text import agreeing, number
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE, distinct_signatures, signature_rows
from .kinds import CLASSES, kinds_of
from .products import product_signatures
from .spikes import with_calls_apart, with_spikes
from .whole_numbers import from_spikes

if TYPE_CHECKING:
    from ..trace.trace import Trace

_WORDS = {
    "graded": "whole numbers that came out of adding spikes, or are counts as of events",
    "scaled": "zeros and one other number",
    "ternary": "-1, 0 and 1",
}

_BITS = {
    "graded": SpikeClass.WHOLE,
    "scaled": SpikeClass.SCALED,
    "ternary": SpikeClass.TERNARY,
}

_SLOTS = ("in0", "in1", "in2")

_MOST_EVENTS = 16
"""The largest count of events in a frame, or of spikes in a burst, that is taken for one: pixels
and token numbers are larger."""

_KIND = ("rank", "module_id", "stage", "signature_id")
"""Whose operands are all what the first one is."""

_ALIKE = (*_KIND, *CLASSES)


def spike_hints(trace: Trace, mode: str = "binary") -> tuple[str, ...]:
    """Return a sentence for each setting of `spikes` that takes more products for spike-driven.

    Args:
        trace: the trace.
        mode: the setting that the question was asked with; only "binary" has hints.

    Returns:
        How many products have an operand of sums of spikes or of counts (`graded`: small whole
        numbers, at least half of them zero, as event frames and bursts are), of zeros and one other
        number (`scaled`), or of -1, 0 and 1 (`ternary`), and count as dense; and how many more the
        setting would change. Together they are all that it changes.
    """
    if mode != "binary":
        return ()
    if "spike hints" not in trace.own:
        trace.own["spike hints"] = (*_spike_hints(trace),)
    found: tuple[str, ...] = trace.own["spike hints"]
    return found


def _spike_hints(trace: Trace) -> Iterator[str]:
    products = kinds_of(trace).join(
        product_signatures(trace).select(SIGNATURE), on=list(SIGNATURE), how="semi"
    )
    binary: pl.DataFrame | None = None
    for setting in _WORDS:
        if products.filter(pl.any_horizontal(_only(setting, slot) for slot in _SLOTS)).is_empty():
            continue
        binary = _macs(trace, "binary") if binary is None else binary
        changed = _changed(binary, _macs(trace, setting))
        told = changed.join(_meant(trace, changed, setting), on=list(_KIND), how="semi",
                            nulls_equal=True)  # fmt: skip
        if calls := int(told["calls"].sum()):
            them = agreeing(calls, "it", "them")
            others = int(changed["calls"].sum()) - calls
            yield (
                f"{number(calls, 'product')} {agreeing(calls, 'counts', 'count')} as dense "
                f"although {agreeing(calls, 'its', 'their')} input is {_WORDS[setting]}: "
                f"--spikes {setting} counts {them} as spike-driven"
                + (f", and {others} more with another such operand" if others else "")
            )


def _only(setting: str, slot: str) -> pl.Expr:
    """Return whether an operand is no binary spikes, but what a setting allows."""
    bits = pl.col(f"{slot}_class")
    return ((bits & int(SpikeClass.BINARY)) == 0) & ((bits & int(_BITS[setting])) != 0)


def _macs(trace: Trace, mode: str) -> pl.DataFrame:
    """Return how many product calls have which MACs.

    Returns:
        `_ALIKE`, `macs` (of a call; null: not known), `calls` and `first_seq`.
    """
    groups = with_calls_apart(trace, kinds_of(trace), mode, products=True)
    flags = [f"{slot}_spikes" for slot in FLAGGED]
    told = collected(
        with_spikes(trace, FLAGGED, mode, calls=groups.lazy(), products=True).select(
            *_ALIKE, *flags, "calls", "first_seq"
        ),
        trace,
    )
    _, places = distinct_signatures(trace)
    products = product_signatures(trace).select(SIGNATURE)
    told = told.join(products, on=list(SIGNATURE), how="semi").join(places, on=list(SIGNATURE))
    kinds = told.select("content", *flags).unique()
    signatures = {row["content"]: row for row in signature_rows(trace)}
    found = [_macs_of(signatures[content], given) for content, *given in kinds.iter_rows()]
    macs = kinds.with_columns(macs=pl.Series(found, dtype=pl.Int64))
    return (
        told.join(macs, on=["content", *flags], nulls_equal=True)
        .group_by(*_ALIKE, "macs")
        .agg(pl.col("calls").sum(), pl.col("first_seq").min())
    )


def _macs_of(signature: Mapping[str, Any], spikes: list[bool | None]) -> int | None:
    _, _, figures = RULE_SETS["full"].figures(
        call_of(signature, dict(zip(FLAGGED, spikes, strict=True)))
    )
    return figures.macs if isinstance(figures.macs, int) else None


def _changed(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return `_ALIKE`, `calls` and `first_seq` of calls that have fewer MACs in another setting."""
    same = after.select(*_ALIKE, "macs", same="calls")
    return (
        before.join(same, on=[*_ALIKE, "macs"], how="left", nulls_equal=True)
        .with_columns(pl.col("calls") - pl.min_horizontal("calls", pl.col("same").fill_null(0)))
        .filter(pl.col("calls") > 0)
        .group_by(_ALIKE)
        .agg(pl.col("calls").sum(), pl.col("first_seq").min())
    )


def _meant(trace: Trace, changed: pl.DataFrame, setting: str) -> pl.DataFrame:
    """Return `_KIND` of the products that a hint speaks of: no weights, no other whole numbers.

    All operands of a signature in a module are what the first one is.
    """
    firsts = [
        changed.filter(_only(setting, slot)).group_by(_KIND).agg(seq=pl.col("first_seq").min())
        .with_columns(slot=pl.lit(slot))
        for slot in _SLOTS
    ]  # fmt: skip
    asked = pl.concat(firsts)
    if asked.is_empty():  # all that changes are constants
        return asked.select(_KIND)
    calls = of_numbers(trace.whole.calls, asked.select("rank", "seq").unique())
    taken = collected(calls.select("rank", "seq", *(f"{slot}_value" for slot in _SLOTS)), trace)
    value = pl.coalesce(pl.when(pl.col("slot") == s).then(f"{s}_value") for s in _SLOTS)
    values = asked.join(taken, on=["rank", "seq"]).select(*_KIND, value_id=value)
    if setting == "graded":
        asked_for = values.select("rank", "value_id").unique()
        found = pl.concat([from_spikes(trace, asked_for), _counts(trace, asked_for)]).unique()
        return values.join(found, on=["rank", "value_id"], how="semi").select(_KIND).unique()
    weights = trace.values.filter(
        pl.col("value_id").is_in(values["value_id"].unique().implode())
        & (pl.col("kind") == "parameter")
    ).select("rank", "value_id")
    return values.join(
        collected(weights, trace), on=["rank", "value_id"], how="anti"
    ).select(_KIND).unique()  # fmt: skip


def _counts(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return those of whole numbers that look like counts of events: small, and mostly zero."""
    sparse = pl.col("nonzero") * 2 <= pl.col("numel")
    small = (pl.col("min") >= 0) & (pl.col("max") <= _MOST_EVENTS)
    rows = trace.values.filter(
        pl.col("value_id").is_in(values["value_id"].implode()) & sparse & small
    ).filter(pl.col("kind") != "parameter")
    found = collected(rows.select("rank", "value_id"), trace)
    return values.join(found, on=["rank", "value_id"], how="semi")
