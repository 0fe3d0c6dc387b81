"""SpikeSim's energy per action: of a PE cycle, or of what events make work in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from ....schemas.costs.spikesim import SpikeSimConfig
from ...frames import added_up, at_once

if TYPE_CHECKING:
    from ..report import EnergyReport

STRUCTURAL = frozenset(
    {"xbar_size", "device", "activity_mode", "sites", "require_if_lif_neurons", "with_gradients"}
)
"""Fields of the configuration that action counts or warnings depend on; all others are energies."""

BASE = 8
"""Columns that share a converter: the source writes xbar_size/8 wherever it counts them."""


def patch_control_parts_pj(config: SpikeSimConfig) -> dict[str, float]:
    """Return what a PE cycle costs beside crossbars and neuron, in pJ, part by part.

    `htree + mem_fetch + tile_buffer + X/8·(16·sub + temp) + (X/8)²·(adc + mux)`, X the
    crossbar's size.
    """
    share = config.xbar_size / BASE
    return {
        "htree_pj": config.htree_pj,
        "mem_fetch_pj": config.mem_fetch_pj,
        "tile_buffer_pj": config.tile_buffer_pj,
        "sub_pj": share * 16 * config.sub_pj,
        "temp_buffer_pj": share * config.temp_buffer_pj,
        "adc_pj": share * share * config.adc_pj,
        "mux_pj": share * share * config.mux_pj,
    }


def unit_pj(component: str, kernel_numel: int, config: SpikeSimConfig) -> float:
    """Return the energy of one unit of a component in pJ.

    Args:
        component: `pe_cycle` (dense): `patch_control + neuron + X/8·kh·kw·crossbar`; or, by
            events, `patch_control` (a patch and output tile), `xbar` (an active row, `crossbar/8`
            an output tile) and `neuron` (an active site and pair of tiles).
        kernel_numel: kh·kw of the convolution; a PE holds a crossbar for each.
        config: the constants.
    """
    if component == "neuron":
        return config.neuron_pj
    if component == "xbar":
        return config.xbar_pj / BASE
    control = sum(patch_control_parts_pj(config).values())
    if component == "patch_control":
        return control
    return control + config.neuron_pj + kernel_numel * (config.xbar_size / BASE * config.xbar_pj)


def priced(amounts: pl.DataFrame, config: SpikeSimConfig) -> pl.DataFrame:
    """Add `energy_pj` to action counts."""
    kinds = amounts.select("component", "kernel_numel").unique(maintain_order=True)
    prices = [unit_pj(component, taps, config) for component, taps in kinds.iter_rows()]
    units = kinds.lazy().with_columns(unit_pj=pl.Series(prices, dtype=pl.Float64))
    return (
        amounts.lazy()
        .join(units, on=["component", "kernel_numel"], maintain_order="left")
        .with_columns(energy_pj=pl.col("amount") * pl.col("unit_pj"))
        .drop("unit_pj")
        .pipe(at_once)
    )


def breakdown_pj(
    totals: Mapping[tuple[str, int], float], config: SpikeSimConfig
) -> dict[str, float]:
    """Return the energy by component in pJ.

    Args:
        totals: (component, kernel_numel) -> amount.
        config: the constants.
    """
    parts: dict[str, float] = {}
    for (component, taps), amount in totals.items():
        name = f"{component}_pj"
        parts[name] = parts.get(name, 0.0) + amount * unit_pj(component, taps, config)
    return parts


def totals_of(rows: pl.DataFrame) -> dict[tuple[str, int], float]:
    """Return (component, kernel_numel) -> amount: all that the energy of the total needs."""
    sums = rows.group_by("component", "kernel_numel", maintain_order=True).agg(
        added_up(pl.col("amount"))
    )
    return {(component, taps): amount for component, taps, amount in sums.iter_rows()}


def prices_of(report: EnergyReport) -> Callable[[SpikeSimConfig], dict[str, float]]:
    """Return what the counts of a report cost with another configuration: in all, and by part."""
    totals = totals_of(report.rows)

    def price(config: SpikeSimConfig) -> dict[str, float]:
        parts = breakdown_pj(totals, config)
        return {"total_pj": sum(parts.values()), **parts}

    return price


def cycle_parts_pj(kernel_numels: pl.Series, config: SpikeSimConfig) -> dict[str, dict[str, float]]:
    """Return the parts of a PE cycle in pJ, by the number of kernel positions."""
    return {
        str(taps): {
            **patch_control_parts_pj(config),
            "neuron_pj": config.neuron_pj,
            "xbar_pj": config.xbar_size / BASE * taps * config.xbar_pj,
            "total_pj": unit_pj("pe_cycle", taps, config),
        }
        for taps in kernel_numels.unique().sort()
    }
