"""Which weight layers made what a call takes in: the walk back from value to value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from ..frames import at_once
from ..trace.files import collected
from .layers import ID, MODULE, layers_of, neurons_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

_DEEPEST = 64
"""Calls between a layer and its neuron beyond which the search stops."""


Feeding = dict[tuple[int, int], tuple[int, bool]]
"""By neuron and layer the last call in which one fed the other, and whether directly."""


def walk(makers: pl.DataFrame, asked: pl.DataFrame) -> Mapping[int, Feeding]:
    """Return by rank which layers feed which neurons.

    Goes back from values, call by call, until it meets a weight layer or a neuron.

    Args:
        makers: of `makers`.
        asked: `rank`, the neuron (module or call), the value that it takes in, and the seq before
            which that was made.
    """
    made: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for rank, seq, value, *maker in makers.rows():
        made.setdefault((rank, value), []).append((seq, *maker))
    front = set(asked.rows())
    found: dict[int, Feeding] = {rank: {} for rank in asked["rank"].unique()}
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


def layers_before(trace: Trace, calls: pl.DataFrame) -> dict[tuple[int, int], frozenset[int]]:
    """Return which weight layers (module ids) made what calls of neurons take in.

    Args:
        trace: the trace.
        calls: `rank`, `sample`, `module_call_id`, `in_value` and `first_seq` of calls of neurons.

    Returns:
        The layers of (rank, module call); without those that take in what no layer made.
    """
    calls = calls.drop_nulls("in_value")
    if calls.is_empty():
        return {}
    modules = pl.concat([layers_of(trace).select(MODULE), neurons_of(trace).select(MODULE)])
    ran = (
        trace.module_calls.join(modules.lazy(), on=MODULE, how="semi")
        .join(calls.lazy().select("rank", "sample").unique(), on=["rank", "sample"], how="semi")
        .select(*ID, "module_id")
        .pipe(collected, trace)
    )
    layers, neurons = (
        ran.join(each.select(MODULE), on=MODULE, how="semi")
        for each in (layers_of(trace), neurons_of(trace))
    )
    made = makers(trace, layers, neurons, spans(trace, calls))
    found = walk(made, calls.select("rank", "module_call_id", "in_value", "first_seq"))
    before: dict[tuple[int, int], set[int]] = {}
    for rank, pairs in found.items():
        for call, layer in pairs:
            before.setdefault((rank, call), set()).add(layer)
    return {call: frozenset(layers) for call, layers in before.items()}


def spans(trace: Trace, firsts: pl.DataFrame) -> pl.DataFrame:
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


def makers(
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
