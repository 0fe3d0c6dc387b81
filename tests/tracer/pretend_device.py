"""Two training steps on a simulated device, in a process of their own: its memory is closed.

    python pretend_device.py LIBRARY DIRECTORY [FAULT]

Prints the host's reads of device memory: before the recordings, inside them, and at their ends.
FAULT adds one to the recorder, as a careless change might: "item", "copy", "decide" or "address".
"""

from __future__ import annotations

import ctypes
import json
import sys
import types
import warnings
from pathlib import Path

import torch
from torch import nn

from opjoule.tracer import Recorder, device_statistics

DEVICE = "pretend"


def install(library: str) -> ctypes.CDLL:
    """Make the device known to PyTorch; return what tells of its reads."""
    torch.utils.rename_privateuse1_backend(DEVICE)
    module = types.ModuleType(DEVICE)
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    torch._register_device_module(DEVICE, module)
    torch.ops.load_library(library)
    return ctypes.CDLL(library)


class Fires(torch.autograd.Function):
    """A step whose gradient is that of a ramp."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 1).to(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ((x > 0) & (x < 2)).to(grad)


class Spiking(nn.Module):
    """A convolution, neurons of two time steps and a product."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 9, 3, padding=1)
        self.deep = nn.Conv2d(9, 4, 3, stride=2, bias=False)
        self.head = nn.Linear(36, 3)

    def forward(self, x):
        state, total = 0.0, 0.0
        for _ in range(2):
            state = state + self.conv(x)
            spikes = Fires.apply(state)
            state = state - spikes
            total = total + self.head(Fires.apply(self.deep(spikes)).flatten(1))
        return total


class Dense(nn.Sequential):
    """A small network of convolutions, norms and pooling."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip


def step(model, optimizer, x, target):
    """Train once; the loss stays on the device."""
    optimizer.zero_grad()
    (model(x) - target).square().mean().backward()
    optimizer.step()


def add(fault: str) -> None:
    """Have each measurement read device memory, in one way or another."""
    reads = {
        "item": lambda tensor: tensor.flatten()[0].item(),
        "copy": lambda tensor: tensor.cpu(),
        "decide": lambda tensor: torch.nonzero(tensor),
        "address": lambda tensor: ctypes.c_char.from_address(tensor.data_ptr()).value,
    }
    real = device_statistics.DeviceMeasurer.measure

    def measure(self, value, tensor):
        with device_statistics.unseen():
            reads[fault](tensor)
        real(self, value, tensor)

    device_statistics.DeviceMeasurer.measure = measure


def main(library: str, directory: str, fault: str = "") -> None:
    """Record both models on the host and on the device."""
    control = install(library)
    told = {}
    for kind in (Spiking, Dense):
        for device in ("cpu", DEVICE):
            torch.manual_seed(0)
            model = kind().to(device)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            x = (torch.rand(2, 2, 8, 8) < 0.4).float().to(device)
            target = torch.zeros(2, 3, device=device)
            step(model, optimizer, x, target)
            if device == DEVICE and fault:
                add(fault)
            with Recorder(Path(directory) / f"{kind.__name__}-{device}", model=model) as recorder:
                before = control.pretend_reads()
                control.pretend_refuse(1)
                step(model, optimizer, x, target)
                control.pretend_refuse(0)
                inside = control.pretend_reads()
            note = recorder._session.device_note
            told[f"{kind.__name__}-{device}"] = {
                "before": before, "inside": inside - before,
                "after": control.pretend_reads() - inside, "note": note,
            }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(*sys.argv[1:])
