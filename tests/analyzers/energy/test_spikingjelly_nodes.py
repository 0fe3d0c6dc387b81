"""Which neurons' states SpikingJelly 2.0 sees, against SpikingJelly 2.0.0 in the same process."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_simple
from opjoule.tracer import NeuronRule, record


class Mine(neuron.IFNode):
    pass


class Counter(nn.Module):
    """A neuron of no library, which holds a state."""

    def forward(self, x):
        self.state = x.cumsum(0)
        return (self.state > 0.5).float()


NODES = {
    "IF": (neuron.IFNode, True),
    "LIF": (neuron.LIFNode, True),
    "KLIF": (neuron.KLIFNode, True),
    "Izhikevich": (neuron.IzhikevichNode, True),
    "one of one's own": (Mine, True),
    "gated LIF": (lambda: neuron.GatedLIFNode(4), False),
    "simple LIF": (lambda: neuron.SimpleLIFNode(2.0, True), False),
    "of no library": (Counter, False),
}


@pytest.mark.parametrize("name", NODES)
def test_simple_charges_the_states_that_spikingjelly_sees(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly.activation_based import op_counter
    torch.manual_seed(0)
    node, seen = NODES[name]
    model = nn.Sequential(layer.Linear(8, 6), node(), layer.Linear(6, 4)).eval()
    functional.set_step_mode(model, "m")
    x = (torch.rand(4, 2, 8) < 0.4).float()
    rules = [NeuronRule(Counter, states=("state",), time_dim=0, batch_dim=1)]
    path = record(model, (x,), tmp_path / "trace", neurons=rules)
    functional.reset_net(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        theirs = op_counter.estimate_simple_energy(model, x)
    report = estimate_simple(open_trace(path), revision="spikingjelly-2.0")
    assert report.total_pj == pytest.approx(theirs.energy_total_pj, rel=1e-12)
    assert (report.counts["neuron_state_read_bytes"] > 0) is seen
