"""Which neuron takes what a weight layer made: through batch norm, sums, pooling and views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .layers import ID

if TYPE_CHECKING:
    from ..trace import Trace

_DEEPEST = 64
"""Calls between a layer and its neuron beyond which nobody looks."""


def neurons_behind(trace: Trace, layers: pl.DataFrame, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return which neurons take in what which layers made.

    Goes back from the input of each neuron's first call, call by call, until it meets a weight
    layer or another neuron. What a sum of several layers feeds belongs to the layer that ran last
    (`last` is true), so that every neuron is charged once.

    Args:
        trace: the trace.
        layers: rows of `layer_calls`.
        neurons: rows of `neuron_calls`.

    Returns:
        `rank`, `layer` and `neuron` (module ids) and `last`.
    """
    firsts = neurons.drop_nulls("in_value").unique(
        ["rank", "module_id"], keep="first", maintain_order=True
    )
    makers = _makers(trace, layers, neurons, firsts["first_seq"].max())
    front = firsts.select("rank", neuron="module_id", value="in_value", before="first_seq")
    pairs = [
        pl.DataFrame(
            schema={"rank": pl.Int32, "neuron": pl.Int32, "layer": pl.Int32, "seq": pl.Int64}
        )
    ]
    for _ in range(_DEEPEST):
        made = front.join(makers, on=["rank", "value"]).filter(pl.col("seq") < pl.col("before"))
        pairs.append(made.drop_nulls("layer").select(pairs[0].columns))
        front = (
            made.filter(pl.col("layer").is_null() & ~pl.col("in_neuron"))
            .select("rank", "neuron", value="source", before="seq")
            .drop_nulls("value")
            .unique()
        )
        if front.is_empty():
            break
    last = pl.col("seq") == pl.col("seq").max().over("rank", "neuron")
    found = pl.concat(pairs).group_by("rank", "neuron", "layer").agg(pl.col("seq").max())
    return found.with_columns(last=last).sort("rank", "neuron", "seq").drop("seq")


def _makers(
    trace: Trace, layers: pl.DataFrame, neurons: pl.DataFrame, until: object
) -> pl.DataFrame:
    """Return the forward calls up to a seq, a row for each value made and value taken.

    Returns:
        `rank`, `seq`, `value` (made), `source` (taken), `layer` (the module id, in a weight
        layer) and `in_neuron`.
    """
    inside = pl.concat(
        [
            layers.select(*ID, layer="module_id", in_neuron=pl.lit(False)),
            neurons.select(*ID, layer=pl.lit(None, pl.Int32), in_neuron=pl.lit(True)),
        ]
    )
    calls = trace.calls.filter(
        (pl.col("stage").cast(pl.String) == "forward") & (pl.col("seq") <= (until or -1))
    )
    more = trace.call_operands.join(calls, on=["rank", "seq"], how="semi").select(
        "rank", "seq", pl.col("role").cast(pl.String), "value_id"
    )
    key = ("rank", "seq")
    taken = [
        *(calls.select(*key, source=f"in{slot}_value") for slot in range(3)),
        more.filter(pl.col("role") == "in").select(*key, source="value_id"),
    ]
    made = [
        calls.select(*key, value="out0_value"),
        more.filter(pl.col("role") == "out").select(*key, value="value_id"),
    ]
    return (
        pl.concat(made)
        .drop_nulls("value")
        .join(pl.concat(taken).drop_nulls("source"), on=key, how="left")
        .join(calls.select(*key, "module_call_id"), on=key)
        .join(inside.lazy(), on=ID, how="left")
        .select(*key, "value", "source", "layer", pl.col("in_neuron").fill_null(False))
        .collect()
    )
