"""Small random networks, spiking and ordinary, each made from its seed alone."""

from __future__ import annotations

import random

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn


def spiking(seed):
    """Return a spiking network in single-step mode and its input, spikes or not: (T, B, ...)."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    steps, batch = rng.randint(1, 4), rng.randint(1, 4)
    channels, size = rng.randint(1, 3), rng.choice([4, 6])
    flat = rng.random() < 0.3
    parts, shape = ([], (channels * size,)) if flat else ([], (channels, size, size))
    for _ in range(rng.randint(1, 3)):
        more, shape = _dense(rng, shape) if flat else _spatial(rng, shape)
        parts += [*more, _neuron(rng)]
    inside = shape[0] if flat else shape[0] * shape[1] * shape[2]
    parts += [*([] if flat else [layer.Flatten()]), layer.Linear(inside, 3, bias=_coin(rng))]
    net = nn.Sequential(*parts).eval()
    first = (channels * size,) if flat else (channels, size, size)
    x = torch.rand(steps, batch, *first)
    return net, (x < 0.4).float() if _coin(rng) else x


def _coin(rng):
    return rng.random() < 0.5


def _neuron(rng):
    v_threshold = rng.choice([0.05, 0.1, 0.2])
    if _coin(rng):
        return neuron.IFNode(v_threshold=v_threshold, v_reset=rng.choice([0.0, None]))
    return neuron.LIFNode(v_threshold=v_threshold, decay_input=_coin(rng))


def _dense(rng, shape):
    out = rng.randint(2, 6)
    return [layer.Linear(shape[0], out, bias=_coin(rng))], (out,)


def _spatial(rng, shape):
    c, h, w = shape
    groups = rng.choice([g for g in (1, 2, 3) if c % g == 0])
    out, stride = groups * rng.randint(1, 3), rng.choice([1, 1, 2])
    parts = [layer.Conv2d(c, out, 3, stride, 1, groups=groups, bias=_coin(rng))]
    h, w = -(-h // stride), -(-w // stride)
    if rng.random() < 0.4:
        parts.append(layer.BatchNorm2d(out))
    if rng.random() < 0.3 and h % 2 == 0:
        parts.append(rng.choice([layer.MaxPool2d, layer.AvgPool2d])(2))
        h, w = h // 2, w // 2
    return parts, (out, h, w)


def one_step_at_a_time(net, x):
    """Run each time step as a call of its own."""
    functional.set_step_mode(net, "s")
    functional.reset_net(net)
    for frame in x:
        net(frame)


def all_steps_at_once(net, x):
    """Run all time steps in one call of each layer."""
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    net(x)


def one_sample_at_a_time(net, x):
    """Run a batch of one for each sample, all its time steps in one call."""
    functional.set_step_mode(net, "m")
    for place in range(x.shape[1]):
        functional.reset_net(net)
        net(x[:, place : place + 1].contiguous())


RUNS = (one_step_at_a_time, all_steps_at_once, one_sample_at_a_time)


class Tied(nn.Module):
    """Two blocks that share a layer and an activation."""

    def __init__(self, size):
        super().__init__()
        self.shared, self.act = nn.Linear(size, size), nn.ReLU()
        self.a, self.b = nn.Sequential(self.shared, self.act), nn.Sequential(self.shared, self.act)

    def forward(self, x):
        return self.b(self.a(x))


class Vector(nn.Module):
    """Products that are no layer's: of a matrix and a vector, and of two batches."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size, size))
        self.v = nn.Parameter(torch.rand(size))

    def forward(self, x):
        y = x @ self.weight
        return torch.mv(y.flatten(0, -2), self.v), torch.bmm(y, y.transpose(1, 2))


def ordinary(seed):
    """Return a network without neurons and its inputs: (batch, length, size)."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    size, heads = rng.choice([8, 12]), rng.choice([2, 4])
    batch, length, bias = rng.randint(1, 4), rng.randint(2, 5), _coin(rng)
    x = torch.rand(batch, length, size)
    kinds = {
        "mlp": lambda: (nn.Sequential(nn.Linear(size, 6, bias=bias), nn.Linear(6, 4)), (x,)),
        "tied": lambda: (Tied(size), (x,)),
        "vector": lambda: (Vector(size), (x,)),
        "lstm": lambda: (nn.LSTM(size, 5, bias=bias, batch_first=True), (x,)),
        "gru": lambda: (nn.GRU(size, 5, 2, bias=bias, batch_first=True), (x,)),
        "attention": lambda: (nn.MultiheadAttention(size, heads, batch_first=True), (x, x, x)),
        "encoder": lambda: (
            nn.TransformerEncoderLayer(size, heads, 16, batch_first=True, bias=bias), (x,)),
        "convolution": lambda: (
            nn.Sequential(nn.Conv1d(length, 6, 3, padding=1, bias=bias), nn.ReLU(),
                          nn.ConvTranspose1d(6, 2, 3)), (x,)),
        "volume": lambda: (
            nn.Conv3d(batch, 2, (1, 2, 2)), (x.view(1, batch, 1, length, size),)),
    }  # fmt: skip
    name = list(kinds)[seed % len(kinds)]
    net, inputs = kinds[name]()
    return name, net.eval(), inputs
