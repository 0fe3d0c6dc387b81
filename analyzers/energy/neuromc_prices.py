"""Amounts of a fragment, and what they cost: the first needs no price, the second no trace."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ...schemas.costs import NeuroMCConfig, NeuroMCMemories
from .neuromc_base import Move, base_moves
from .neuromc_extra import OPERATIONS, extra_moves, operations_of
from .neuromc_fragments import SPIKE_CORES, Fragment

COMPONENTS = ("mac", "extra_compute", "base_memory", "extra_memory")
"""Parts of the total: MACs, other operations, operands of products, variables of add-ons."""

STRUCTURAL = frozenset(
    {"stages", "stage_options", "weight_reuse", "weight_reads", "strided_backward", "size_bits"}
)
"""Fields of `NeuroMCConfig` that amounts depend on (`size_bits`: of every memory); all others are
prices."""

AMOUNTS = {
    "fragment": pl.UInt32,
    "component": pl.String,
    "what": pl.String,
    "level": pl.String,
    "direction": pl.String,
    "memory": pl.String,
    "amount": pl.Int64,
}
"""Columns of a table of amounts.

`fragment`: its place in the list; `what`: `spike_mac`, `dense_mac`, an operation, or `bits`; `amount`:
operations or bits of one fragment. `level`, `direction` and `memory` are null for operations.
"""

PRICED = ("what", "direction", "memory")
"""Columns of amounts that decide their price."""


def amounts_of(
    fragments: Sequence[Fragment], revision: str, config: NeuroMCConfig
) -> pl.DataFrame:
    """Return the amounts of each fragment, once; depends on `STRUCTURAL` fields only."""
    rows: list[tuple[object, ...]] = []
    for place, one in enumerate(fragments):
        if one.macs:
            what = "spike_mac" if one.core in SPIKE_CORES else "dense_mac"
            rows.append((place, "mac", what, None, None, None, one.macs))
        for name, amount in operations_of(one).items():
            rows.append((place, "extra_compute", name, None, None, None, amount))
        rows += _moved(place, "base_memory", base_moves(one, revision, config))
        rows += _moved(place, "extra_memory", extra_moves(one, revision))
    return pl.DataFrame(rows, schema=AMOUNTS, orient="row")


def _moved(place: int, component: str, moves: Sequence[Move]) -> list[tuple[object, ...]]:
    return [
        (place, component, "bits", m.level, m.direction, m.memory, m.bits * m.elements)
        for m in moves
        if m.elements
    ]


def prices(config: NeuroMCConfig) -> pl.DataFrame:
    """Return the price in pJ of every operation, and of a bit in every memory and direction.

    Returns:
        `PRICED` and `price_pj`.
    """
    mac = {"spike_mac": config.e_mux_pj, "dense_mac": config.e_mul_pj}
    rows: list[tuple[str, str | None, str | None, float]] = [
        (name, None, None, config.e_add_pj + with_it) for name, with_it in mac.items()
    ]
    rows += [(name, None, None, getattr(config, f"e_{name}_pj")) for name in OPERATIONS]
    for memory in NeuroMCMemories.model_fields:
        held = getattr(config.memories, memory)
        for direction in ("rh2l", "rl2h"):
            rows.append(("bits", direction, memory, held.read_pj / held.read_bits))
        for direction in ("wl2h", "wh2l"):
            rows.append(("bits", direction, memory, held.write_pj / held.write_bits))
    schema = {**{name: pl.String for name in PRICED}, "price_pj": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def price(amounts: pl.DataFrame, config: NeuroMCConfig) -> pl.DataFrame:
    """Return amounts with `energy_pj`; any table with `PRICED` and `amount` will do."""
    return (
        amounts.join(
            prices(config), on=list(PRICED), how="left", nulls_equal=True, maintain_order="left"
        )
        .with_columns(energy_pj=pl.col("amount") * pl.col("price_pj"))
        .drop("price_pj")
    )


def total_pj(amounts: pl.DataFrame, config: NeuroMCConfig) -> float:
    """Return the energy of amounts; fastest on a table that is grouped by `PRICED`."""
    return float(price(amounts, config)["energy_pj"].sum())
