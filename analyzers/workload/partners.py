"""What meets an operand in its products: it tells products of equal shapes in one module apart.

A recurrent cell that multiplies its input and its state by weights of one size runs one op twice,
with one signature. The weights tell which of the two products a call is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from ..rules import factors_of
from ..trace.files import collected
from ..trace.filters import of_numbers
from ..trace.signatures import SIGNATURE
from .kinds import kinds_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

PLACE = ("rank", "module_id", "stage", "packet")
"""Where calls may be of one product."""

PARTNER = ("storage_id", "part")
"""The other factor: the storage of its parameter or buffer, and its value if it is a part of one.
Null: it is made anew at each call, as those of attention are."""

_VALUE = ("rank", "value_id")


class Partners:
    """The products of some modules that have an operand in a slot, and what they multiply it by.

    Of modules alone that run several products with one op in a call.

    Args:
        trace: the trace.
        places: `PLACE` of the modules and ops; without a module nothing is told.
        slot: of the operand: `in0`, `in1` or `in2`.
    """

    def __init__(self, trace: Trace, places: pl.DataFrame, slot: str) -> None:
        self._trace = trace
        places = places.select(PLACE).filter(pl.col("module_id").is_not_null()).unique()
        factors = _factors(trace, slot)
        self._places = places = _several(trace, places, factors)
        self._factors = factors.join(places, on=["rank", "packet"], how="semi")
        self._slot = slot

    def calls(self) -> pl.LazyFrame:
        """Return the calls with `packet` and `other_value`, the value of the other factor."""
        others = [f"in{each}" for each in range(3) if f"in{each}" != self._slot]
        value = pl.coalesce(pl.when(pl.col("other") == o).then(f"{o}_value") for o in others)
        numbers = self._factors["signature_id"].unique().implode()
        return (
            self._trace.calls.filter(pl.col("signature_id").is_in(numbers))
            .join(self._factors.lazy(), on=list(SIGNATURE))
            .join(self._places.lazy().cast({"stage": pl.Categorical}), on=list(PLACE), how="semi")
            .with_columns(other_value=value)
        )

    def summed(self, sums: Mapping[str, pl.Expr]) -> pl.DataFrame:
        """Return `PLACE`, `signature_id`, `PARTNER` and sums, where a place has several products.

        Args:
            sums: of columns of `calls`.
        """
        if self._factors.is_empty():
            return pl.DataFrame()
        keys = (*PLACE, "signature_id")
        found = self.calls().group_by(*keys, "other_value").agg(**sums)
        rows = self.told(collected(found, self._trace))
        several = rows.filter(pl.struct(PARTNER).n_unique().over(PLACE) > 1)
        return several.group_by(*keys, *PARTNER).agg(pl.col(name).sum() for name in sums)

    def told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with `rank` and `other_value` with `PARTNER` in its place."""
        known = _partners(self._trace, rows.select("rank", value_id="other_value"))
        return rows.join(
            known.rename({"value_id": "other_value"}), on=["rank", "other_value"], how="left"
        ).drop("other_value")


def _several(trace: Trace, places: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """Return those places where more products run than there are calls of the module."""
    products = (
        kinds_of(trace)
        .join(factors, on=list(SIGNATURE))
        .join(places, on=list(PLACE), how="semi")
        .group_by(PLACE)
        .agg(pl.col("calls").sum())
    )
    if products.is_empty():
        return products.select(PLACE)
    module = ["rank", "module_id"]
    forward = trace.module_calls.filter(pl.col("stage").cast(pl.String) == "forward")
    called = collected(forward.group_by(module).agg(called=pl.len().cast(pl.Int64)), trace)
    found = products.join(called, on=module, how="left")
    return found.filter(pl.col("calls") > pl.col("called").fill_null(0)).select(PLACE)


def _factors(trace: Trace, slot: str) -> pl.DataFrame:
    """Return `SIGNATURE`, `packet` and `other` (a slot) of products with a factor in `slot`."""
    place, found = int(slot.removeprefix("in")), []
    for op in trace.signatures["op"].unique():
        pair = factors_of(op)
        if pair is not None and place in pair:
            found.append((op, f"in{pair[1 - pair.index(place)]}"))
    others = pl.DataFrame(found, schema={"op": pl.String, "other": pl.String}, orient="row")
    return trace.signatures.select(*SIGNATURE, "packet", "op").join(others, on="op").drop("op")


def _partners(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `value_id` and `PARTNER` of those values that have one.

    What a call made of a parameter (a cast, a mask, a norm of weights) is of that parameter.
    """
    asked = values.drop_nulls().unique().with_columns(source="value_id")
    found = _of_sources(trace, asked)
    kept = pl.col("kind").is_in(["parameter", "buffer"])
    made = found.filter(~kept).drop_nulls("written_seq").select(*_VALUE, seq="written_seq")
    if made.height:
        writers = of_numbers(trace.calls, made.select("rank", "seq").unique())
        read = collected(writers.select("rank", "seq", source="in0_value"), trace).drop_nulls()
        sources = made.join(read, on=["rank", "seq"]).select(asked.columns)
        found = pl.concat([found, _of_sources(trace, sources)])
    part = pl.when(pl.col("base_value_id").is_not_null()).then("source")
    return found.filter(kept).select(*_VALUE, "storage_id", part=part)


def _of_sources(trace: Trace, asked: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `value_id` and `source` with what the trace has of the source."""
    numbers = asked["source"].unique().implode()
    of_sources = trace.values.filter(pl.col("value_id").is_in(numbers)).select(
        "rank", "storage_id", "base_value_id", "written_seq", "kind", source="value_id"
    )
    return asked.join(collected(of_sources, trace), on=["rank", "source"])
