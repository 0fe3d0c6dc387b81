"""Modules that seem to be neurons and are not known are named, with the line that declares them."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from opjoule.tracer import NeuronRule, Recorder, RecordingWarning


class Fire(nn.Module):
    """Adds up its input; hands back a spike where it reaches 1, and starts again from 0."""

    def __init__(self):
        super().__init__()
        self.v = torch.zeros(())
        self.over = Over()

    def forward(self, x):
        v = self.v + x
        spikes = self.over(v - 1)
        self.v = v * (1 - spikes)
        return spikes


class Over(nn.Module):
    def forward(self, x):
        return (x >= 0).float()


class Halve(nn.Module):
    def forward(self, spikes):
        return spikes * (spikes > 0)


def recorded(tmp_path, net, x, **options):
    """Return the texts of the warnings of a recording of 4 calls, and the notes of its manifest."""
    recorder = Recorder(tmp_path / "trace", model=net, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with recorder, torch.no_grad():
            for _ in range(4):
                net(x)
    return [str(each.message) for each in caught if each.category is RecordingWarning]


def test_an_unknown_neuron_is_told_once_for_its_class(tmp_path, read):
    x = torch.full((2, 3), 0.75)
    x[0] = 0.3
    net = nn.Sequential(Fire(), nn.Linear(3, 3), nn.Identity(), Fire())
    nn.init.eye_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    x = torch.cat([x, torch.zeros(1, 3)])
    texts = recorded(tmp_path, net, x)
    assert len(texts) == 1, texts
    (text,) = texts
    # The second one is given spikes times an identity matrix: spikes in, so it is not asked about.
    assert text.startswith("Sequential.0 (") and "Sequential.3" not in text
    # `Over` inside is a part of it.
    assert "Over" not in text
    assert "neurons=[NeuronRule(Fire, kind='LIF', states=('v',))]" in text
    assert text in read(tmp_path / "trace").manifest["notes"]


def test_what_is_declared_or_no_neuron_is_not_told(tmp_path):
    x = torch.tensor([[0.3, 0.9], [1.2, 0.0]])
    rule = NeuronRule(Fire, kind="IF", states=("v",))
    assert recorded(tmp_path / "a", Fire(), x, neurons=[rule]) == []
    spikes = (x > 0.5).float()
    assert recorded(tmp_path / "b", Halve(), spikes) == []
    # weights inside: a block, not a neuron
    assert recorded(tmp_path / "c", nn.Sequential(nn.Linear(2, 2), nn.ReLU()), x) == []
    assert recorded(tmp_path / "d", Fire(), x, statistics="none") == []


def test_neurons_of_known_libraries_and_their_parts_are_not_told(jelly, tmp_path):
    from spikingjelly.activation_based import encoding

    net = nn.Sequential(jelly.neuron.IFNode(), encoding.PoissonEncoder())
    texts = recorded(tmp_path, net, torch.rand(3, 4))
    assert not any("not known as a neuron" in text for text in texts)
