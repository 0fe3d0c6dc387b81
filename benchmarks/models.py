"""The fixed models of the benchmarks, each as one forward pass and one training step."""

# ruff: noqa: E402
from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read by the profiler when PyTorch is loaded
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Block


@dataclass(frozen=True)
class Workload:
    """Something to run, the same each time.

    Attributes:
        name: the model and its input.
        what: "forward" (eval, no_grad) or "training step".
        model: the model, in the right mode.
        run: one run.
        reset: what puts everything back, outside the clock.
        options: what the recorder is to know of the inputs.
    """

    name: str
    what: str
    model: nn.Module
    run: Callable[[], object]
    reset: Callable[[], None]
    options: dict[str, Any]


class Block(nn.Module):
    """A residual block of two 3x3 convolutions; spiking ones add after the neurons (SEW, ADD)."""

    def __init__(self, inputs: int, outputs: int, stride: int, kit: Kit) -> None:
        super().__init__()
        self.conv1 = kit.conv(inputs, outputs, 3, stride)
        self.bn1 = kit.norm(outputs)
        self.act1 = kit.act()
        self.conv2 = kit.conv(outputs, outputs, 3, 1)
        self.bn2 = kit.norm(outputs)
        self.act2 = kit.act()
        self.spiking = kit.spiking
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            parts = [kit.conv(inputs, outputs, 1, stride), kit.norm(outputs)]
            self.short = nn.Sequential(*parts, *([kit.act()] if kit.spiking else []))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        out: Tensor = self.act2(y) + self.short(x) if self.spiking else self.act2(y + self.short(x))
        return out


class Kit:
    """Where the two ResNets differ: their layers and what stands for an activation."""

    def __init__(self, *, spiking: bool) -> None:
        self.spiking = spiking
        self.layers: Any = layer if spiking else nn

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        found: nn.Module = self.layers.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        return found

    def norm(self, channels: int) -> nn.Module:
        found: nn.Module = self.layers.BatchNorm2d(channels)
        return found

    def act(self) -> nn.Module:
        found: nn.Module = nn.ReLU(inplace=True)
        if self.spiking:
            found = neuron.IFNode(surrogate_function=surrogate.ATan(), detach_reset=True)
        return found


def resnet18(*, spiking: bool, classes: int) -> nn.Sequential:
    """Return ResNet-18 (He et al. 2016), or SEW-ResNet-18 (Fang et al. 2021) in multi-step mode."""
    kit = Kit(spiking=spiking)
    blocks, inputs = [], 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [Block(inputs, outputs, stride, kit), Block(outputs, outputs, 1, kit)]
        inputs = outputs
    net = nn.Sequential(
        kit.conv(3, 64, 7, 2), kit.norm(64), kit.act(),
        kit.layers.MaxPool2d(3, stride=2, padding=1), *blocks,
        kit.layers.AdaptiveAvgPool2d(1), kit.layers.Flatten(), kit.layers.Linear(512, classes),
    )  # fmt: skip
    if spiking:
        functional.set_step_mode(net, "m")
    return net


def mlp() -> nn.Sequential:
    """Return a small perceptron: little work, many calls."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def vgg(classes: int, width: int = 64) -> nn.Sequential:
    """Return a spiking VGG of six convolutions with LIF neurons, in multi-step mode."""
    parts: list[nn.Module] = []
    inputs = 3
    for outputs in (width, 2 * width, 4 * width):
        for _ in range(2):
            parts += [
                layer.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                layer.BatchNorm2d(outputs),
                neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True),
            ]
            inputs = outputs
        parts.append(layer.MaxPool2d(2))
    net = nn.Sequential(*parts, layer.Flatten(), layer.Linear(4 * width * 4 * 4, classes))
    functional.set_step_mode(net, "m")
    return net


class Transformer(nn.Module):
    """One block of GPT-2 (Radford et al. 2019) and a linear readout of the mean over tokens."""

    def __init__(self, width: int, heads: int, classes: int) -> None:
        super().__init__()
        kinds: Any = (GPT2Config, GPT2Block)  # type checkers know too little of them
        config, block = kinds
        self.block = block(config(n_embd=width, n_head=heads, attn_implementation="eager"), 0)
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        out: Tensor = self.readout((y[0] if isinstance(y, tuple) else y).mean(1))
        return out


def workload(
    name: str, what: str, model: nn.Module, inputs: Tensor, classes: int, over_time: bool
) -> Workload:
    """Return a model and what is done with it; its inputs say on which device."""
    training = what == "training step"
    model.to(inputs.device).train(training)
    batch = inputs.shape[1 if over_time else 0]
    target = torch.arange(batch, device=inputs.device) % classes
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def forward() -> object:
        with torch.no_grad():
            return model(inputs)

    def train() -> object:
        optimizer.zero_grad(set_to_none=True)
        out = model(inputs)
        loss = cross_entropy(out.mean(0) if over_time else out, target)
        loss.backward()
        optimizer.step()
        return None

    def reset() -> None:
        functional.reset_net(model)

    options = {"batch_dim": 1, "time_dim": 0} if over_time else {}
    return Workload(name, what, model, train if training else forward, reset, options)


def workloads(device: str = "cpu") -> list[Workload]:
    """Return every model, forward and training step, with seeded weights and inputs."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 224, 224, device=device)
    frames = torch.rand(4, 8, 3, 32, 32, device=device)
    rows = torch.rand(32, 64, device=device)
    tokens = torch.randn(4, 64, 256, device=device)
    found = []
    for what in ("forward", "training step"):
        found += [
            workload("SEW-ResNet-18, T=4, 8x3x32x32", what, resnet18(spiking=True, classes=10),
                      frames, 10, over_time=True),
            workload("spiking VGG, T=4, 4x3x32x32", what, vgg(10), frames[:, :4], 10,
                      over_time=True),
            workload("ResNet-18, 1x3x224x224", what, resnet18(spiking=False, classes=1000), image,
                      1000, over_time=False),
            workload("GPT-2 block, 4x64x256", what, Transformer(256, 8, 10), tokens, 10,
                      over_time=False),
            workload("MLP 64-128-128-10, batch 32", what, mlp(), rows, 10, over_time=False),
        ]  # fmt: skip
    return found
