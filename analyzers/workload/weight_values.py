"""Which products multiply by weights: by elements of parameters and buffers, however they came.

A view of a parameter has its value or is a part of it; what was indexed, cast, stacked or reduced
of parameters alone is followed back to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..rules import factors_of, family_of
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE, of_each_signature
from .operands import operands_of
from .products import product_signatures
from .whole_numbers import VALUE

if TYPE_CHECKING:
    from ..trace.trace import Trace

_DEEPEST = 64
"""Ops between a parameter and a product beyond which the search stops."""

_SLOTS = {"slot": pl.List(pl.Int32)}
_FRACTIONS = ("float", "bfloat", "complex")
_LOOKUPS = "embedding"
"""Family of ops that look activations up in a table: no weights come out of them."""


def weighted(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    """Return those calls of products that multiply by weights.

    Args:
        trace: the trace.
        calls: `rank`, `seq` and `signature_id` of the calls.

    Returns:
        `rank` and `seq`, each once.
    """
    slots = of_each_signature(trace, _factors, _SLOTS).drop_nulls("slot").explode("slot")
    operands = operands_of(trace, calls.select("rank", "seq"))
    asked = operands.join(calls, on=["rank", "seq"]).join(slots, on=[*SIGNATURE, "slot"])
    weights = _of_parameters(trace, asked.select(VALUE).unique())
    found = asked.join(weights, on=list(VALUE), how="semi")
    return found.select("rank", "seq").unique().sort("rank", "seq")


def _factors(signature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the slots of the factors of a product: of a fused or recurrent layer, its matrices."""
    factors = factors_of(signature["op"])
    if factors is not None:
        return {"slot": list(factors)}
    attention = family_of(signature["op"]).startswith("attention")
    matrices = [
        operand["slot"]
        for operand in signature["operands"] or ()
        if operand["role"] == "in" and len(operand["shape"] or ()) > 1
        if not attention or operand["slot"] < 3  # query, key and value, no mask
    ]
    return {"slot": matrices}


def _floating(signature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the slots that elements come from: indices and masks choose among them."""
    if family_of(signature["op"]) == _LOOKUPS:
        return None
    slots = [
        operand["slot"]
        for operand in signature["operands"] or ()
        if operand["role"] == "in" and operand["dtype"].startswith(_FRACTIONS)
    ]
    return {"slot": slots}


def _of_parameters(trace: Trace, asked: pl.DataFrame) -> pl.DataFrame:
    """Return those values that were made of parameters and buffers, and of no activation."""
    trace = trace.whole
    made = of_each_signature(trace, _floating, _SLOTS).drop_nulls("slot")
    made = made.join(product_signatures(trace), on=list(SIGNATURE), how="anti")
    front = seen = asked.select(*VALUE, root="value_id")
    root = ["rank", "root"]
    proved = refused = asked.clear().select("rank", root="value_id")
    for _ in range(_DEEPEST):
        if front.is_empty():
            break
        rows = front.join(_written(trace, front.select(VALUE).unique()), on=list(VALUE))
        held = pl.col("kind").is_in(["parameter", "buffer"])
        outside = pl.col("base").is_null() & pl.col("written").is_null()
        active = outside & (pl.col("kind") != "activation")  # an input, a state, a gradient
        proved = pl.concat([proved, rows.filter(held).select(root)])
        rows = rows.filter(~held)
        parts = rows.drop_nulls("base").select("rank", "root", value_id="base")
        writers = rows.filter(pl.col("base").is_null()).drop_nulls("written")
        writers = writers.select("rank", "root", seq="written")
        sources, others = _sources(trace, writers, made)
        refused = pl.concat([refused, rows.filter(active).select(root), others.select(root)])
        front = pl.concat([parts, sources.select(parts.columns)]).select(seen.columns).unique()
        front = front.join(refused, on=root, how="anti").join(seen, on=seen.columns, how="anti")
        seen = pl.concat([seen, front])
    refused = pl.concat([refused, front.select(root)])
    return proved.unique().join(refused, on=root, how="anti").rename({"root": "value_id"})


def _written(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return `VALUE`, `kind`, `base` (of which it is a part) and `written` (the call) of values."""
    found = trace.values.filter(pl.col("value_id").is_in(values["value_id"].implode())).select(
        *VALUE, kind=pl.col("kind").cast(pl.String), base="base_value_id", written="written_seq"
    )
    return collected(found, trace).join(values, on=list(VALUE), how="semi").unique(VALUE)


def _sources(
    trace: Trace, writers: pl.DataFrame, made: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what writers read: rows with `value_id`; and the writers that make activations."""
    calls = writers.select("rank", "seq").unique()
    named = collected(
        of_numbers(trace.calls.select("rank", "seq", "signature_id"), calls), trace
    ).join(made, on=list(SIGNATURE))
    others = writers.join(named, on=["rank", "seq"], how="anti")
    read = named.explode("slot").join(operands_of(trace, calls), on=["rank", "seq", "slot"])
    return writers.join(read, on=["rank", "seq"]), others
