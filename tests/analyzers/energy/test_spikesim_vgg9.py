"""SpikeSim's own network, VGG9 for CIFAR10 with five steps, recorded: the printed figures."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from torch import nn  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy import estimate_spikesim  # noqa: E402
from opjoule.schemas import ConfigError  # noqa: E402
from opjoule.schemas.costs.spikesim import SpikeSimConfig  # noqa: E402
from opjoule.tracer import Recorder  # noqa: E402

CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256)
POOLED = SpikeSimConfig(sites="pooled")


def _vgg9():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based.neuron import LIFNode
    layers = []
    for place, (c_in, c_out) in enumerate(pairwise(CHANNELS)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), LIFNode()]
        if place in (1, 3, 6):
            layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 16), LIFNode()).eval()


@pytest.fixture(scope="module", params=[1, 2], ids=["one image", "two images"])
def vgg9(request, tmp_path_factory):
    """Return the trace of five steps."""
    torch.manual_seed(0)
    net, images = _vgg9(), torch.rand(request.param, 3, 32, 32)
    path = tmp_path_factory.mktemp("vgg9") / "trace"
    with Recorder(path, model=net), torch.no_grad():
        for _ in range(5):
            net(images)
    return open_trace(path)


def test_pooled_sites_give_the_printed_energy(vgg9):
    report = estimate_spikesim(vgg9, POOLED)
    assert report.per_sample_pj == pytest.approx(15906934.02624, rel=1e-12)
    # Layer by layer: cycles 1024, 256, 512, 256, 512, 1024, 256 times 5 times 828.4861472
    stages = [v / report.samples for v in report.details["energy_by_stage"].values()]
    expected = [1024, 256, 512, 256, 512, 1024, 256]
    assert stages == pytest.approx([c * 5 * 828.4861472 for c in expected], rel=1e-12)


def test_output_sites_give_what_is_computed(vgg9):
    # 6144 cycles instead of 3840: layers 2, 4 and 7 have four times the positions
    report = estimate_spikesim(vgg9)
    assert report.per_sample_pj == pytest.approx(25451094.44198, rel=1e-12)
    assert report.per_sample_pj == pytest.approx(6144 * 5 * 828.4861472, rel=1e-12)


def test_chip_is_the_printed_one(vgg9):
    chip = estimate_spikesim(vgg9, POOLED).details
    assert (chip["xbar_elements"], chip["tiles"]) == (48, 6)
    assert chip["latency_ns"] == 62832640.0
    assert chip["area_um2"] == pytest.approx(8425528.755833998, rel=1e-12)
    assert chip["layers_in_order"]


def test_sram_gives_the_tools_figure_and_says_that_it_is_an_area(vgg9):
    report = estimate_spikesim(vgg9, SpikeSimConfig(device="sram", sites="pooled"))
    assert report.per_sample_pj == pytest.approx(941181496.07, rel=1e-10)
    assert any("area" in warning for warning in report.warnings)


def test_what_is_left_out_is_told(vgg9):
    report = estimate_spikesim(vgg9)
    assert report.left_out["what"].to_list() == ["Sequential.18 (aten.addmm.default)"]
    # linear: 4096*16; convolutions: 3840 cycles are 6144 at output size, layer 1 has 3 of 64 rows
    convolutions = 9 * (
        1024 * (3 * 64 + 64 * 64) + 256 * (64 * 128 + 128 * 128) + 64 * (128 * 256 + 2 * 256 * 256)
    )
    linear = 4096 * 16
    assert report.left_out["macs_share"][0] == pytest.approx(linear / (linear + convolutions))
    assert report.batch == report.samples and report.time_steps == 5


def test_a_filter_by_module_hides_poolings(vgg9):
    with pytest.raises(ConfigError, match="pooling"):
        estimate_spikesim(vgg9, POOLED, where="module=Sequential.2")


@pytest.mark.parametrize("revision", ["spikingjelly-2.0", "spikingjelly-2026-08"])
def test_spikingjelly_counts_at_output_size_of_all_images(vgg9, revision):
    report = estimate_spikesim(vgg9, revision=revision)
    assert report.total_pj == pytest.approx(25451094.44198 * vgg9_images(vgg9), rel=1e-12)
    with pytest.raises(ConfigError, match="pooled"):
        estimate_spikesim(vgg9, POOLED, revision=revision)


def vgg9_images(trace):
    return trace.module_calls.select("batch").collect()["batch"].max()
