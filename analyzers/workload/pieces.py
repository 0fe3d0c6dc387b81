"""Parts that views take of a value along one dimension, and whether parts make up the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..rules import cut_of, views_all
from ..trace.files import collected
from ..trace.filters import of_numbers, of_signatures
from ..trace.signatures import SIGNATURE, of_each_signature
from .whole_numbers import VALUE, elements, written

if TYPE_CHECKING:
    from ..trace.trace import Trace

_SCHEMA = {
    "cut": pl.String,
    "size": pl.Int64,
    "low": pl.List(pl.Int64),
    "high": pl.List(pl.Int64),
}

_PIECE = ("base", "cut", "size", "low", "high")


def pieces_of(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return which parts of larger values some values are.

    Args:
        trace: the trace.
        values: `rank` and `value_id`, each once.

    Returns:
        `rank`, `value_id`, `base` (the larger value), `cut` (how that lay, and along which
        dimension it was cut), `size` of the dimension, and the places `low` to `high` (without
        it) that the part takes of it. A part has a row for each cut that gives it.
    """
    trace = trace.whole
    cuts = of_each_signature(trace, cut_of, _SCHEMA).drop_nulls("cut")
    forward = trace.calls.filter(pl.col("stage") == "forward")
    views = of_signatures(forward, cuts.select(SIGNATURE)).select(
        *SIGNATURE, "seq", base="in0_value", value_id="out0_value"
    )
    asked = pl.col("value_id").is_in(values["value_id"].implode())
    first = collected(views.filter(asked).with_columns(slot=pl.lit(0, pl.Int32)), trace)
    made = trace.call_operands.filter((pl.col("role").cast(pl.String) == "out") & asked)
    others = collected(made.select("rank", "seq", "slot", "value_id"), trace)
    rest = of_numbers(views.drop("value_id"), others.select("rank", "seq").unique())
    further = collected(rest, trace).join(others, on=["rank", "seq"])
    places = cuts.explode("low", "high").with_columns(
        slot=pl.int_range(pl.len(), dtype=pl.Int32).over(SIGNATURE)
    )
    return (
        pl.concat([first, further.select(first.columns)])
        .join(values, on=list(VALUE), how="semi")
        .join(places, on=[*SIGNATURE, "slot"])
        .select(*VALUE, *_PIECE)
        .unique()
    )


def make_up_whole() -> pl.Expr:
    """Return whether pieces of one cut of one value are all of it, and none of it twice.

    Then each piece begins where another one ends, the first at 0, and the last ends at the size.
    """
    ends = pl.col("high").sort()
    begins = ends.shift(1, fill_value=0)
    return (pl.col("low").sort() == begins).all() & (ends.last() == pl.col("size").first())


def roots_of(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return of which values others hold the same elements, viewed, copied or cast.

    Args:
        trace: the trace.
        values: `rank` and `value_id` of whole numbers that are not negative, each once.

    Returns:
        `rank`, `value_id` and `root`: the first such value, or the value itself.
    """
    trace = trace.whole
    found = values.select(*VALUE, root="value_id")
    front = found
    while front.height:
        asked = written(trace, front.select("rank", value_id="root").unique())
        sources = pl.concat([_copied(trace, asked), _viewed(trace, asked)])
        front = front.join(sources.rename({"value_id": "root"}), on=["rank", "root"]).select(
            *VALUE, root="source"
        )
        found = pl.concat([found.join(front, on=list(VALUE), how="anti"), front])
    return found


def _copied(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return `VALUE` and `source` of values that an op made of all elements of that one alone."""
    shares, slots = pl.col("shares").list, pl.col("slots").list
    alone = elements(trace).filter(shares.len() == 1, shares.first() == 1)
    alone = alone.select(*SIGNATURE, "below", slot=slots.first())
    made = values.filter(pl.col("base").is_null()).drop_nulls("seq")
    forward = trace.calls.filter(pl.col("stage") == "forward")
    calls = of_numbers(forward, made.select("rank", "seq").unique()).select(
        *SIGNATURE, "seq", "in0_value", "in1_value", result="out0_value"
    )
    operand = [pl.when(pl.col("slot") == place).then(f"in{place}_value") for place in range(2)]
    return (
        made.join(collected(calls, trace), on=["rank", "seq"])
        .join(alone, on=list(SIGNATURE))
        .filter((pl.col("result") == pl.col("value_id")) & (pl.col("max") < pl.col("below")))
        .select(*VALUE, source=pl.coalesce(operand))
        .drop_nulls()
    )


def _all(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"all": views_all(row)}


def _viewed(trace: Trace, values: pl.DataFrame) -> pl.DataFrame:
    """Return `VALUE` and `source` of parts that are views of all of an earlier part."""
    parts = values.filter(pl.col("base").is_not_null()).select(VALUE)
    views = of_each_signature(trace, _all, {"all": pl.Boolean}).filter("all")
    calls = of_signatures(trace.calls.filter(pl.col("stage") == "forward"), views.drop("all"))
    earlier = pl.col("in0_value") < pl.col("out0_value")
    asked = pl.col("out0_value").is_in(parts["value_id"].implode())
    found = collected(
        calls.filter(asked & earlier).select("rank", value_id="out0_value", source="in0_value"),
        trace,
    )
    return found.join(parts, on=list(VALUE), how="semi").group_by(VALUE).agg(pl.col("source").min())
