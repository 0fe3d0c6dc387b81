"""Event mode at any crossbar size, against patches counted one by one."""

from __future__ import annotations

from math import ceil

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.functional import unfold  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy import estimate_spikesim  # noqa: E402
from opjoule.schemas import TraceError  # noqa: E402
from opjoule.schemas.costs import SpikeSimConfig  # noqa: E402
from opjoule.tracer import record  # noqa: E402

C_IN, C_OUT, KERNEL, IMAGES = 20, 11, 3, 2


@pytest.fixture(scope="module")
def spikes():
    torch.manual_seed(3)
    return (torch.rand(IMAGES, C_IN, 9, 7) < 0.04).float()


@pytest.fixture(scope="module")
def trace(spikes, tmp_path_factory):
    net = nn.Sequential(nn.Conv2d(C_IN, C_OUT, KERNEL, stride=2, padding=1, bias=False)).eval()
    return open_trace(record(net, spikes, tmp_path_factory.mktemp("events") / "trace"))


def _by_hand(spikes, size, config):
    """Look at every patch: (images, channels, kernel positions, sites)."""
    patches = unfold(spikes, KERNEL, padding=1, stride=2)
    patches = patches.reshape(IMAGES, C_IN, KERNEL * KERNEL, -1)
    outs, ins = ceil(C_OUT / size), ceil(C_IN / size)
    sites = int(patches.flatten(1, 2).any(1).sum())
    pairs, weighted = 0, 0.0
    for first in range(0, C_IN, size):
        tile = patches[:, first : first + size]
        pairs += int(tile.flatten(1, 2).any(1).sum())
        weighted += int(tile.sum()) * size / tile.shape[1]
    share = size / 8
    control = config.htree_pj + config.mem_fetch_pj + config.tile_buffer_pj
    control += share * (16 * config.sub_pj + config.temp_buffer_pj)
    control += share**2 * (config.adc_pj + config.mux_pj)
    return {
        "patch_control_pj": control * outs * pairs,
        "xbar_pj": config.rram_xbar_pj / 8 * outs * weighted,
        "neuron_pj": config.neuron_pj * ins * outs * sites,
    }


@pytest.mark.parametrize("size", [8, 16, 32, 64, 24, 104, 1024])
def test_equals_counting_patch_by_patch(size, spikes, trace):
    config = SpikeSimConfig(activity_mode="event", xbar_size=size)
    report = estimate_spikesim(trace, config)
    expected = _by_hand(spikes, size, config)
    assert report.breakdown_pj == pytest.approx(expected, rel=1e-12)
    assert report.total_pj == pytest.approx(sum(expected.values()), rel=1e-12)
    assert report.samples == IMAGES
    zeros = f"{1 - spikes.mean().item():.1%} of all input elements are zero"
    assert report.input_types == f"1 of 1 convolution calls take spikes; {zeros}"


def test_other_sizes_are_refused_with_those_that_work(tmp_path):
    net = nn.Sequential(nn.Conv2d(50, 3, 1, bias=False)).eval()
    spikes = (torch.rand(2, 50, 5, 4) < 0.5).float()
    trace = open_trace(record(net, spikes, tmp_path / "trace"))
    with pytest.raises(TraceError) as caught:
        estimate_spikesim(trace, SpikeSimConfig(activity_mode="event", xbar_size=24))
    assert "(8, 16, 32, 64, 128, 256, 512, 1024), or 50 or more" in str(caught.value)
    # Dense mode takes any: ceil(50/24)*ceil(3/24)*2 images*5*4 sites = 120 cycles
    dense = estimate_spikesim(trace, SpikeSimConfig(xbar_size=24))
    assert dense.counts["dense_pe_cycle_count"] == 120


def test_no_spikes_cost_nothing_by_events(tmp_path):
    # S3 of the page on SpikeSim: the source's H-tree and buffers run with every PE cycle
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False)).eval()
    silent = (torch.rand(1, 64, 8, 8) < 0).float()
    trace = open_trace(record(net, silent, tmp_path / "trace"))
    event = SpikeSimConfig(activity_mode="event")
    assert estimate_spikesim(trace, event, revision="spikingjelly-2.0").total_pj == 0
    # 8*8 sites, one tile each: 64 * 828.4861472 = 53023.11
    assert estimate_spikesim(trace).total_pj == pytest.approx(53023.1134208, rel=1e-12)


def test_without_statistics_only_dense_mode_answers(spikes, tmp_path):
    net = nn.Sequential(nn.Conv2d(C_IN, C_OUT, KERNEL)).eval()
    trace = open_trace(record(net, spikes, tmp_path / "trace", statistics="none"))
    with pytest.raises(TraceError, match="record with statistics='synaptic' or 'full'"):
        estimate_spikesim(trace, SpikeSimConfig(activity_mode="event"))
    assert estimate_spikesim(trace).total_pj > 0
