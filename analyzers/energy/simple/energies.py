"""Energy per action of the simple model: of an operation, and of a byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.compute import SimpleConfig
from ...frames import added_up
from ..row_keys import KEYS
from .actions import COMPONENTS

if TYPE_CHECKING:
    from ..report import EnergyReport

STRUCTURAL: frozenset[str] = frozenset()
"""Fields of the configuration that action counts depend on: none, all are energies."""

MEMORY = ("parameter_memory_pj", "neuron_state_memory_pj")
"""Parts of a report that its part `memory_pj` adds up."""


def units_pj(config: SimpleConfig) -> dict[str, float]:
    """Return the energy of each kind of action in pJ."""
    operations = {"mac": config.e_mac_pj, "ac": config.e_ac_pj}
    return {what: operations.get(what, config.e_memory_pj_per_byte) for what in COMPONENTS}


def breakdown_pj(sums: Mapping[str, float], config: SimpleConfig) -> dict[str, float]:
    """Return a report's parts; `memory_pj` is that of parameters and of neuron states together.

    Args:
        sums: operations and bytes by the names of `COMPONENTS`.
        config: the energies.
    """
    amounts: dict[str, float] = dict.fromkeys(COMPONENTS.values(), 0)
    units = {COMPONENTS[what]: unit for what, unit in units_pj(config).items()}
    for what, component in COMPONENTS.items():
        amounts[component] += sums[what]
    parts = {f"{name}_pj": n * units[name] for name, n in amounts.items()}
    return {**parts, "memory_pj": parts[MEMORY[0]] + parts[MEMORY[1]]}


def total_pj(parts: Mapping[str, float]) -> float:
    """Return what `breakdown_pj` adds up to."""
    return parts["mac_pj"] + parts["ac_pj"] + parts["memory_pj"]


def priced(rows: pl.DataFrame, config: SimpleConfig) -> pl.DataFrame:
    """Return the rows of a report: reads and writes of a component together."""
    units = pl.col("what").replace_strict(units_pj(config), return_dtype=pl.Float64)
    return (
        rows.with_columns(energy_pj=pl.col("count") * units)
        .group_by(*KEYS, "component", maintain_order=True)
        .agg(added_up(pl.col("count", "energy_pj")))
    )


def prices_of(report: EnergyReport) -> Callable[[SimpleConfig], dict[str, float]]:
    """Return what the counts of a report cost with another configuration: in all, and by part."""

    def price(config: SimpleConfig) -> dict[str, float]:
        parts = breakdown_pj(report.counts, config)
        return {"total_pj": total_pj(parts), **parts}

    return price
