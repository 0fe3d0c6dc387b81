"""Which neuron takes what a weight layer made: through batch norm, sums, pooling and views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import polars as pl

from .ancestors import makers, spans, walk
from .layers import MODULE

if TYPE_CHECKING:
    from ..trace.trace import Trace

_PAIRS = {
    "rank": pl.Int32,
    "neuron": pl.Int32,
    "population": pl.Int64,
    "layer": pl.Int32,
    "direct": pl.Boolean,
    "last": pl.Boolean,
}


def neurons_behind(trace: Trace, layers: pl.DataFrame, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return which neurons take in what which layers made.

    Goes back from the input of the first call of each neuron, of each of its populations, call by
    call, until it meets a weight layer or another neuron. A layer inside a neuron (the recurrent
    weights of snnTorch's RLeaky) feeds it too. What a sum of several layers feeds belongs to the
    layer that ran last (`last` is true), so that every neuron is charged once. Only what ran in
    the samples of those first calls, up to them, is read.

    Args:
        trace: the trace.
        layers: rows of `layer_calls`.
        neurons: rows of `neuron_calls`.

    Returns:
        `rank`, `neuron` (module id) and `population`, `layer` (module id), `direct` (the neuron
        took in what the layer made, with nothing between) and `last`.
    """
    one = [*MODULE, "population"]
    firsts = neurons.drop_nulls("in_value").unique(one, keep="first", maintain_order=True)
    made = makers(trace, layers, neurons, spans(trace, firsts))
    asked = firsts.select("rank", "module_call_id", "in_value", "first_seq")
    first_of = _alike(made, asked)
    walked = pl.col("rank").is_in(list(set(first_of.values())))
    found = walk(made.filter(walked), asked.filter(walked))
    neuron_of = {
        (rank, call): (module, population)
        for rank, call, *(module, population) in firsts.select(
            "rank", "module_call_id", "module_id", "population"
        ).iter_rows()
    }
    pairs = {
        (rank, *neuron_of[rank, call], layer): told
        for rank, first in first_of.items()
        for (call, layer), told in found[first].items()
    }
    for rank, layer, seq, neuron in _inside(trace, layers):
        for population in range(1 + max(_populations(neuron_of, rank, neuron), default=-1)):
            pairs[rank, neuron, population, layer] = seq, False
    return _pairs(pairs)


def _populations(
    neuron_of: Mapping[tuple[int, int], tuple[int, int]], rank: int, neuron: int
) -> Iterator[int]:
    """Yield the populations of a neuron."""
    for (of_rank, _), (module, population) in neuron_of.items():
        if (of_rank, module) == (rank, neuron):
            yield population


def _inside(trace: Trace, layers: pl.DataFrame) -> Iterator[tuple[int, int, int, int]]:
    """Yield rank, number and first seq of layers inside of neurons, and the neuron's number."""
    tree = {
        (rank, module): (parent, neuron)
        for rank, module, parent, neuron in trace.modules.select(
            *MODULE, "parent_id", "neuron"
        ).iter_rows()
    }
    firsts = layers.group_by(MODULE, maintain_order=True).agg(pl.col("first_seq").min())
    for rank, layer, seq in firsts.iter_rows():
        above, _ = tree[rank, layer]
        while above is not None:
            parent, neuron = tree[rank, above]
            if neuron is not None:
                yield rank, layer, seq, above
                break
            above = parent


def _alike(made: pl.DataFrame, asked: pl.DataFrame) -> Mapping[int, int]:
    """Return for each rank the first of those that ran the same calls: it is walked for all."""
    ranks = asked["rank"].unique().sort()
    if len(ranks) == 1:
        return {ranks[0]: ranks[0]}
    told = ranks.to_frame()
    for rows in (asked, made):
        columns = [name for name in rows.columns if name != "rank"]
        of_rank = rows.sort("rank", *columns).group_by("rank").agg(columns)
        told = told.join(of_rank, on="rank", how="left", maintain_order="left", suffix="_made")
    same = told.group_by(pl.exclude("rank"), maintain_order=True).agg("rank")
    return {rank: alike[0] for alike in same["rank"].to_list() for rank in alike}


def _pairs(found: Mapping[tuple[int, int, int, int], tuple[int, bool]]) -> pl.DataFrame:
    """Return the rows of `neurons_behind` from (rank, neuron, population, layer)."""
    last: dict[tuple[int, ...], int] = {}
    for (*neuron, _), (seq, _) in found.items():
        key = tuple(neuron)
        last[key] = max(last.get(key, seq), seq)
    rows = [
        (*neuron, layer, direct, seq == last[tuple(neuron)])
        for (*neuron, layer), (seq, direct) in sorted(
            found.items(), key=lambda item: (*item[0][:3], item[1][0])
        )
    ]
    return pl.DataFrame(rows, schema=_PAIRS, orient="row")
