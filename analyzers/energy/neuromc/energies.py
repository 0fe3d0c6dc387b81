"""Energy per action, from the configuration; what repricing a report needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs import NeuroMCConfig, NeuroMCMemories
from ...frames import added_up
from .actions import COMPONENTS, OPERATIONS

if TYPE_CHECKING:
    from ..report import EnergyReport

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
"""Fields of `NeuroMCConfig` that action counts depend on; all others are energies."""

PRICED = ("what", "direction", "memory")
"""Columns of actions that decide their energy."""

Energies = dict[tuple[str, str | None, str | None], float]


def energies(config: NeuroMCConfig) -> Energies:
    """Return the energy in pJ of every operation and of a bit by direction and memory."""
    found: Energies = {
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


def priced(actions: pl.DataFrame, counts: Sequence[int], config: NeuroMCConfig) -> pl.DataFrame:
    """Return the actions of fragments with their energy.

    Args:
        actions: see `actions.actions_of`.
        counts: how often each fragment ran.
        config: the energies.

    Returns:
        The actions with `calls` (how often) and `energy_pj` (of one fragment).
    """
    each = energies(config)
    energy = [each[key] for key in actions.select(PRICED).iter_rows()]
    return actions.with_columns(
        calls=pl.Series(counts, dtype=pl.Int64).gather(actions["fragment"]),
        energy_pj=pl.Series(energy, dtype=pl.Float64) * actions["amount"],
    )


def parts_of(found: pl.DataFrame) -> dict[str, float]:
    """Return energy by component of what `priced` returns, in all."""
    parts = dict.fromkeys(COMPONENTS, 0.0)
    for component, calls, energy in found.select("component", "calls", "energy_pj").iter_rows():
        parts[component] += calls * energy
    return parts


def totals_of(found: pl.DataFrame) -> pl.DataFrame:
    """Return amounts by component and `PRICED`, in all: what other energies need."""
    keys = ("component", *PRICED)
    amount = pl.col("amount").cast(pl.Float64) * pl.col("calls")
    each = found.with_columns(amount=amount)
    return each.group_by(keys, maintain_order=True).agg(added_up(pl.col("amount")))


def prices_of(report: EnergyReport) -> Callable[[NeuroMCConfig], dict[str, float]]:
    """Return what gives the total and the parts of a report at other energies.

    Args:
        report: of `estimate_neuromc`; configurations have to share its structural fields.
    """
    rows = report.details["amounts"].select("component", *PRICED, "amount").rows()

    def at(config: NeuroMCConfig) -> dict[str, float]:
        each = energies(config)
        parts = dict.fromkeys(COMPONENTS, 0.0)
        for component, what, direction, memory, amount in rows:
            parts[component] += amount * each[what, direction, memory]
        return {
            "total_pj": sum(parts.values()),
            **{f"{name}_pj": value for name, value in parts.items()},
        }

    return at
