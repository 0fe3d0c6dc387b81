"""SpikeSim's formulas against its constants, and its configuration."""

from __future__ import annotations

import pytest

from opjoule.analyzers.energy.spikesim.actions import tiles
from opjoule.analyzers.energy.spikesim.energies import patch_control_parts_pj, unit_pj
from opjoule.schemas import ConfigError
from opjoule.schemas.costs import config_class, load_config
from opjoule.schemas.costs.spikesim import SpikeSimConfig


def test_patch_control():
    # 397 + 4.64 + 157.12 + 8*16*1.15e-6 + 8*0.2 + 64*(2.03084 + 0.094245)
    # = 558.76 + 0.0001472 + 1.6 + 136.00544 = 696.3655872
    config = SpikeSimConfig()
    assert unit_pj("patch_control", 9, config) == pytest.approx(696.3655872, rel=1e-12)
    parts = patch_control_parts_pj(config)
    assert parts["adc_pj"] + parts["mux_pj"] == pytest.approx(136.00544, rel=1e-12)
    assert parts["sub_pj"] == pytest.approx(0.0001472, rel=1e-12)


def test_pe_cycle():
    # 696.3655872 + 5.096 + 8*9*1.76423 (= 127.02456) = 828.4861472
    assert unit_pj("pe_cycle", 9, SpikeSimConfig()) == pytest.approx(828.4861472, rel=1e-12)
    # SRAM: 701.4615872 + 72*671.089 (= 48318.408) = 49019.8695872
    sram = SpikeSimConfig(device="sram")
    assert unit_pj("pe_cycle", 9, sram) == pytest.approx(49019.8695872, rel=1e-12)


def test_pe_cycle_of_a_small_crossbar():
    # X = 16: 558.76 + 2*16*1.15e-6 (3.68e-5) + 0.4 + 4*2.125085 (8.50034) = 567.6603768
    # + 5.096 + 2*1*1.76423 (3.52846) = 576.2848368
    small = SpikeSimConfig(xbar_size=16)
    assert unit_pj("pe_cycle", 1, small) == pytest.approx(576.2848368, rel=1e-12)


def test_event_crossbars():
    # 1.76423/8 * 2 output tiles * 100 rows = 44.10575
    assert 2 * 100 * unit_pj("xbar", 9, SpikeSimConfig()) == pytest.approx(44.10575, rel=1e-12)


@pytest.mark.parametrize(
    ("channels", "expected"), [(3, [3]), (64, [64]), (70, [64, 6]), (130, [64, 64, 2])]
)
def test_tiles(channels, expected):
    assert tiles(channels, 64) == expected


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
        ("xbar_size", 7),
        ("xbar_size", 100),
        ("device", "dram"),
        ("activity_mode", "sparse"),
        ("sites", "input"),
    ],
)
def test_nonsense_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        SpikeSimConfig(**{field: value})


def test_sizes_name_those_beside_them():
    """X/8 converters of eight columns each: there is no half of one."""
    with pytest.raises(
        ConfigError, match=r"xbar_size = 100: should be a multiple of 8.* 96 or 104"
    ):
        SpikeSimConfig(xbar_size=100)
    assert SpikeSimConfig(xbar_size=104).xbar_size == 104
