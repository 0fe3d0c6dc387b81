"""Makes tests/data/spiking-1: one inference and one training step of a small spiking network.

Run it only to store a trace of a new format; stored traces of older formats stay as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from opjoule import Recorder

TIME_STEPS, BATCH = 2, 3


def network() -> nn.Module:
    """Return conv, norm, IF, pool, linear, LIF over (time, batch, channel, row, column)."""
    net = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(4 * 4 * 4, 5),
        neuron.LIFNode(),
    )
    functional.set_step_mode(net, "m")
    return net


def main(path: Path) -> None:
    """Record into `path`."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    inputs = torch.rand(TIME_STEPS, BATCH, 1, 8, 8)
    command = ["python", Path(__file__).name]
    with Recorder(path, model=net, seed=1, overwrite=True, command=command) as recorder:
        net.eval()
        with recorder.label("inference"), torch.no_grad():
            net(inputs)
        functional.reset_net(net)
        recorder.step()
        net.train()
        with recorder.label("training"):
            net(inputs).mean(0).square().sum().backward()
            optimizer.step()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "spiking-1")
