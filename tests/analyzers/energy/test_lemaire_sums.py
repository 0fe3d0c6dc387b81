"""Lemaire, revision source: the spikes of a sum, however the sum came to the layer.

What went into a layer is asked of the network itself: a hook adds up the elements of its inputs.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import neuron
from torch import nn
from torch.nn import functional

from opjoule import Recorder
from opjoule.analyzers import open_trace
from opjoule.analyzers.energy import estimate_lemaire
from opjoule.schemas import TraceError
from opjoule.schemas.costs import LemaireConfig

STEPS, BATCH, CHANNELS, SIZE = 3, 2, 4, 4


class Net(nn.Module):
    """A convolution that takes what a function makes of the sum of several neurons' spikes."""

    def __init__(self, way, neurons):
        super().__init__()
        self.way = way
        self.nodes = nn.ModuleList(
            neuron.IFNode(0.3 + 0.2 * each, step_mode="m") for each in range(neurons)
        )
        self.layer = nn.Conv2d(CHANNELS, 3, 1, bias=False)

    def forward(self, x):
        y = self.nodes[0](x)
        for node in self.nodes[1:]:
            y = y + node(x)
        for taken in self.way(y):
            self.layer(taken.flatten(0, 1) if taken.dim() == 5 else taken)


def recorded(path, way, neurons=4):
    """Return the trace of such a network, and the sum of all elements that the layer took in."""
    torch.manual_seed(0)
    net, spikes = Net(way, neurons).eval(), []
    net.layer.register_forward_pre_hook(lambda _, inputs: spikes.append(inputs[0].sum().item()))
    x = torch.rand(STEPS, BATCH, CHANNELS, SIZE, SIZE)
    with torch.no_grad(), Recorder(path, model=net, batch_dim=1, time_dim=0):
        net(x)
    return open_trace(path), sum(spikes)


def layer_terms(report):
    rows = report.details["terms"].iter_rows(named=True)
    return {row["what"]: row["count"] for row in rows if row["layer"] == "Net.layer"}


def said(report):
    return [each for each in report.warnings if "does not tell how many spikes" in each]


def frames(y):
    return y.flatten(0, 1)


KEPT = {
    "as it is": lambda y: [y],
    "a copy": lambda y: [y.clone()],
    "a copy of a permuted view": lambda y: [y.transpose(0, 1).contiguous().transpose(0, 1)],
    "reshaped": lambda y: [y.permute(1, 0, 3, 4, 2).reshape(-1, SIZE, SIZE, CHANNELS)],
    "channels last": lambda y: [frames(y).contiguous(memory_format=torch.channels_last)],
    "cast": lambda y: [y.double().float()],
    "narrower": lambda y: [y.bfloat16().float() , y.to(torch.int8).float()],
    "turned": lambda y: [y.flip(-1).roll(1, 0)],
    "dropout that does nothing": lambda y: [functional.dropout(y, 0.5, False)],
    "0 added, times 1": lambda y: [(0 + y) * 1],
    "relu": lambda y: [y.relu()],
    "pooled one by one": lambda y: [functional.max_pool2d(frames(y), 1)],
    "padded": lambda y: [functional.pad(y, (1, 2))],
    "repeated": lambda y: [y.repeat(2, 1, 1, 1, 1)],
    "with zeros": lambda y: [torch.cat([y, torch.zeros_like(y)])],
    "with spikes": lambda y: [torch.stack([y, (y > 0).float()]).flatten(0, 1)],
    "twice": lambda y: [y + y],
    "in place": lambda y: [y.clone().add_(y)],
    "into a new tensor": lambda y: [torch.empty_like(y).copy_(y)],
    "summed over": lambda y: [torch.stack([y, y.clone()]).sum(0)],
    "step by step": lambda y: [y[t] for t in range(STEPS)],
    "step by step, from the last": lambda y: [y[-t].double().float() for t in range(STEPS)],
    "unbound": lambda y: list(y),
    "steps put together again": lambda y: [torch.stack([y[t].clone() for t in range(STEPS)])],
    "sample by sample": lambda y: list(y.split(1, 1)),
    "slices put together": lambda y: [torch.cat([y[1:], y[:1]])],
}  # fmt: skip


@pytest.mark.parametrize("neurons", [2, 4])
@pytest.mark.parametrize("way", KEPT)
def test_a_sum_is_a_sum_however_it_comes(way, neurons, tmp_path):
    """A spike is read once, and goes to 3 outputs by weights of 1 x 1."""
    trace, spikes = recorded(tmp_path / "t", KEPT[way], neurons)
    report = estimate_lemaire(trace)
    found = layer_terms(report)
    assert spikes == int(spikes) > 0
    assert found["read_in"] == spikes
    assert found["synop"] == found["read_params"] == found["acc_addr"] == 3 * spikes
    assert "mac" not in found
    assert not said(report)
    assert "Net.layer as sums of spikes" in report.input_types


CHOSEN = {
    "pooled": lambda y: [functional.max_pool2d(frames(y), 2)],
    "upsampled": lambda y: [functional.interpolate(frames(y), scale_factor=2)],
    "indexed": lambda y: [y[torch.tensor([2, 0, 2])]],
    "one step": lambda y: [y[1]],
    "one step twice": lambda y: [y[0], y[0], y[1], y[2]],
    "steps that overlap": lambda y: [y[:2], y[1:]],
    "parts of different sizes": lambda y: [y[:1], y[1:]],
    "masked": lambda y: [torch.where(y > 1, y, torch.zeros_like(y))],
}


@pytest.mark.parametrize("way", CHOSEN)
def test_other_elements_of_a_sum_are_counted_where_they_are_known(way, tmp_path):
    """Of 0, 1 and 2 it is measured how many there are of each."""
    trace, spikes = recorded(tmp_path / "t", CHOSEN[way], neurons=2)
    report = estimate_lemaire(trace)
    assert layer_terms(report)["read_in"] == spikes > 0
    assert not said(report)


LOST = {
    **CHOSEN,
    "put in place one by one": lambda y: [put(y)],
    "other numbers padded": lambda y: [functional.pad(y, (1, 0), value=7.0)],
    "twice as large": lambda y: [y * 2],
    "too large for its type": lambda y: [(y.repeat(400, 1, 1, 1, 1).sum(0).bfloat16() + 0).float()],
    "one less": lambda y: [y - 1],
}


def put(y):
    whole = torch.zeros_like(y)
    for step in range(STEPS):
        whole[step] = y[step]
    return whole


@pytest.mark.parametrize("way", LOST)
def test_a_sum_that_is_not_known_is_told(way, tmp_path):
    """Elements of 3 and 4 are not told apart: the layer is hybrid, as without sums of spikes."""
    trace, _ = recorded(tmp_path / "t", LOST[way])
    report = estimate_lemaire(trace)
    assert [each.split(" whole")[0] for each in said(report)] == ["Net.layer takes"]
    assert "charged as hybrid" in said(report)[0]
    without = estimate_lemaire(trace, LemaireConfig(sums_of_spikes=False))
    assert not said(without)
    assert report.total_pj == without.total_pj
    assert "Net.layer" in report.input_types.split("other values into")[1]


OTHER = {
    "numbers among them": lambda y: [torch.where(y > 1, y, torch.full_like(y, 5.0))],
    "means": lambda y: [functional.avg_pool2d(frames(y), 2)],
    "pixels": lambda y: [y.clone().fill_(3.0)],
}


@pytest.mark.parametrize("way", OTHER)
def test_what_is_no_sum_of_spikes_is_no_lost_one(way, tmp_path):
    report = estimate_lemaire(recorded(tmp_path / "t", OTHER[way])[0])
    assert not said(report)
    assert "mac" in layer_terms(report)


def test_steps_without_and_with_a_known_sum(tmp_path):
    """Of a sum of 64 elements a step: 1 each in the first, known; 3 and 4 in the others, unknown.

    All of it is 64 + 2 * (32 * 3 + 32 * 4) = 512 spikes.
    """

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.nodes = nn.ModuleList(neuron.IFNode(1.0, step_mode="m") for _ in range(4))
            self.layer = nn.Linear(64, 3, bias=False)

        def forward(self, x):
            y = self.nodes[0](x[0])
            for node, each in zip(self.nodes[1:], x[1:], strict=True):
                y = y + node(each)
            return torch.stack([self.layer(y[t].clone()) for t in range(3)])

    x = torch.zeros(4, 3, 1, 64)
    x[0] = 1
    x[1:3, 1:] = 1
    x[3, 1:, :, :32] = 1
    net = Steps().eval()
    with torch.no_grad(), Recorder(tmp_path / "t", model=net, batch_dim=2, time_dim=1):
        net(x)
    report = estimate_lemaire(open_trace(tmp_path / "t"))
    rows = report.details["terms"].iter_rows(named=True)
    found = {row["what"]: row["count"] for row in rows if row["layer"] == "Steps.layer"}
    assert found["read_in"] == 512
    assert found["synop"] == 512 * 3


def test_a_block_of_a_spiking_transformer(tmp_path):
    """x = x + attention, x = x + mlp, with Linear layers behind permuted copies, twice."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
            self.nodes = nn.ModuleList(neuron.LIFNode(step_mode="m") for _ in range(3))

        def forward(self, x):  # (T, B, C, N)
            steps, batch, channels, tokens = x.shape
            x = x + self.nodes[0](x * 2)
            rows = x.permute(0, 1, 3, 2).reshape(steps * batch, tokens, channels)
            made = self.nodes[1](self.up(rows).reshape(steps, batch, tokens, 16) * 3)
            made = self.down(made.flatten(0, 1)).reshape(steps, batch, tokens, channels)
            return x + self.nodes[2](made.transpose(-1, -2).contiguous() * 9)

    class Former(nn.Module):
        def __init__(self):
            super().__init__()
            self.node = neuron.LIFNode(step_mode="m")
            self.blocks = nn.Sequential(Block(), Block())

        def forward(self, x):
            return self.blocks(self.node(x))

    torch.manual_seed(0)
    net, seen = Former().eval(), {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.update({f"Former.{name}": inputs[0]})
            )
    with torch.no_grad(), Recorder(tmp_path / "t", model=net, batch_dim=1, time_dim=0):
        net(torch.rand(4, 2, 8, 5) * 4)
    assert max(x.max().item() for x in seen.values()) > 2
    report = estimate_lemaire(open_trace(tmp_path / "t"))
    rows = report.details["terms"].iter_rows(named=True)
    found = {row["layer"]: row["count"] for row in rows if row["what"] == "read_in"}
    assert found == {name: x.sum().item() for name, x in seen.items()}
    assert not said(report)


def test_strict_refuses_a_sum_that_is_not_known(tmp_path):
    """Sums of 0 1 2 3 3 3, of which the layer takes 1 2 3 3: whether 2 or 3 is not measured."""

    class Part(nn.Module):
        def __init__(self, first, last):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(1, 6, bias=False) for _ in range(3))
            self.nodes = nn.ModuleList(neuron.IFNode(each) for each in (0.05, 0.15, 0.25))
            self.first, self.end = first, last
            self.last = nn.Linear(last - first, 3, bias=False)
            for layer in self.layers:
                nn.init.constant_(layer.weight, 1).mul_(torch.arange(6)[:, None] / 10)

        def forward(self, x):
            a, b, c = (n(made(x)) for made, n in zip(self.layers, self.nodes, strict=True))
            y = a + b + c
            return self.last(y[:, self.first : self.end])

    def strictly(first, end):
        path = tmp_path / f"{first}-{end}"
        with torch.no_grad():
            net = Part(first, end).eval()
            with Recorder(path, model=net):
                net(torch.ones(1, 1))
        report = estimate_lemaire(open_trace(path), strict=True)
        rows = report.details["terms"].iter_rows(named=True)
        return {row["what"]: row["count"] for row in rows if row["layer"] == "Part.last"}

    with pytest.raises(TraceError, match=r"^Part.last takes whole numbers .* \(strict\)$"):
        strictly(1, 5)
    # 1 2 3: one is 1, but 2 and 3 are not told apart; 3 3 3 are equal; 0 1 2 have no other number.
    with pytest.raises(TraceError, match="does not tell how many spikes"):
        strictly(1, 4)
    assert strictly(3, 6)["read_in"] == 9
    assert strictly(0, 3)["read_in"] == 3
    assert strictly(0, 6)["read_in"] == 12
