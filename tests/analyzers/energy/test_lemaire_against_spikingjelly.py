"""Lemaire, revision spikingjelly-2.0, against SpikingJelly 2.0.0 in the same process."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.nn.utils import prune

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.schemas import TraceError
from opjoule.tracer import record


def spikes(*shape, rate=0.3):
    return (torch.rand(*shape) < rate).float()


class Mine(neuron.LIFNode):
    pass


def _multi_step(*modules):
    model = nn.Sequential(*modules)
    functional.set_step_mode(model, "m")
    return model


MODELS = {
    "strided, dilated, grouped": lambda: (
        nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, groups=2), neuron.IFNode(v_threshold=0.1),
            nn.Conv2d(8, 6, 2, dilation=2, bias=False), neuron.LIFNode(v_threshold=0.05),
        ),
        spikes(3, 4, 11, 9),
    ),
    "1-d and a linear layer on sequences": lambda: (
        nn.Sequential(
            nn.Conv1d(3, 5, 4, stride=3), neuron.IFNode(v_threshold=0.2), nn.Linear(6, 7)
        ),
        spikes(2, 3, 19),
    ),
    "3-d": lambda: (nn.Sequential(nn.Conv3d(2, 3, 2), neuron.IFNode()), spikes(1, 2, 4, 5, 3)),
    "other neurons": lambda: (
        nn.Sequential(
            nn.Linear(8, 6), neuron.ParametricLIFNode(), nn.Linear(6, 4), neuron.QIFNode()
        ),
        torch.rand(4, 8),
    ),
    "multi-step": lambda: (
        _multi_step(
            layer.Conv2d(2, 6, 3, padding=1), neuron.LIFNode(v_threshold=0.1), layer.MaxPool2d(2),
            layer.Flatten(), layer.Linear(96, 5), neuron.IFNode(v_threshold=0.1),
        ),
        spikes(5, 2, 2, 8, 8),
    ),
    "plain linear in a multi-step network": lambda: (
        _multi_step(nn.Linear(8, 5), neuron.IFNode(v_threshold=0.1), nn.Linear(5, 4)),
        spikes(4, 2, 8),
    ),
    "all ones": lambda: (nn.Sequential(nn.Linear(8, 5)), torch.ones(2, 8)),
    "all zeros": lambda: (
        nn.Sequential(nn.Conv2d(2, 3, 3), neuron.IFNode()),
        torch.zeros(1, 2, 5, 5),
    ),
    "double": lambda: (nn.Sequential(nn.Linear(8, 5)).double(), torch.rand(2, 8).double()),
    "weight-standardised": lambda: (
        _multi_step(layer.WSConv2d(2, 4, 3), neuron.LIFNode(), layer.WSConv2d(4, 3, 3, gain=False)),
        spikes(4, 2, 2, 8, 8),
    ),
    "pruned": lambda: (
        nn.Sequential(
            prune.l1_unstructured(nn.Linear(8, 16), "weight", 0.3), neuron.IFNode(),
            prune.l1_unstructured(nn.Linear(16, 4), "bias", 0.5),
        ),
        spikes(3, 8),
    ),
    "a neuron that it does not see": lambda: (
        _multi_step(layer.Linear(8, 6), neuron.GatedLIFNode(4), layer.Linear(6, 4)),
        spikes(4, 2, 8),
    ),
    "a neuron of one's own": lambda: (
        nn.Sequential(nn.Linear(8, 6), Mine(v_threshold=0.1), nn.Linear(6, 4)),
        spikes(3, 8),
    ),
    "one layer twice": lambda: (nn.Sequential(*[nn.Linear(8, 8)] * 2), torch.rand(2, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_equals_spikingjelly(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import op_counter
    torch.manual_seed(0)
    model, x = MODELS[name]()
    path = record(model.eval(), (x,), tmp_path / "trace")
    functional.reset_net(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        theirs = op_counter.estimate_lemaire_energy(
            model, x, config=op_counter.LemaireEnergyConfig(strict=False)
        )
    report = estimate_lemaire(open_trace(path), revision="spikingjelly-2.0")
    assert report.total_pj == pytest.approx(theirs.total_pj, rel=1e-9)
    assert report.breakdown_pj == pytest.approx(theirs.breakdown_pj, rel=1e-9)
    assert report.counts == theirs.counts
    assert report.details["buffer_sizes_bytes"] == theirs.buffer_sizes_bytes
    assert len(report.warnings) == len(theirs.warnings)
    assert theirs.total_pj > 0
    if theirs.warnings:
        with pytest.raises(TraceError, match="strict"):
            estimate_lemaire(open_trace(path), revision="spikingjelly-2.0", strict=True)
