"""What neurons do with their state, op by op: reads, writes, additions, multiplications.

State is followed by storage and dtype, so a view of state is state. It is what a neuron holds when
it is called, and what sums, products, selections and copies make of state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .charges import NEURON_OP
from .lemaire_operands import Chunk, chunks_inside

if TYPE_CHECKING:
    from ..trace import Trace

_CLASSES = {
    "add": ("add", "sub", "rsub"),
    "mul": ("mul", "div"),
    "compare": ("eq", "ne", "lt", "le", "gt", "ge"),
    "non_linear": ("sigmoid", "sqrt", "rsqrt", "exp", "tanh"),
    "select": ("where",),
    "copy": ("clone", "copy", "_to_copy"),
}
_CLASS_OF = {name: kind for kind, names in _CLASSES.items() for name in names}
_ADDITIONS = ("add", "compare", "non_linear", "select")
_WRITES = ("add", "mul", "select", "copy")
_VIEWS = (
    "detach view alias _unsafe_view as_strided expand slice select unsqueeze squeeze transpose "
    "permute lift_fresh"
).split()
_STARTS = ("full_like", "zeros_like")

_KEY = ["rank", "storage", "dtype"]
_SEQ = ["rank", "seq"]
_STATES = {"rank": pl.Int32, "storage": pl.Int64, "dtype": pl.String, "since": pl.Int64}

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
        keys: columns of `neurons` that are kept apart.

    Returns:
        `keys`, `op`, `DONE` added up and `largest` (bytes of the largest state operand of any of
        these ops); what touches no state is left out.
    """
    by = ["op", *keys]
    found = []
    carried = pl.DataFrame(schema=_STATES)
    named = neurons.select(*dict.fromkeys(("rank", *keys)), neuron_call="module_call_id")
    for chunk in chunks_inside(trace, neurons, share):
        ops = _classed(chunk)
        states = _followed(ops, chunk, carried)
        done = _done(ops, chunk.operands, states)
        found.append(
            done.join(named, on=["rank", "neuron_call"], maintain_order="left")
            .group_by(by, maintain_order=True)
            .agg(pl.col(DONE).sum(), pl.col("largest").max())
        )
        carried = states
    if not found:
        return pl.DataFrame(schema={"op": pl.String, **named.select(keys).schema, **_DONE})
    return (
        pl.concat(found)
        .group_by(by, maintain_order=True)
        .agg(pl.col(DONE).sum(), pl.col("largest").max())
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


def _classed(chunk: Chunk) -> pl.DataFrame:
    """Return the calls that may touch state, with `name`, `kind`, `writes` and `starts`.

    A neuron without state yet makes it by its first `full_like` or `zeros_like` (`starts`).
    """
    word = pl.col("op").str.split(".").list.get(1)
    plain = pl.when(word == "_to_copy").then(word).otherwise(word.str.strip_chars_end("_"))
    held = chunk.held.select("rank", "neuron_call", holds=pl.lit(True)).unique()
    kind = pl.col("kind")
    in_place = pl.col("mutates").list.len() > 0
    first = pl.col("seq") == pl.col("seq").filter(pl.col("name").is_in(_STARTS)).min().over(
        "rank", "neuron_call"
    )
    return (
        chunk.calls.with_columns(name=plain)
        .filter(~pl.col("name").is_in(_VIEWS))
        .join(held, on=["rank", "neuron_call"], how="left", maintain_order="left")
        .with_columns(kind=pl.col("name").replace_strict(_CLASS_OF, default="other"))
        .with_columns(
            writes=kind.is_in(_WRITES) | ((kind == "non_linear") & in_place.fill_null(False)),
            starts=(pl.col("holds").is_null() & first).fill_null(False),
        )
    )


def _followed(ops: pl.DataFrame, chunk: Chunk, carried: pl.DataFrame) -> pl.DataFrame:
    """Return which storages hold state, and since which seq: `_STATES`.

    Goes from the states that are known to the ops that read them, and on to what those write,
    for all neurons at once.
    """
    ins, outs = (chunk.operands.filter(pl.col("role") == role) for role in ("in", "out"))
    started = outs.join(ops.filter("starts").select(_SEQ), on=_SEQ, how="semi")
    working = ops.filter(~pl.col("starts"))
    makers = working.filter("writes")
    copies = makers.filter(pl.col("name") == "copy").select(_SEQ)
    made = pl.concat(
        [
            outs.join(makers.select(_SEQ), on=_SEQ, how="semi"),
            ins.filter(pl.col("slot") == 0).join(copies, on=_SEQ, how="semi"),
        ]
    ).select(*_KEY, since="seq")
    readers = ins.join(makers.select(_SEQ), on=_SEQ, how="semi").select(*_KEY, "seq")
    new = pl.concat(
        [
            carried,
            chunk.held.select(*_KEY, pl.col("since") - 1),
            started.select(*_KEY, since="seq"),
        ]
    ).drop_nulls()
    states = pl.DataFrame(schema=_STATES)
    while not new.is_empty():
        new = new.group_by(_KEY).agg(pl.col("since").min())
        states = pl.concat([states, new]).group_by(_KEY).agg(pl.col("since").min())
        read = readers.join(new, on=_KEY).filter(pl.col("seq") > pl.col("since"))
        written = made.join(
            read.select("rank", since="seq").unique(), on=["rank", "since"], how="semi"
        )
        known = states.select(*_KEY, before="since")
        new = (
            written.drop_nulls("storage")
            .join(known, on=_KEY, how="left")
            .filter(pl.col("before").is_null() | (pl.col("since") < pl.col("before")))
            .drop("before")
        )
    return states


def _done(ops: pl.DataFrame, operands: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Return what each op that touches state does: `rank`, `seq`, `neuron_call`, `op`, `DONE`.

    If an operand that is no state is sparse, reads and writes are limited to its nonzero elements,
    except those of `copy_`, which reads its source alone.
    """
    working = ops.filter(~pl.col("starts"))
    known = (
        operands.join(working.select(*_SEQ, "name", "kind", "writes"), on=_SEQ)
        .join(states, on=_KEY, how="left")
        .with_columns(state=(pl.col("since") < pl.col("seq")).fill_null(False))
    )
    is_in, copies = pl.col("role") == "in", pl.col("name") == "copy"
    reads = is_in & pl.col("state")
    target = copies & is_in & (pl.col("slot") == 0)
    written = pl.col("writes") & pl.when(copies).then(target).otherwise(~is_in)
    limit = pl.col("nonzero").filter(is_in & ~pl.col("state") & pl.col("sparse")).max()
    size = pl.col("bytes") // pl.max_horizontal("numel", 1)
    limited = (
        pl.when(pl.col("limit").is_null() | copies)
        .then("bytes")
        .otherwise(pl.min_horizontal("limit", "numel") * size)
    )
    elements = pl.col("numel").filter(~is_in).sum()
    kind = pl.col("kind").first()
    return (
        known.with_columns(limit=limit.over(_SEQ), touched=reads.any().over(_SEQ))
        .filter("touched")
        .with_columns(moved=limited)
        .group_by(_SEQ, maintain_order=True)
        .agg(
            additions=pl.when(kind.is_in(_ADDITIONS)).then(elements).otherwise(0),
            multiplications=pl.when(kind == "mul").then(elements).otherwise(0),
            read_bytes=pl.col("moved").filter(reads & ~target).sum(),
            written_bytes=pl.col("moved").filter(written).sum(),
            largest=pl.col("bytes").filter(reads | written).max(),
        )
        .join(working.select(*_SEQ, "neuron_call", "op"), on=_SEQ, maintain_order="left")
    )
