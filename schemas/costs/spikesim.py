"""Costs and options of SpikeSim's energy model of crossbars (TCAD 2023)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from .base import CostConfig, Count, PicoJoule

COLUMNS_A_CONVERTER = 8


def _whole_converters(size: int) -> int:
    if size % COLUMNS_A_CONVERTER:
        below = size // COLUMNS_A_CONVERTER * COLUMNS_A_CONVERTER
        near = f"{below} or {below + COLUMNS_A_CONVERTER}" if below else COLUMNS_A_CONVERTER
        raise ValueError(f"should be a multiple of 8, as 8 columns share a converter: {near}")
    return size


class SpikeSimConfig(CostConfig):
    """Energies of one processing element (PE) and how its work is counted.

    The defaults are the constants of the released tool (`ela_spikesim.py`) for RRAM; the values
    are those of its fields times the factors that it hard-codes. Revisions of SpikingJelly have
    the same constants; `sites` and `with_gradients` are of the revision source only.
    """

    xbar_size: Annotated[Count, AfterValidator(_whole_converters)] = 64
    """Rows and columns of a crossbar, a multiple of 8; event mode takes the tile widths of the
    trace."""
    device: Literal["rram", "sram"] = "rram"
    """Which crossbar energy counts."""
    activity_mode: Literal["dense", "event"] = "dense"
    """`dense`: every PE cycle counts, as the source has it; `event`: what spikes reach."""
    sites: Literal["output", "pooled"] = "output"
    """Revision source: output positions of the convolution, or of the pooling that follows it."""
    require_if_lif_neurons: bool = True
    """Name neurons that are neither IF nor LIF (refuse them under strict)."""
    with_gradients: bool = False
    """Revision source: also take calls in eval mode whose gradients autograd recorded."""

    tile_buffer_pj: PicoJoule = 397.0
    """Tile buffer, once a PE cycle."""
    temp_buffer_pj: PicoJoule = 0.2
    """Temporary buffer, xbar_size/8 times a PE cycle."""
    sub_pj: PicoJoule = 1.15e-6
    """Shift and add, xbar_size/8 * 16 times a PE cycle."""
    adc_pj: PicoJoule = 2.03084
    """Analog-digital converter, (xbar_size/8)^2 times a PE cycle."""
    htree_pj: PicoJoule = 19.64 * 8
    """H-tree, once a PE cycle."""
    mux_pj: PicoJoule = 0.094245
    """Multiplexer, as often as the converter."""
    mem_fetch_pj: PicoJoule = 4.64
    """Fetch from memory, once a PE cycle."""
    neuron_pj: PicoJoule = 1.274 * 4
    """LIF module, once a PE cycle (not once a neuron)."""
    rram_xbar_pj: PicoJoule = 1.76423
    """RRAM crossbar, xbar_size/8 * kernel positions times a PE cycle."""
    sram_xbar_pj: PicoJoule = 671.089
    """SRAM crossbar, likewise. The number is the source's SRAM area in square micrometres."""

    @property
    def xbar_pj(self) -> float:
        """Energy of the chosen device's crossbar in pJ."""
        return self.rram_xbar_pj if self.device == "rram" else self.sram_xbar_pj
