"""What neurons do with their state, op by op: reads, writes, additions, multiplications.

State is followed by storage and dtype, so a view of state is state. It is what a neuron holds when
it is called, and what sums, products, selections and copies make of state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..lemaire.charges import NEURON_OP
from .neuron_operands import Chunk, chunks_inside, place_of
from .neuron_state_kinds import ADDITIONS, state_kinds

if TYPE_CHECKING:
    from ...trace.trace import Trace

_OUT, _TARGET = place_of("out", 0) % 2, place_of("in", 0)
_STATES = {"key": pl.Int64, "since": pl.Int64}

DONE = ("additions", "multiplications", "read_bytes", "written_bytes")
"""What operations do to state."""

_DONE = pl.Schema(
    {
        "additions": pl.Float64,
        "multiplications": pl.Float64,
        "read_bytes": pl.Int64,
        "written_bytes": pl.Int64,
        "largest": pl.Int64,
    }
)


def state_operations(
    trace: Trace, neurons: pl.DataFrame, share: float, keys: list[str]
) -> pl.DataFrame:
    """Return what neurons do to their state.

    Args:
        trace: the trace.
        neurons: rows of `neuron_calls`.
        share: share of zeros from which an operand is sparse, if it is no spike tensor.
        keys: columns of `neurons` that are kept apart, `rank` among them.

    Returns:
        `op`, `keys`, `DONE` added up and `largest` (bytes of the largest state operand of any of
        these ops); what touches no state is left out.
    """
    kinds = state_kinds(trace)
    views = kinds.filter("view").select("rank", "signature_id")
    by = ["signature_id", *keys]
    figures = [pl.col(DONE).sum(), pl.col("largest").max()]
    named = neurons.select(*keys, neuron_call="module_call_id")
    found = []
    carried, rank = pl.DataFrame(schema=_STATES), -1
    for chunk in chunks_inside(trace, neurons, views, share):
        if chunk.rank != rank:
            carried, rank = pl.DataFrame(schema=_STATES), chunk.rank
        ops = _classed(chunk, kinds.filter(rank=rank))
        states = _followed(ops, chunk, carried)
        done = _done(ops, chunk.operands, states)
        # What no neuron of a whole chunk touches is not alive any more, or never comes to neurons.
        carried = states.join(chunk.operands.select("key").unique(), on="key", how="semi")
        found.append(
            done.join(named.filter(rank=rank), on="neuron_call", maintain_order="left")
            .group_by(by, maintain_order=True)
            .agg(figures)
        )
    if not found:
        return pl.DataFrame(schema={"op": pl.String, **named.select(keys).schema, **_DONE})
    ops = kinds.select("rank", "signature_id", "op")
    return (
        pl.concat(found)
        .join(ops, on=["rank", "signature_id"], maintain_order="left")
        .group_by("op", *keys, maintain_order=True)
        .agg(figures)
        .cast(_DONE)
    )


def own_operations(neurons: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return what neurons whose operations are given do to their state, as `state_operations` does.

    Args:
        neurons: rows of `neuron_calls` with `macs_per_step`, `acs_per_step` and `acs_per_spike`.
        keys: columns that are kept apart.
    """
    elements, spikes = pl.col("in_numel"), pl.col("out_nonzero")
    adds = elements * pl.col("acs_per_step") + spikes * pl.col("acs_per_spike")
    state = pl.col("in_bytes") // pl.col("time_steps").fill_null(1)
    return (
        neurons.group_by(keys, maintain_order=True)
        .agg(
            op=pl.lit(NEURON_OP),
            additions=adds.sum(),
            multiplications=(elements * pl.col("macs_per_step")).sum(),
            read_bytes=pl.col("in_bytes").sum(),
            written_bytes=pl.col("in_bytes").sum(),
            largest=state.max(),
        )
        .select("op", *keys, *DONE, "largest")
        .cast(_DONE)
    )


def _classed(chunk: Chunk, kinds: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of a chunk with what `state_kinds` tells.

    A neuron without state yet makes it by its first `full_like` or `zeros_like`: `starts` is true
    for that one alone.
    """
    held = chunk.held.select("neuron_call", holds=pl.lit(True)).unique()
    calls = chunk.calls.join(
        kinds.drop("rank", "op", "view"), on="signature_id", maintain_order="left"
    )
    starting = (
        calls.filter("starts")
        .join(held, on="neuron_call", how="anti")
        .group_by("neuron_call")
        .agg(pl.col("seq").min())
        .select("seq", first=pl.lit(True))
    )
    return (
        calls.drop("starts")
        .join(starting, on="seq", how="left", maintain_order="left")
        .with_columns(starts=pl.col("first").fill_null(False))
        .drop("first")
    )


def _followed(ops: pl.DataFrame, chunk: Chunk, carried: pl.DataFrame) -> pl.DataFrame:
    """Return which keys are state, and since which seq: `_STATES`.

    Goes from the states that are known to the ops that read them, and on to what those write,
    for all neurons at once.
    """
    out = pl.col("place") % 2 == _OUT
    makers = ops.filter(~pl.col("starts") & pl.col("writes")).select("seq", "copies")
    theirs = chunk.operands.drop_nulls("key").join(makers, on="seq")
    made = theirs.filter(out | (pl.col("copies") & (pl.col("place") == _TARGET))).select(
        "key", since="seq"
    )
    readers = theirs.filter(~out).select("key", "seq")
    started = chunk.operands.filter(out).join(
        ops.filter("starts").select("seq"), on="seq", how="semi"
    )
    states = pl.DataFrame(schema=_STATES)
    new = pl.concat(
        [
            carried,
            chunk.held.select("key", pl.col("since") - 1),
            started.select("key", since="seq"),
        ]
    ).drop_nulls()
    while not new.is_empty():
        new = new.group_by("key").agg(pl.col("since").min())
        states = pl.concat([states, new]).group_by("key").agg(pl.col("since").min())
        read = readers.join(new, on="key").filter(pl.col("seq") > pl.col("since"))
        new = (
            made.join(read.select(since="seq").unique(), on="since", how="semi")
            .join(states.rename({"since": "before"}), on="key", how="left")
            .filter(pl.col("before").is_null() | (pl.col("since") < pl.col("before")))
            .drop("before")
        )
    return states


def _done(ops: pl.DataFrame, operands: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Return what each op that touches state does: its signature, neuron, `DONE` and `largest`.

    If an operand that is no state is sparse, reads and writes are limited to its nonzero elements,
    except those of `copy_`, which reads its source alone.
    """
    working = ops.filter(~pl.col("starts"))
    out = pl.col("place") % 2 == _OUT
    target = pl.col("copies") & (pl.col("place") == _TARGET)
    known = operands.join(states, on="key", how="left").with_columns(
        state=~out & (pl.col("since") < pl.col("seq")).fill_null(False)
    )
    touching = working.join(known.filter("state").select("seq").unique(), on="seq", how="semi")
    theirs = known.join(touching.select("seq", "copies", "writes"), on="seq")
    # Nulls for what does not count: sums skip them, and filters inside groups are slow.
    bound = pl.when(~out & ~pl.col("state") & pl.col("sparse")).then("nonzero")
    limits = theirs.group_by("seq").agg(
        limit=bound.max(), elements=pl.when(out).then("numel").sum()
    )
    size = pl.col("bytes") // pl.max_horizontal("numel", 1)
    limited = (
        pl.when(pl.col("limit").is_null() | pl.col("copies"))
        .then("bytes")
        .otherwise(pl.min_horizontal("limit", "numel") * size)
    )
    written = pl.col("writes") & pl.when("copies").then(target).otherwise(out)
    moved = (
        theirs.join(limits, on="seq")
        .select(
            "seq",
            read_bytes=pl.when(pl.col("state") & ~target).then(limited),
            written_bytes=pl.when(written).then(limited),
            largest=pl.when(pl.col("state") | written).then("bytes"),
        )
        .group_by("seq")
        .agg(pl.col("read_bytes", "written_bytes").sum(), pl.col("largest").max())
    )
    kind, elements = pl.col("kind"), pl.col("elements")
    return (
        touching.join(limits, on="seq")
        .join(moved, on="seq")
        .select(
            "signature_id",
            "neuron_call",
            "read_bytes",
            "written_bytes",
            "largest",
            additions=pl.when(kind.is_in(ADDITIONS)).then(elements).otherwise(0),
            multiplications=pl.when(kind == "mul").then(elements).otherwise(0),
        )
    )
