"""What SpikeSim covers, names, and refuses."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from torch import nn  # noqa: E402

from opjoule.analyzers import open_trace  # noqa: E402
from opjoule.analyzers.energy import estimate, estimate_spikesim  # noqa: E402
from opjoule.schemas import ConfigError, TraceError  # noqa: E402
from opjoule.schemas.costs import SpikeSimConfig  # noqa: E402
from opjoule.tracer import Recorder, record  # noqa: E402


def _network(node):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import neuron
    return nn.Sequential(nn.Conv2d(2, 3, 3), getattr(neuron, node)())


def _traced(net, path, gradients=False):
    images = torch.rand(2, 2, 6, 6)
    with Recorder(path, model=net), torch.set_grad_enabled(gradients):
        net(images)
    return open_trace(path)


@pytest.mark.parametrize("node", ["IFNode", "LIFNode"])
def test_if_and_lif_pass(node, tmp_path):
    report = estimate_spikesim(_traced(_network(node).eval(), tmp_path / "t"), strict=True)
    # 2 images, 4*4 sites, one tile: 32 cycles of 828.4861472
    assert report.total_pj == pytest.approx(32 * 828.4861472, rel=1e-12)
    assert not report.warnings


def test_other_neurons_are_named_and_refused_under_strict(tmp_path):
    trace = _traced(_network("IzhikevichNode").eval(), tmp_path / "t")
    assert any("IzhikevichNode" in warning for warning in estimate_spikesim(trace).warnings)
    with pytest.raises(TraceError, match="IzhikevichNode"):
        estimate_spikesim(trace, strict=True)
    anyone = SpikeSimConfig(require_if_lif_neurons=False)
    assert not estimate_spikesim(trace, anyone, strict=True).warnings


def test_training_mode_is_refused_with_the_cure(tmp_path):
    trace = _traced(_network("IFNode").train(), tmp_path / "t")
    with pytest.raises(TraceError, match=r"call model\.eval\(\)"):
        estimate_spikesim(trace)


def test_gradients_are_refused_with_both_cures(tmp_path):
    trace = _traced(_network("IFNode").eval(), tmp_path / "t", gradients=True)
    with pytest.raises(TraceError, match=r"no_grad.*with_gradients"):
        estimate_spikesim(trace)
    report = estimate_spikesim(trace, SpikeSimConfig(with_gradients=True))
    assert report.total_pj == pytest.approx(32 * 828.4861472, rel=1e-12)


def test_filters_narrow_and_add_up(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3)).eval()
    trace = _traced(net, tmp_path / "t")
    whole = estimate_spikesim(trace).total_pj
    parts = [
        estimate_spikesim(trace, where=f"module=Sequential.{place}").total_pj for place in (0, 1)
    ]
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    with pytest.raises(TraceError, match="no calls were recorded under stage=backward"):
        estimate_spikesim(trace.where("stage=backward"))


def test_batch_and_steps_fill_what_the_trace_does_not_know(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 3, 3)).eval()
    path = record(net, torch.rand(6, 2, 6, 6), tmp_path / "t", batch_dim=None)
    trace = open_trace(path)
    silent = estimate_spikesim(trace)
    assert (silent.samples, silent.per_sample_pj) == (None, None)
    # Six images are three steps of two samples if one says so
    told = estimate_spikesim(trace, batch=2, time_steps=3)
    assert (told.batch, told.time_steps, told.samples) == (2, 3, 2)
    assert told.per_sample_pj == silent.total_pj / 2
    assert estimate_spikesim(trace, time_steps=3).samples == 2
    for name in ("batch", "time_steps"):
        with pytest.raises(ConfigError, match=f"{name}=0"):
            estimate_spikesim(trace, **{name: 0})


def test_no_such_revision(tmp_path):
    trace = _traced(_network("IFNode").eval(), tmp_path / "t")
    with pytest.raises(ConfigError, match=r"spikingjelly-2\.0"):
        estimate_spikesim(trace, revision="spikingjelly-1")


def test_nothing_covered_says_why(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(4, 2, 2)).eval()
    said = "finds no convolution to estimate: it does not cover grouped convolutions, transposed"
    with pytest.raises(TraceError, match=said):
        estimate_spikesim(_traced(net, tmp_path / "t"))


def test_without_spikes_every_input_is_fully_active(tmp_path):
    """By events, 3 of 2*6*6 inputs meet a row; as dense, all 9*2 rows of each of 2*4*4 sites."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False)).eval()
    images = torch.zeros(2, 2, 6, 6)
    images[0, 0, 2, 2:5] = 1
    trace = open_trace(record(net, images, tmp_path / "t"))
    event = SpikeSimConfig(activity_mode="event")
    rows = {
        spikes: estimate_spikesim(trace, event, spikes=spikes).details["event_stats_by_stage"]
        for spikes in ("binary", "none")
    }
    # 3 spikes at columns 2, 3 and 4 of row 2: in 3 rows of 3, 3 and 2 kernel positions
    assert rows["binary"]["Sequential.0"]["active_row_count"] == 3 * (3 + 3 + 2)
    assert rows["none"]["Sequential.0"]["active_row_count"] == 2 * 4 * 4 * 9 * 2
    for refused in ("graded", "none"):
        with pytest.raises(ConfigError, match="not available in this model and revision"):
            estimate_spikesim(trace, event, spikes=refused, revision="spikingjelly-2.0")


@pytest.mark.parametrize(
    ("estimator", "what"),
    [("neuromc", "forward products"), ("spikesim", "convolution calls")],
)
def test_inputs_that_were_not_measured_are_not_called_dense(tmp_path, estimator, what):
    """Two convolutions of spikes: known with statistics, not known without."""
    net = _network("IFNode").append(nn.Conv2d(3, 2, 1)).eval()
    x = (torch.rand(2, 2, 4, 4) < 0.5).float()
    told = {}
    for level in ("full", "none"):
        path = record(net, (x,), tmp_path / level, statistics=level)
        net[1].reset()
        told[level] = estimate(open_trace(path), estimator)
    assert told["full"].input_types.startswith(f"2 of 2 {what} take spikes")
    unknown = f"not measured whether the {what} (2) take spikes"
    assert told["none"].input_types == unknown
    assert f"Inputs: {unknown}." in told["none"].statement()
