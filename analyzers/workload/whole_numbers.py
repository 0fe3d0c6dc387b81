"""Values that came out of adding spikes, however they were pooled, padded or put together since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ...schemas import SpikeClass
from ..rules import factors_of, family_of
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE, of_each_signature
from .spikes import spike_expr

if TYPE_CHECKING:
    from ..trace.trace import Trace

_VALUE = ("rank", "value_id")
_ADDS = frozenset("add add_ sum cumsum cumsum_".split())
_PLACES = frozenset("index indices mask".split())
"""Names of operands that say where elements go, and hold none."""


def from_spikes(trace: Trace, asked: pl.DataFrame) -> pl.DataFrame:
    """Return those values that are sums of spikes.

    A sum or a product of nothing but spikes, zeros and such sums is one. So is what any other op
    made of such a sum, spikes and zeros: a view, a copy, a maximum, a concatenation, a padding.

    Args:
        trace: the trace; operands are followed through all forward calls of it.
        asked: `rank` and `value_id` of values that are whole numbers.
    """
    trace = trace.whole
    ops = of_each_signature(trace, _told, {"adds": pl.Boolean, "slots": pl.List(pl.Int32)})
    proofs: list[pl.DataFrame] = []
    front, seen = asked.unique(), asked.unique()
    while front.height:
        operands = _operands(trace, _writers(trace, front), ops)
        proofs.append(operands)
        front = operands.filter("open").select("rank", value_id="operand").unique()
        front = front.join(seen, on=list(_VALUE), how="anti")
        seen = pl.concat([seen, front])
    return asked.join(_proved(proofs), on=list(_VALUE), how="semi")


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether an op adds its operands up, and the slots of those whose elements it takes."""
    slots = [
        o["slot"] for o in row["operands"] or () if o["role"] == "in" and o["name"] not in _PLACES
    ]
    base = row["packet"].rpartition(".")[2]
    sums = base in _ADDS and (len(slots) > 1 or family_of(row["op"]) != "addition")
    return {"adds": sums or factors_of(row["op"]) is not None, "slots": slots}


def _writers(trace: Trace, front: pl.DataFrame) -> pl.DataFrame:
    """Return `_VALUE` with the forward call (`seq`) or the larger value (`base`) it comes from."""
    numbers = front["value_id"].implode()
    found = trace.values.filter(pl.col("value_id").is_in(numbers)).select(
        *_VALUE, base="base_value_id", seq="written_seq"
    )
    return collected(found, trace).join(front, on=list(_VALUE), how="semi")


def _operands(trace: Trace, written: pl.DataFrame, ops: pl.DataFrame) -> pl.DataFrame:
    """Return what values are made of.

    Returns:
        `_VALUE`, `adds`, `operand` (a value), and whether it is `spikes`, `zeros`, or `open`: whole
        numbers that may come from spikes themselves.
    """
    parts = written.filter(pl.col("base").is_not_null()).select(
        *_VALUE, operand="base", adds=pl.lit(False), spikes=pl.lit(False), zeros=pl.lit(False),
        open=pl.lit(True),
    )  # fmt: skip
    made = written.filter(pl.col("base").is_null()).drop_nulls("seq").select(*_VALUE, "seq")
    numbers = made.select("rank", "seq").unique()
    slots = [f"in{each}" for each in range(3)]
    forward = trace.calls.filter(pl.col("stage") == "forward")
    calls = collected(
        of_numbers(forward, numbers).select(
            "rank", "seq", "signature_id",
            *(f"{slot}_{what}" for slot in slots for what in ("value", "class", "nonzero")),
        ),
        trace,
    )  # fmt: skip
    rows = [
        calls.select(
            "rank", "seq", "signature_id", slot=pl.lit(place, pl.Int32),
            **{what: pl.col(f"{slot}_{what}") for what in ("value", "class", "nonzero")},
        )
        for place, slot in enumerate(slots)
    ]  # fmt: skip
    many = ops.filter(pl.col("slots").list.max() > 2)
    more = calls.join(many, on=list(SIGNATURE), how="semi").select("rank", "seq", "signature_id")
    if more.height:
        further = trace.call_operands.filter(pl.col("role").cast(pl.String) == "in")
        rows.append(
            collected(of_numbers(further, more), trace).select(
                "rank", "seq", "signature_id", "slot", "class", "nonzero", value="value_id"
            ).select(rows[0].columns)
        )  # fmt: skip
    whole = (pl.col("class") & int(SpikeClass.WHOLE)) != 0
    taken = (
        pl.concat(rows)
        .drop_nulls("value")
        .join(ops, on=list(SIGNATURE))
        .filter(pl.col("slot").is_in(pl.col("slots")))
        .with_columns(spikes=spike_expr("").fill_null(False), zeros=pl.col("nonzero") == 0)
        .with_columns(zeros=pl.col("zeros").fill_null(False) & ~pl.col("spikes"))
        .with_columns(open=whole.fill_null(True) & ~pl.col("spikes") & ~pl.col("zeros"))
        .select("rank", "seq", "adds", "spikes", "zeros", "open", operand="value")
    )
    return pl.concat([parts, made.join(taken, on=["rank", "seq"]).select(parts.columns)])


def _proved(proofs: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the values whose operands prove it, from those without open operands on."""
    rest = pl.concat(proofs).with_columns(proved=pl.lit(False))
    found = pl.DataFrame(schema={name: rest.schema[name] for name in _VALUE})
    while True:
        known = pl.col("spikes") | pl.col("zeros") | pl.col("proved")
        proof = pl.when("adds").then(pl.col("spikes") | pl.col("proved")).otherwise("proved")
        new = (
            rest.group_by(_VALUE)
            .agg(holds=known.all() & proof.any())
            .filter("holds")
            .select(_VALUE)
            .join(found, on=list(_VALUE), how="anti")
        )
        if new.is_empty():
            return found
        found = pl.concat([found, new])
        of_new = new.rename({"value_id": "operand"}).with_columns(new=pl.lit(True))
        rest = (
            rest.join(of_new, on=["rank", "operand"], how="left")
            .with_columns(proved=pl.col("proved") | pl.col("new").fill_null(False))
            .drop("new")
        )
