"""Costs and options of NeuroMC's hardware: a training accelerator for spiking networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import CostConfig, CostPart, Count, PicoJoule

REGISTER_BIT_PJ = 0.00901 / 7.1 * 2
"""An access to a 1-bit register (NeuroMC @712c66f)."""

REGISTER_WORD_PJ = 0.14416 / 7.1 * 2
"""An access to a 16-bit register (NeuroMC @712c66f)."""


class NeuroMCMemory(CostPart):
    """One memory; moving `n` bits takes `n / bandwidth` accesses."""

    read_bits: Count
    """Bits of one read."""
    write_bits: Count
    """Bits of one write."""
    read_pj: PicoJoule
    """Energy of one read."""
    write_pj: PicoJoule
    """Energy of one write."""


def _memory(bits: int, read_pj: float, write_pj: float = -1.0) -> NeuroMCMemory:
    write_pj = read_pj if write_pj < 0 else write_pj
    return NeuroMCMemory(read_bits=bits, write_bits=bits, read_pj=read_pj, write_pj=write_pj)


class NeuroMCMemories(CostPart):
    """The memories: registers of the array, static RAM by what it holds, buffers, DRAM.

    `fp`: forward; `bp`: backward; `wg`: weight gradient; `s`: spikes; `u`: potentials; `w`:
    weights; `xi`: inputs of neurons; `du`, `dw`: gradients; `smask`: where neurons pass gradients.
    """

    reg_1b: NeuroMCMemory = _memory(1, REGISTER_BIT_PJ)
    reg_16b: NeuroMCMemory = _memory(16, REGISTER_WORD_PJ)
    reg_32b: NeuroMCMemory = _memory(32, 2 * REGISTER_WORD_PJ)
    fp_conv_in_s: NeuroMCMemory = _memory(1, 0.44854798)
    fp_conv_in_w: NeuroMCMemory = _memory(16, 5.302477904)
    fp_conv_out_xi: NeuroMCMemory = _memory(16, 5.792676768)
    fp_soma_u: NeuroMCMemory = _memory(256, 92.68282828)
    fp_soma_s: NeuroMCMemory = _memory(16, 7.176767677)
    fp_soma_smask: NeuroMCMemory = _memory(16, 7.176767677)
    bp_conv_in_du: NeuroMCMemory = _memory(16, 5.792676768)
    bp_conv_in_w: NeuroMCMemory = _memory(16, 5.302477904)
    bp_conv_out_res: NeuroMCMemory = _memory(16, 5.792676768)
    bp_grad_in_u: NeuroMCMemory = _memory(256, 92.68282828)
    bp_grad_in_smask: NeuroMCMemory = _memory(16, 7.176767677)
    bp_grad_in_s: NeuroMCMemory = _memory(16, 7.176767677)
    bp_grad_out_du: NeuroMCMemory = _memory(256, 92.68282828)
    wg_conv_in_s: NeuroMCMemory = _memory(1, 0.44854798)
    wg_conv_in_du: NeuroMCMemory = _memory(16, 5.792676768)
    wg_conv_out_dw: NeuroMCMemory = _memory(16, 5.302477904)
    sram_2mb: NeuroMCMemory = _memory(256, 46.976, 45.96)
    """Holds what batch norm works on."""
    sram_6mb: NeuroMCMemory = _memory(256, 458.1830181, 375.0422185)
    """Holds what the optimizer works on."""
    dram: NeuroMCMemory = _memory(64, 1300.0)
    """Never charged: NeuroMC sets what DRAM and network on chip cost to 0."""


class NeuroMCCapacities(CostPart):
    """Sizes in bits of the memories that can hold weights, or what stands in their place.

    They matter only in stages that reuse weights: these have to fit.
    """

    fp_conv_in_w: Count = 18432 * 256
    bp_conv_in_w: Count = 18432 * 256
    wg_conv_in_du: Count = 65536 * 16
    """Revision spikingjelly-2026-08 only."""


class NeuroMCStage(CostPart):
    """What a stage is that the user names with `recorder.label(name)`."""

    phase: Literal["forward", "backward", "optimizer"] = "forward"
    """Revision spikingjelly-2.0: how matrix products in the stage are read."""
    reuse_weights: bool = False
    """Weights that fit are there already: a time step or a batch after the first."""
    batch_norm_backward: bool = True
    """Whether batch norm's operations in the backward pass are modelled."""


class NeuroMCConfig(CostConfig):
    """Energies of operations and memories (32 nm, 1-bit spikes, 16-bit values), and what counts.

    The defaults are the constants of NeuroMC's code; sizes of `spikingjelly-2026-08` are in the
    preset of that name.
    """

    e_add_pj: PicoJoule = 0.548
    """A 16-bit addition."""
    e_mul_pj: PicoJoule = 0.812
    """A 16-bit multiplication; with an addition it is a MAC on dense values."""
    e_mux_pj: PicoJoule = 0.548 / 16
    """A selection; with an addition it is a MAC on 1-bit spikes."""
    e_comp_pj: PicoJoule = 0.056
    """A comparison."""
    e_sqrt_pj: PicoJoule = 0.514
    """A square root (batch norm, Adam)."""
    memories: NeuroMCMemories = NeuroMCMemories()
    """The memories and what an access to them costs."""
    capacity_bits: NeuroMCCapacities = NeuroMCCapacities()
    """Sizes of the memories that can hold weights."""

    stages: dict[str, NeuroMCStage] = Field(default={})
    """Stages by the label that they were recorded under; other labels are no stages."""
    stage_options: Literal["explicit", "names"] = "explicit"
    """`names`: every label is a stage, and its options are read off its name, as
    spikingjelly-2026-08 does: `backward`, `optimizer` or `update` in it is its phase, a word b1,
    t1, b2, ... means reused weights, `without_bp_bn` leaves batch norm's backward out."""
    weight_reuse: Literal["none", "stages"] = "none"
    """Revision source: whether stages with `reuse_weights` read no weights. NeuroMC's own output
    shows no such discount; the revisions of SpikingJelly always grant it."""
    weight_reads: Literal["call", "sample"] = "call"
    """Revision source: weights are read once a call, or once for each sample and time step in it,
    as in NeuroMC's own workloads, which split batch and time."""
    strided_backward: Literal["input", "output"] = "input"
    """Revision source: gradients of a strided convolution at the resolution of its input, with
    zeros between (NeuroMC's workload), or of its output (what PyTorch multiplies)."""
