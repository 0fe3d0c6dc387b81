"""The operands of what runs inside neurons, chunk by chunk, so that long traces fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import SpikeClass

if TYPE_CHECKING:
    from ..trace import Trace

CALLS_AT_ONCE = 300_000
"""Dispatched calls of a chunk."""

_SLOTS = (("in", 0), ("in", 1), ("in", 2), ("out", 0))
_SEQ = ("rank", "seq")


@dataclass(frozen=True)
class Chunk:
    """Neuron calls that follow each other.

    Attributes:
        calls: what ran inside: `rank`, `seq`, `op`, `mutates` and `neuron_call`, by seq.
        operands: theirs: `rank`, `seq`, `role` (in or out), `slot`, `storage` (null: none),
            `dtype`, `numel`, `bytes`, `sparse` and `nonzero`.
        held: the states that the neuron calls began with: `rank`, `neuron_call`, `since` (their
            first seq), `storage` and `dtype`.
    """

    calls: pl.DataFrame
    operands: pl.DataFrame
    held: pl.DataFrame


def chunks_inside(trace: Trace, neurons: pl.DataFrame, share: float) -> Iterator[Chunk]:
    """Yield what ran inside neurons, in the order of execution.

    Args:
        trace: the trace.
        neurons: `rank` and `module_call_id` of calls of neurons.
        share: share of zeros from which an operand is sparse, if it is no spike tensor.
    """
    spans = _spans(trace, neurons)
    for part in spans.partition_by("rank", "chunk", maintain_order=True):
        rank, first, last = part["rank"][0], part["since"].min(), part["last_seq"].max()
        within = (pl.col("rank") == rank) & pl.col("seq").is_between(first, last)
        calls = _calls(trace, within, part)
        operands = _operands(trace, within, calls)
        held = _held(part)
        storages = _storages(trace, rank, [operands["value_id"], held["value_id"]])
        yield Chunk(
            calls=_named(trace, calls),
            operands=_described(trace, operands, storages, share),
            held=held.join(storages, on="value_id").drop("value_id"),
        )


def _spans(trace: Trace, neurons: pl.DataFrame) -> pl.DataFrame:
    """Return the first and last seq of neuron calls, in order, with the chunk that they are in."""
    size = pl.col("last_seq") - pl.col("since") + 1
    return (
        trace.module_calls.join(
            neurons.lazy().select("rank", "module_call_id"),
            on=["rank", "module_call_id"],
            how="semi",
        )
        .select("rank", "last_seq", "state_before", neuron_call="module_call_id", since="first_seq")
        .collect(engine="streaming")
        .sort("rank", "since")
        .with_columns(chunk=size.cum_sum().over("rank") // CALLS_AT_ONCE)
    )


def _calls(trace: Trace, within: pl.Expr, spans: pl.DataFrame) -> pl.DataFrame:
    """Return the calls inside the spans, with `neuron_call`."""
    slots = [f"{role}{slot}" for role, slot in _SLOTS]
    columns = [f"{slot}_{what}" for slot in slots for what in ("value", "class", "nonzero")]
    return (
        trace.calls.filter(within)
        .select(*_SEQ, "signature_id", *columns)
        .collect(engine="streaming")
        .sort("seq")
        .join_asof(
            spans.select("since", "last_seq", "neuron_call"), left_on="seq", right_on="since"
        )
        .filter(pl.col("seq") <= pl.col("last_seq"))
        .drop("since", "last_seq")
    )


def _named(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    signatures = trace.signatures.select("rank", "signature_id", "op", "mutates")
    return calls.select(*_SEQ, "signature_id", "neuron_call").join(
        signatures, on=["rank", "signature_id"], maintain_order="left"
    )


def _operands(trace: Trace, within: pl.Expr, calls: pl.DataFrame) -> pl.DataFrame:
    """Return every operand of the calls, with `value_id`, `class` and `nonzero`."""
    flat = pl.concat(
        calls.select(
            *_SEQ,
            "signature_id",
            role=pl.lit(role),
            slot=pl.lit(slot, pl.Int32),
            value_id=f"{role}{slot}_value",
            **{"class": f"{role}{slot}_class", "nonzero": f"{role}{slot}_nonzero"},
        )
        for role, slot in _SLOTS
    )
    more = (
        trace.call_operands.filter(within)
        .with_columns(pl.col("role").cast(pl.String))
        .collect(engine="streaming")
        .join(calls.select(*_SEQ, "signature_id"), on=_SEQ)
        .select(flat.columns)
    )
    return pl.concat([flat, more])


def _held(spans: pl.DataFrame) -> pl.DataFrame:
    """Return the tensor states that neuron calls began with, by value."""
    return (
        spans.select("rank", "neuron_call", "since", "state_before")
        .explode("state_before", empty_as_null=True)
        .unnest("state_before")
        .drop_nulls("value_id")
        .select("rank", "neuron_call", "since", "value_id", "dtype")
    )


def _storages(trace: Trace, rank: int, values: list[pl.Series]) -> pl.DataFrame:
    """Return the storage of each value, where it has one."""
    wanted = pl.concat(values).drop_nulls().unique().to_frame()
    number = pl.col("value_id")
    return (
        trace.values.filter(
            (pl.col("rank") == rank) & number.is_between(*_ends(wanted["value_id"]))
        )
        .select("value_id", storage="storage_id")
        .join(wanted.lazy(), on="value_id", how="semi")
        .collect(engine="streaming")
        .drop_nulls()
    )


def _ends(values: pl.Series) -> tuple[int, int]:
    numbers = values.to_numpy()
    return (int(numbers.min()), int(numbers.max())) if numbers.size else (0, -1)


def _described(
    trace: Trace, operands: pl.DataFrame, storages: pl.DataFrame, share: float
) -> pl.DataFrame:
    """Return the operands that are there, with their layouts and storages."""
    layouts = (
        trace.signatures.select("rank", "signature_id", "operands")
        .explode("operands", empty_as_null=True)
        .unnest("operands")
        .select("rank", "signature_id", "role", "slot", "dtype", "numel", "bytes")
    )
    binary = (pl.col("class") & int(SpikeClass.BINARY)) != 0
    zeros = pl.col("numel") - pl.col("nonzero")
    return (
        operands.join(layouts, on=["rank", "signature_id", "role", "slot"])
        .join(storages, on="value_id", how="left")
        .select(
            *_SEQ, "role", "slot", "storage", "dtype", "numel", "bytes",
            sparse=(binary | (zeros >= share * pl.col("numel"))).fill_null(False),
            nonzero=pl.col("nonzero").fill_null(pl.col("numel")),
        )
        .sort("seq", "role", "slot")
    )  # fmt: skip
