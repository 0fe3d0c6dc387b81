"""Amounts of fragments, and what they cost: the first needs no price, the second no trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import NeuroMCConfig, NeuroMCMemories
from .addon_traffic import OPERATIONS, extra_moves, operations_of
from .fragments import SPIKE_CORES, Fragment
from .product_traffic import Move, base_moves

if TYPE_CHECKING:
    from ..report import EnergyReport

COMPONENTS = ("mac", "extra_compute", "base_memory", "extra_memory")
"""Parts of the total: MACs, other operations, operands of products, variables of add-ons."""

STRUCTURAL = frozenset(
    {
        "stages",
        "stage_options",
        "weight_reuse",
        "weight_reads",
        "strided_backward",
        "capacity_bits",
    }
)
"""Fields of `NeuroMCConfig` that amounts depend on; all others are prices."""

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

`fragment`: its place in the list; `what`: `spike_mac`, `dense_mac`, an operation, or `bits`;
`amount`: operations or bits of one fragment. `level` (reg, sram), `direction` and `memory` are null
for operations.
"""

PRICED = ("what", "direction", "memory")
"""Columns of amounts that decide their price."""


def amounts_of(fragments: Sequence[Fragment], revision: str, config: NeuroMCConfig) -> pl.DataFrame:
    """Return the amounts of each fragment, done once; only `STRUCTURAL` fields matter."""
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


def prices(config: NeuroMCConfig) -> dict[tuple[str, str | None, str | None], float]:
    """Return the price in pJ of every operation and of a bit by direction and memory (`PRICED`)."""
    found: dict[tuple[str, str | None, str | None], float] = {
        ("spike_mac", None, None): config.e_add_pj + config.e_mux_pj,
        ("dense_mac", None, None): config.e_add_pj + config.e_mul_pj,
        **{(name, None, None): getattr(config, f"e_{name}_pj") for name in OPERATIONS},
    }
    for memory in NeuroMCMemories.model_fields:
        held = getattr(config.memories, memory)
        read, write = held.read_pj / held.read_bits, held.write_pj / held.write_bits
        found |= {("bits", direction, memory): read for direction in ("rh2l", "rl2h")}
        found |= {("bits", direction, memory): write for direction in ("wl2h", "wh2l")}
    return found


def price(amounts: pl.DataFrame, config: NeuroMCConfig) -> pl.DataFrame:
    """Return amounts with `energy_pj`; any table with `PRICED` and `amount` will do."""
    found = prices(config)
    each = [found[key] for key in amounts.select(PRICED).iter_rows()]
    energy = pl.Series(each, dtype=pl.Float64) * amounts["amount"]
    return amounts.with_columns(energy_pj=energy)


def prices_of(report: EnergyReport) -> Callable[[NeuroMCConfig], dict[str, float]]:
    """Return what gives the total and the parts of a report at other prices.

    Args:
        report: of `estimate_neuromc`; configurations have to share its structural fields.
    """
    rows = report.details["amounts"].select("component", *PRICED, "amount").rows()

    def at(config: NeuroMCConfig) -> dict[str, float]:
        found = prices(config)
        parts = dict.fromkeys(COMPONENTS, 0.0)
        for component, what, direction, memory, amount in rows:
            parts[component] += amount * found[what, direction, memory]
        return {
            "total_pj": sum(parts.values()),
            **{f"{name}_pj": value for name, value in parts.items()},
        }

    return at
