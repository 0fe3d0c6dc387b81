"""Which neuron takes what a weight layer made: through batch norm, sums, pooling and views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..frames import at_once
from ..trace.files import collected
from .layer_calls import ID
from .layers import MODULE

if TYPE_CHECKING:
    from ..trace.trace import Trace

_DEEPEST = 64
"""Calls between a layer and its neuron beyond which the search stops."""

_PAIRS = {
    "rank": pl.Int32,
    "neuron": pl.Int32,
    "layer": pl.Int32,
    "direct": pl.Boolean,
    "last": pl.Boolean,
}


def neurons_behind(trace: Trace, layers: pl.DataFrame, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return which neurons take in what which layers made.

    Goes back from the input of each neuron's first call, call by call, until it meets a weight
    layer or another neuron. What a sum of several layers feeds belongs to the layer that ran last
    (`last` is true), so that every neuron is charged once. Only what ran in the samples of those
    first calls, up to them, is read.

    Args:
        trace: the trace.
        layers: rows of `layer_calls`.
        neurons: rows of `neuron_calls`.

    Returns:
        `rank`, `neuron` and `layer` (module ids), `direct` (the neuron took in what the layer
        made, with nothing between) and `last`.
    """
    firsts = neurons.drop_nulls("in_value").unique(MODULE, keep="first", maintain_order=True)
    makers = _makers(trace, layers, neurons, _spans(trace, firsts))
    asked = firsts.select("rank", "module_id", "in_value", "first_seq")
    first_of = _alike(makers, asked)
    walked = pl.col("rank").is_in(list(set(first_of.values())))
    found = _walk(makers.filter(walked), asked.filter(walked))
    return _pairs(
        {
            (rank, neuron, layer): told
            for rank, first in first_of.items()
            for (neuron, layer), told in found[first].items()
        }
    )


_Feeding = dict[tuple[int, int], tuple[int, bool]]
"""By neuron and layer the last call in which one fed the other, and whether directly."""


def _walk(makers: pl.DataFrame, asked: pl.DataFrame) -> Mapping[int, _Feeding]:
    """Return by rank which layers feed which neurons."""
    made: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for rank, seq, value, *maker in makers.rows():
        made.setdefault((rank, value), []).append((seq, *maker))
    front = set(asked.rows())
    found: dict[int, _Feeding] = {rank: {} for rank in asked["rank"].unique()}
    for depth in range(_DEEPEST):
        further = set()
        for rank, neuron, value, before in front:
            for seq, source, layer, in_neuron in made.get((rank, value), ()):
                if seq >= before:
                    continue
                if layer is not None:
                    key = neuron, layer
                    latest, direct = found[rank].get(key, (seq, False))
                    found[rank][key] = max(latest, seq), direct or depth == 0
                elif not in_neuron and source is not None:
                    further.add((rank, neuron, source, seq))
        if not further:
            break
        front = further
    return found


def _alike(makers: pl.DataFrame, asked: pl.DataFrame) -> Mapping[int, int]:
    """Return for each rank the first of those that ran the same calls: it is walked for all."""
    ranks = asked["rank"].unique().sort()
    if len(ranks) == 1:
        return {ranks[0]: ranks[0]}
    told = ranks.to_frame()
    for rows in (asked, makers):
        columns = [name for name in rows.columns if name != "rank"]
        of_rank = rows.sort("rank", *columns).group_by("rank").agg(columns)
        told = told.join(of_rank, on="rank", how="left", maintain_order="left", suffix="_made")
    same = told.group_by(pl.exclude("rank"), maintain_order=True).agg("rank")
    return {rank: alike[0] for alike in same["rank"].to_list() for rank in alike}


def _pairs(found: Mapping[tuple[int, int, int], tuple[int, bool]]) -> pl.DataFrame:
    """Return the rows of `neurons_behind` from (rank, neuron, layer) -> (last seq, direct)."""
    last: dict[tuple[int, int], int] = {}
    for (rank, neuron, _), (seq, _) in found.items():
        last[rank, neuron] = max(last.get((rank, neuron), seq), seq)
    rows = [
        (rank, neuron, layer, direct, seq == last[rank, neuron])
        for (rank, neuron, layer), (seq, direct) in sorted(
            found.items(), key=lambda item: (*item[0][:2], item[1][0])
        )
    ]
    return pl.DataFrame(rows, schema=_PAIRS, orient="row")


def _spans(trace: Trace, firsts: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `begin` and `end` (seqs) of the samples of first calls, up to those calls.

    The samples of first calls are few: all neurons of a network run in its first sample. Spans of
    a rank do not overlap.
    """
    last = firsts.group_by("rank", "sample").agg(pl.col("first_seq").max().alias("end"))
    begun = (
        trace.module_calls.join(last.lazy().select("rank", "sample"), on=["rank", "sample"])
        .group_by("rank", "sample")
        .agg(pl.col("first_seq").min().alias("begin"))
        .pipe(collected, trace)
    )
    reached = pl.col("end").cum_max().shift(1, fill_value=-1).over("rank")
    return (
        last.lazy()
        .join(begun.lazy(), on=["rank", "sample"])
        .sort("rank", "begin")
        .select("rank", pl.max_horizontal("begin", reached + 1).alias("begin"), "end")
        .filter(pl.col("begin") <= pl.col("end"))
        .pipe(at_once)
    )


def _within(rows: pl.LazyFrame, spans: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows whose `seq` is in a span of their rank."""
    begin, end = spans["begin"].min(), spans["end"].max()
    rows = rows.filter(pl.col("seq").is_between(begin, end))  # what the reader itself can leave out
    if spans.height == 1:
        return rows.filter(pl.col("rank") == spans["rank"][0])
    inside = pl.col("seq").is_between("begin", "end")
    return rows.join(spans.lazy(), on="rank").filter(inside).drop("begin", "end")


def _makers(
    trace: Trace, layers: pl.DataFrame, neurons: pl.DataFrame, spans: pl.DataFrame
) -> pl.DataFrame:
    """Return the forward calls within spans, a row for each value made and value taken.

    Returns:
        `rank`, `seq`, `value` (made), `source` (taken), `layer` (the module id, in a weight
        layer) and `in_neuron`.
    """
    key = ("rank", "seq")
    slots = [f"in{slot}_value" for slot in range(3)]
    calls = (
        _within(trace.calls.filter(pl.col("stage") == "forward"), spans)
        .select(*key, "module_call_id", *slots, "out0_value")
        .pipe(collected, trace)
        .lazy()
    )
    more = (
        _within(trace.call_operands, spans)
        .select(*key, "value_id", role=pl.col("role").cast(pl.String))
        .pipe(collected, trace)
        .lazy()
        .join(calls.select(key), on=key, how="semi")
    )
    taken = [
        *(calls.select(*key, source=slot) for slot in slots),
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
        .join(_inside(layers, neurons), on=ID, how="left")
        .select(*key, "value", "source", "layer", pl.col("in_neuron").fill_null(False))
        .pipe(at_once)
    )


def _inside(layers: pl.DataFrame, neurons: pl.DataFrame) -> pl.LazyFrame:
    """Return the module calls of layers and neurons, with what they are."""
    return pl.concat(
        [
            layers.lazy().select(*ID, layer="module_id", in_neuron=pl.lit(False)),
            neurons.lazy().select(*ID, layer=pl.lit(None, pl.Int32), in_neuron=pl.lit(True)),
        ]
    )
