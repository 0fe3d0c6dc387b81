"""SpikeSim's energy of a processing element (PE), as formulas on numbers or Polars columns."""

from __future__ import annotations

from typing import TypeVar

import polars as pl

from ...schemas.costs.spikesim import SpikeSimConfig

N = TypeVar("N", float, pl.Expr)
"""A number, or a column of numbers."""

BASE = 8
"""Columns that share a converter: the source writes xbar_size/8 wherever it counts them."""


def patch_control_pj(config: SpikeSimConfig) -> float:
    """Return the energy of a PE cycle but for crossbars and neuron, in pJ.

    `htree + mem_fetch + tile_buffer + X/8·(16·sub + temp) + (X/8)²·(adc + mux)`, X the
    crossbar's size.
    """
    return sum(patch_control_parts_pj(config).values())


def patch_control_parts_pj(config: SpikeSimConfig) -> dict[str, float]:
    """Return the parts of `patch_control_pj` by the names of the configuration."""
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


def pe_cycle_pj(config: SpikeSimConfig, kernel_numel: N) -> N:
    """Return the energy of a PE cycle in pJ: `patch_control + neuron + X/8·kh·kw·crossbar`.

    Args:
        config: the constants.
        kernel_numel: kh·kw of the convolution; a PE holds a crossbar for each.
    """
    fixed = patch_control_pj(config) + config.neuron_pj
    return fixed + kernel_numel * (config.xbar_size / BASE * config.xbar_pj)


def event_xbar_pj(config: SpikeSimConfig, out_tiles: N, weighted_rows: N) -> N:
    """Return the crossbars' energy in event mode in pJ: `crossbar/8·out_tiles·Σ rows·X/t`.

    Args:
        config: the constants.
        out_tiles: ⌈c_out/X⌉.
        weighted_rows: over the input tiles, active rows times X/t, t the tile's channels.
    """
    return config.xbar_pj / BASE * out_tiles * weighted_rows


def tiles(channels: int, xbar_size: int) -> list[int]:
    """Return the channels of each tile: full ones of `xbar_size`, and what is left."""
    full, rest = divmod(channels, xbar_size)
    return [xbar_size] * full + ([rest] if rest else [])
