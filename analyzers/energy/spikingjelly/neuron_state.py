"""What neurons do with their state, op by op: reads, writes, additions, multiplications.

State is followed by storage and dtype, so a view of state is state. It is what a neuron holds when
it is called, and what sums, products, selections and copies make of state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from ....schemas import SpikeClass
from ...rules.spikingjelly import STATE_MAKERS, STATE_OPS, STATE_VIEWS
from ...trace.files import collected
from ...trace.signatures import of_each_signature
from ..row_keys import NEURON_OP

if TYPE_CHECKING:
    from ...trace.trace import Trace

CALLS_AT_ONCE = 200_000
"""Dispatched calls of a chunk."""

_SLOTS = (("in", 0), ("in", 1), ("in", 2), ("out", 0))
_DTYPES = 256
"""A key of state is storage * 256 + the number of the dtype: numbers join faster than text."""


@dataclass(frozen=True)
class _Chunk:
    """Neuron calls of one rank that follow each other.

    Attributes:
        rank: the rank.
        calls: what ran inside, without views: `seq`, `signature_id` and `neuron_call`.
        operands: theirs: `seq`, `place` (see `_place_of`), `key` (storage and dtype; null: no
            storage), `numel`, `bytes`, `sparse` and `nonzero`.
        held: the states that the neuron calls began with: `neuron_call`, `since` (their first seq)
            and `key`.
    """

    rank: int
    calls: pl.DataFrame
    operands: pl.DataFrame
    held: pl.DataFrame


def _place_of(role: str, slot: int) -> int:
    """Return a number for an operand's role and slot: even for inputs, odd for results."""
    return 2 * slot + (role == "out")


_OUT, _TARGET = _place_of("out", 0) % 2, _place_of("in", 0)
_STATES = {"key": pl.Int64, "since": pl.Int64}

_ADDITIONS = ("add", "compare", "non_linear", "select")
"""Kinds whose results count as additions."""

_WRITES = ("add", "mul", "select", "copy")

_FIGURES = ("additions", "multiplications", "read_bytes", "written_bytes")
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
        `op`, `keys`, `_FIGURES` added up and `largest` (bytes of the largest state operand of
        any of these ops); what touches no state is left out.
    """
    kinds = _kinds(trace)
    views = kinds.filter("view").select("rank", "signature_id")
    by = ["signature_id", *keys]
    figures = [pl.col(_FIGURES).sum(), pl.col("largest").max()]
    named = neurons.select(*keys, neuron_call="module_call_id")
    found = []
    carried, rank = pl.DataFrame(schema=_STATES), -1
    for chunk in _chunks(trace, neurons, views, share):
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
        .group_by("op", *keys)
        .agg(figures)
        .sort("op", *keys)
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
        .select("op", *keys, *_FIGURES, "largest")
        .cast(_DONE)
    )


def _classed(chunk: _Chunk, kinds: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of a chunk with what `_kinds` returns.

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


def _followed(ops: pl.DataFrame, chunk: _Chunk, carried: pl.DataFrame) -> pl.DataFrame:
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
    """Return what each op that touches state does: its signature, neuron, `_FIGURES` and `largest`.

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
            additions=pl.when(kind.is_in(_ADDITIONS)).then(elements).otherwise(0),
            multiplications=pl.when(kind == "mul").then(elements).otherwise(0),
        )
    )


def _kinds(trace: Trace) -> pl.DataFrame:
    """Return what the ops of each signature do to state.

    Returns:
        `rank`, `signature_id`, `op`, `kind`, `view`, `starts` (makes state from nothing), `copies`
        and `writes`.
    """

    def told(row: Mapping[str, Any]) -> dict[str, Any]:
        word = row["op"].split(".")[1]
        name = word if word == "_to_copy" else word.rstrip("_")
        kind = STATE_OPS.get(name, "other")
        return {
            "op": row["op"],
            "kind": kind,
            "view": name in STATE_VIEWS,
            "starts": name in STATE_MAKERS,
            "copies": name == "copy",
            "writes": kind in _WRITES or (kind == "non_linear" and bool(row["mutates"])),
        }

    flagged = dict.fromkeys(("view", "starts", "copies", "writes"), pl.Boolean)
    return of_each_signature(trace, told, {"op": pl.String, "kind": pl.String, **flagged})


def _chunks(
    trace: Trace, neurons: pl.DataFrame, views: pl.DataFrame, share: float
) -> Iterator[_Chunk]:
    """Yield what ran inside neurons, in the order of execution.

    Args:
        trace: the trace.
        neurons: `rank` and `module_call_id` of calls of neurons.
        views: `rank` and `signature_id` of what is left out.
        share: share of zeros from which an operand is sparse, if it is no spike tensor.
    """
    spans, layouts = _spans(trace, neurons), _layouts(trace)
    numbers = dict(layouts.select("dtype", "number").unique().iter_rows())
    for part in spans.partition_by("rank", "chunk", maintain_order=True):
        rank, first, last = part["rank"][0], part["since"].min(), part["last_seq"].max()
        within = (pl.col("rank") == rank) & pl.col("seq").is_between(first, last)
        calls = _calls(trace, within, part, views.filter(rank=rank))
        operands = _operands(trace, within, calls)
        held = _held(part, numbers)
        storages = _storages(trace, rank, [operands["value_id"], held["value_id"]])
        yield _Chunk(
            rank=rank,
            calls=calls.select("seq", "signature_id", "neuron_call"),
            operands=_described(operands, layouts.filter(rank=rank), storages, share),
            held=held.join(storages, on="value_id").select("neuron_call", "since", key=_key()),
        )


def _key() -> pl.Expr:
    return pl.col("storage") * _DTYPES + pl.col("number")


def _spans(trace: Trace, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return the first and last seq of neuron calls, in order, with the chunk that they are in."""
    size = pl.col("last_seq") - pl.col("since") + 1
    wanted = neurons.lazy().select("rank", "module_call_id")
    return (
        trace.module_calls.join(wanted, on=["rank", "module_call_id"], how="semi")
        .select("rank", "last_seq", "state_before", neuron_call="module_call_id", since="first_seq")
        .pipe(collected, trace)
        .sort("rank", "since")
        .with_columns(chunk=size.cum_sum().over("rank") // CALLS_AT_ONCE)
    )


def _layouts(trace: Trace) -> pl.DataFrame:
    """Return what the operands of each signature are like, with a number for each dtype."""
    return (
        trace.signatures.select("rank", "signature_id", "operands")
        .explode("operands", empty_as_null=True)
        .unnest("operands")
        .select(
            "rank", "signature_id", "dtype", "numel", "bytes",
            place=2 * pl.col("slot") + (pl.col("role") == "out").cast(pl.Int32),
            number=pl.col("dtype").rank("dense").cast(pl.Int64),
        )
    )  # fmt: skip


def _calls(trace: Trace, within: pl.Expr, spans: pl.DataFrame, views: pl.DataFrame) -> pl.DataFrame:
    """Return the calls inside the spans, with `neuron_call`."""
    slots = [f"{role}{slot}" for role, slot in _SLOTS]
    columns = [f"{slot}_{what}" for slot in slots for what in ("value", "class", "nonzero")]
    return (
        trace.calls.filter(within)
        .select("seq", "signature_id", *columns)
        .pipe(collected, trace)
        .join(views, on="signature_id", how="anti")
        .sort("seq")
        .join_asof(
            spans.select("since", "last_seq", "neuron_call"), left_on="seq", right_on="since"
        )
        .filter(pl.col("seq") <= pl.col("last_seq"))
        .drop("since", "last_seq")
    )


def _operands(trace: Trace, within: pl.Expr, calls: pl.DataFrame) -> pl.DataFrame:
    """Return every operand of the calls, with `value_id`, `class` and `nonzero`."""
    flat = pl.concat(
        calls.select(
            "seq",
            "signature_id",
            place=pl.lit(_place_of(role, slot), pl.Int32),
            value_id=f"{role}{slot}_value",
            **{"class": f"{role}{slot}_class", "nonzero": f"{role}{slot}_nonzero"},
        )
        for role, slot in _SLOTS
    )
    out = (pl.col("role").cast(pl.String) == "out").cast(pl.Int32)
    more = (
        trace.call_operands.filter(within)
        .select("seq", "value_id", "class", "nonzero", place=2 * pl.col("slot") + out)
        .pipe(collected, trace)
        .join(calls.select("seq", "signature_id"), on="seq")
        .select(flat.columns)
    )
    return pl.concat([flat, more])


def _held(spans: pl.DataFrame, numbers: dict[str, int]) -> pl.DataFrame:
    """Return the tensor states that neuron calls began with, by value."""
    return (
        spans.select("neuron_call", "since", "state_before")
        .explode("state_before", empty_as_null=True)
        .unnest("state_before")
        .drop_nulls("value_id")
        .select(
            "neuron_call",
            "since",
            "value_id",
            number=pl.col("dtype").replace_strict(numbers, default=None, return_dtype=pl.Int64),
        )
    )


def _storages(trace: Trace, rank: int, values: list[pl.Series]) -> pl.DataFrame:
    """Return the storage of each value, where it has one."""
    wanted = pl.concat(values).drop_nulls().unique().to_frame()
    ends = wanted["value_id"].to_numpy()
    low, high = (int(ends.min()), int(ends.max())) if ends.size else (0, -1)
    return (
        trace.values.filter((pl.col("rank") == rank) & pl.col("value_id").is_between(low, high))
        .select("value_id", storage="storage_id")
        .join(wanted.lazy(), on="value_id", how="semi")
        .pipe(collected, trace)
        .drop_nulls()
    )


def _described(
    operands: pl.DataFrame, layouts: pl.DataFrame, storages: pl.DataFrame, share: float
) -> pl.DataFrame:
    """Return the operands that are there, with their layouts and keys."""
    binary = (pl.col("class") & int(SpikeClass.BINARY)) != 0
    zeros = pl.col("numel") - pl.col("nonzero")
    return (
        operands.join(layouts.drop("rank", "dtype"), on=["signature_id", "place"])
        .join(storages, on="value_id", how="left")
        .select(
            "seq", "place", "numel", "bytes", key=_key(),
            sparse=(binary | (zeros >= share * pl.col("numel"))).fill_null(False),
            nonzero=pl.col("nonzero").fill_null(pl.col("numel")),
        )
    )  # fmt: skip
