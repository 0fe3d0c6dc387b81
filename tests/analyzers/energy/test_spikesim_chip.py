"""A chip for SpikeSim's own network against the figures that its released tool prints."""

from __future__ import annotations

import pytest

from opjoule.analyzers.energy.spikesim import chip as chip
from opjoule.analyzers.energy.spikesim.energies import unit_pj
from opjoule.schemas.costs.spikesim import SpikeSimConfig

C_IN = (3, 64, 64, 128, 128, 256, 256)
C_OUT = (64, 64, 128, 128, 256, 256, 256)
IN_DIM = (32, 32, 16, 16, 8, 8, 8)
OUT_DIM = (32, 16, 16, 8, 8, 8, 4)
VGG9 = [
    chip.Layer(c_in, c_out, side_in**2, side_out**2, kernel_numel=9, steps=5)
    for c_in, c_out, side_in, side_out in zip(C_IN, C_OUT, IN_DIM, OUT_DIM, strict=True)
]
"""SpikeSim's default network: five steps, sizes after the 2x2 pooling behind layers 2, 4 and 7."""


def test_printed_energy_of_vgg9():
    # cycles a step: 1024, 256, 2*256, 4*64, 8*64, 16*64, 16*16 = 3840; times 5 steps
    cycles = sum(layer.out_sites * chip.elements([layer], 64) * layer.steps for layer in VGG9)
    assert cycles == 5 * 3840
    total = cycles * unit_pj("pe_cycle", 9, SpikeSimConfig())
    assert total == pytest.approx(15906934.026240002, rel=1e-12)


def test_printed_chip_of_vgg9():
    assert chip.elements(VGG9, 64) == 48
    assert chip.tile_count(VGG9, 64) == 6
    assert chip.area_um2(VGG9, 64, "rram") == pytest.approx(8425528.755833998, rel=1e-12)
    assert chip.latency_ns(VGG9) == 62832640.0
    assert chip.fits_in_order(VGG9, 64)
    assert not chip.fits_in_order(VGG9[::-1], 64)


def test_latency_starts_layers_after_three_quarters():
    # 2 * int(0.75*10*3) = 2*22, and the last layer whole: 2*4*5 = 40; 84 cycles of 104 ns
    layers = [chip.Layer(1, 3, 10, 10, steps=2), chip.Layer(3, 5, 10, 4, steps=2)]
    assert chip.latency_ns(layers) == 84 * 104
