"""SpikeSim's formulas against its constants and the figures that its released tool prints."""

from __future__ import annotations

import pytest

from opjoule.analyzers.energy import spikesim_chip as chip
from opjoule.analyzers.energy.spikesim_formulas import (
    event_xbar_pj,
    patch_control_parts_pj,
    patch_control_pj,
    pe_cycle_pj,
    tiles,
)
from opjoule.schemas import ConfigError
from opjoule.schemas.costs import config_class, load_config
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


def test_patch_control():
    # 397 + 4.64 + 157.12 + 8*16*1.15e-6 + 8*0.2 + 64*(2.03084 + 0.094245)
    # = 558.76 + 0.0001472 + 1.6 + 136.00544 = 696.3655872
    config = SpikeSimConfig()
    assert patch_control_pj(config) == pytest.approx(696.3655872, rel=1e-12)
    parts = patch_control_parts_pj(config)
    assert parts["adc_pj"] + parts["mux_pj"] == pytest.approx(136.00544, rel=1e-12)
    assert parts["sub_pj"] == pytest.approx(0.0001472, rel=1e-12)


def test_pe_cycle():
    # 696.3655872 + 5.096 + 8*9*1.76423 (= 127.02456) = 828.4861472
    assert pe_cycle_pj(SpikeSimConfig(), 9.0) == pytest.approx(828.4861472, rel=1e-12)
    # SRAM: 701.4615872 + 72*671.089 (= 48318.408) = 49019.8695872
    sram = SpikeSimConfig(device="sram")
    assert pe_cycle_pj(sram, 9.0) == pytest.approx(49019.8695872, rel=1e-12)


def test_pe_cycle_of_a_small_crossbar():
    # X = 16: 558.76 + 2*16*1.15e-6 (3.68e-5) + 0.4 + 4*2.125085 (8.50034) = 567.6603768
    # + 5.096 + 2*1*1.76423 (3.52846) = 576.2848368
    assert pe_cycle_pj(SpikeSimConfig(xbar_size=16), 1.0) == pytest.approx(576.2848368, rel=1e-12)


def test_event_crossbars():
    # 1.76423/8 * 2 output tiles * 100 rows = 44.10575
    assert event_xbar_pj(SpikeSimConfig(), 2.0, 100.0) == pytest.approx(44.10575, rel=1e-12)


@pytest.mark.parametrize(
    ("channels", "expected"), [(3, [3]), (64, [64]), (70, [64, 6]), (130, [64, 64, 2])]
)
def test_tiles(channels, expected):
    assert tiles(channels, 64) == expected


def test_printed_energy_of_vgg9():
    # cycles a step: 1024, 256, 2*256, 4*64, 8*64, 16*64, 16*16 = 3840; times 5 steps
    cycles = sum(layer.out_sites * chip.elements([layer], 64) * layer.steps for layer in VGG9)
    assert cycles == 5 * 3840
    total = cycles * pe_cycle_pj(SpikeSimConfig(), 9.0)
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


def test_presets_are_the_defaults():
    assert load_config("spikesim", preset="rram") == SpikeSimConfig()
    assert load_config("spikesim", preset="sram") == SpikeSimConfig(device="sram")
    assert config_class("spikesim") is SpikeSimConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("adc_pj", -1.0),
        ("neuron_pj", float("nan")),
        ("htree_pj", float("inf")),
        ("xbar_size", 0),
        ("xbar_size", 7.5),
        ("device", "dram"),
        ("activity_mode", "sparse"),
        ("sites", "input"),
    ],
)
def test_nonsense_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        SpikeSimConfig(**{field: value})
