"""What runs inside neurons and on which storages, chunk by chunk, so that long traces fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ....schemas import SpikeClass

if TYPE_CHECKING:
    from ...trace.trace import Trace

CALLS_AT_ONCE = 200_000
"""Dispatched calls of a chunk."""

_SLOTS = (("in", 0), ("in", 1), ("in", 2), ("out", 0))
_DTYPES = 256
"""A key of state is storage * 256 + the number of the dtype: numbers join faster than text."""


@dataclass(frozen=True)
class Chunk:
    """Neuron calls of one rank that follow each other.

    Attributes:
        rank: the rank.
        calls: what ran inside, without views: `seq`, `signature_id` and `neuron_call`.
        operands: theirs: `seq`, `place` (see `place_of`), `key` (storage and dtype; null: no
            storage), `numel`, `bytes`, `sparse` and `nonzero`.
        held: the states that the neuron calls began with: `neuron_call`, `since` (their first seq)
            and `key`.
    """

    rank: int
    calls: pl.DataFrame
    operands: pl.DataFrame
    held: pl.DataFrame


def place_of(role: str, slot: int) -> int:
    """Return a number for an operand's role and slot: even for inputs, odd for results."""
    return 2 * slot + (role == "out")


def chunks_inside(
    trace: Trace, neurons: pl.DataFrame, views: pl.DataFrame, share: float
) -> Iterator[Chunk]:
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
        yield Chunk(
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
        .collect(engine="streaming")
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
        .collect(engine="streaming")
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
            place=pl.lit(place_of(role, slot), pl.Int32),
            value_id=f"{role}{slot}_value",
            **{"class": f"{role}{slot}_class", "nonzero": f"{role}{slot}_nonzero"},
        )
        for role, slot in _SLOTS
    )
    out = (pl.col("role").cast(pl.String) == "out").cast(pl.Int32)
    more = (
        trace.call_operands.filter(within)
        .select("seq", "value_id", "class", "nonzero", place=2 * pl.col("slot") + out)
        .collect(engine="streaming")
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
        .collect(engine="streaming")
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
