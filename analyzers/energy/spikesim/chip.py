"""Latency and area of a chip for a network, as SpikeSim's released tool gives them.

Both speak of one image on a chip that holds the whole network; only convolutions count. Formulas
and constants: SpikeSim's `ela_spikesim.py` (commit c2627bc), of which the printed figures of its
VGG9 are reproduced to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import polars as pl

XBAR_UM2 = {"rram": 26.2144, "sram": 671.089}
"""Area of a crossbar by device."""

_ADC_UM2, _MUX_UM2 = 693.633, 45.9
_BUFFER_BIT_UM2 = 0.7391
_COLUMN_UM2 = 13411.41498  # of a tile, xbar_size/8 times
_TILE_UM2 = (484.643999, 433660.0)  # of a tile, once
_TILE_BUFFER_BITS = 64 * 128
_NEURON_BITS = 22
_NEURON_LAYERS = 5  # outputs of the first five layers have neuron memory: hard-coded there
_CHECKPOINT = 0.75  # share of a layer after which the next one starts: hard-coded there
_CLOCKS, _MHZ = 26, 250  # of a PE cycle


class Layer(NamedTuple):
    """A convolution on the chip.

    Attributes:
        in_channels: its input channels.
        out_channels: its output channels.
        in_sites: positions of its input, height times width.
        out_sites: positions of its output, after the pooling that follows it if one asks for the
            released tool's figures.
        kernel_numel: positions of its kernel.
        steps: how often it runs for one image.
    """

    in_channels: int
    out_channels: int
    in_sites: int
    out_sites: int
    kernel_numel: int = 9
    steps: float = 1


def elements(layers: Sequence[Layer], xbar_size: int) -> int:
    """Return the PEs that hold the layers: Σ ⌈c_in/X⌉·⌈c_out/X⌉."""
    return sum(_elements(layer, xbar_size) for layer in layers)


def _elements(layer: Layer, xbar_size: int) -> int:
    return ceil(layer.in_channels / xbar_size) * ceil(layer.out_channels / xbar_size)


def fits_in_order(layers: Sequence[Layer], xbar_size: int) -> bool:
    """Tell whether PEs never get fewer from layer to layer; else the released tool gives up."""
    counts = [_elements(layer, xbar_size) for layer in layers]
    return counts == sorted(counts)


def tile_count(layers: Sequence[Layer], xbar_size: int, pe_per_tile: int = 8) -> int:
    """Return the tiles that hold the PEs."""
    return ceil(elements(layers, xbar_size) / pe_per_tile)


def area_um2(
    layers: Sequence[Layer], xbar_size: int = 64, device: str = "rram", pe_per_tile: int = 8
) -> float:
    """Return the area in square micrometres of tiles and neuron memory.

    The tool knows one kernel size; of several, the largest decides here.
    """
    share = xbar_size / 8
    kernel = max((layer.kernel_numel for layer in layers), default=0)
    element = kernel * XBAR_UM2[device] + share * (_ADC_UM2 + _MUX_UM2)
    buffer = _BUFFER_BIT_UM2 * _TILE_BUFFER_BITS
    tile = share * _COLUMN_UM2 + _TILE_UM2[0] + buffer + pe_per_tile * element + _TILE_UM2[1]
    memory = sum(layer.in_channels * layer.in_sites for layer in layers)
    memory += sum(layer.out_channels * layer.out_sites for layer in layers[:_NEURON_LAYERS])
    tile_number = tile_count(layers, xbar_size, pe_per_tile)
    return tile * tile_number + _BUFFER_BIT_UM2 * _NEURON_BITS * memory


def latency_ns(layers: Sequence[Layer]) -> float:
    """Return the latency of one image in nanoseconds.

    A layer starts after three quarters of the one before; a PE cycle of 26 clocks at 250 MHz gives
    one output element here (one output position in the energy).
    """
    cycles = 0.0
    for place, layer in enumerate(layers):
        outputs = layer.out_sites * layer.out_channels
        last = place == len(layers) - 1
        cycles += layer.steps * (outputs if last else int(_CHECKPOINT * outputs))
    return cycles * (_CLOCKS * 1000 / _MHZ)


def chip_of(
    counts: pl.DataFrame, xbar_size: int, device: str, samples: int | None
) -> dict[str, Any]:
    """Return latency and area of a chip that holds every stage, and what they rest on.

    Args:
        counts: what `spikesim_crossbars.mapped` returns.
        xbar_size: the crossbar's size.
        device: "rram" or "sram".
        samples: images that the counts are of; None: unknown, and so is the latency.
    """
    layers = _layers(counts, samples or 1)
    return {
        "xbar_elements": elements(layers, xbar_size),
        "tiles": tile_count(layers, xbar_size),
        "latency_ns": latency_ns(layers) if samples else None,
        "area_um2": area_um2(layers, xbar_size, device),
        "layers_in_order": fits_in_order(layers, xbar_size),
    }


def _layers(counts: pl.DataFrame, samples: int) -> list[Layer]:
    """Return the stages of one rank as layers of a chip, in the order of their first calls."""
    first = counts.filter(pl.col("rank") == pl.col("rank").min())
    ranks = max(counts["rank"].n_unique(), 1)
    runs = first.group_by("weights_of").agg(runs=(pl.col("images") * pl.col("calls")).sum())
    rows = first.unique("weights_of", keep="first", maintain_order=True).join(
        runs, on="weights_of", maintain_order="left"
    )
    return [
        Layer(
            in_channels=row["in_channels"],
            out_channels=row["out_channels"],
            in_sites=row["in_shape"][-2] * row["in_shape"][-1],
            out_sites=row["sites"],
            kernel_numel=row["kernel_numel"],
            steps=row["runs"] * ranks / samples,
        )
        for row in rows.iter_rows(named=True)
    ]
