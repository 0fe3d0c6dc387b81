"""Energy per action of the compute energy: of a multiply-accumulate and of an accumulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.compute import ComputeConfig

if TYPE_CHECKING:
    from ..report import EnergyReport

STRUCTURAL: frozenset[str] = frozenset()
"""Fields of the configuration that change what is counted: none, all are energies."""


def units_pj(config: ComputeConfig) -> dict[str, float]:
    """Return the energy of each action in pJ."""
    return {"mac": config.e_mac_pj, "ac": config.e_ac_pj}


def breakdown_pj(counts: Mapping[str, float], config: ComputeConfig) -> dict[str, float]:
    """Return the energy of each component in pJ."""
    return {f"{name}_pj": counts[name] * unit for name, unit in units_pj(config).items()}


def priced(rows: pl.DataFrame, config: ComputeConfig) -> pl.DataFrame:
    """Add `energy_pj` to action counts."""
    unit = pl.col("component").replace_strict(units_pj(config), return_dtype=pl.Float64)
    return rows.with_columns(energy_pj=pl.col("count") * unit)


def prices_of(report: EnergyReport) -> Callable[[ComputeConfig], dict[str, float]]:
    """Return what the counts of a report cost with another configuration: in all, and by part."""

    def price(config: ComputeConfig) -> dict[str, float]:
        parts = breakdown_pj(report.counts, config)
        return {"total_pj": sum(parts.values()), **parts}

    return price
