"""Triton's kernels, interpreted on the CPU, against the CPU's own measurer; how many are launched.

What the interpreter cannot show is how they are compiled: `benchmarks/gpu.py` checks that on a GPU.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opjoule.tracer import Recorder, device_statistics, mode, session
from opjoule.tracer.session import Session

NAMES = (
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "bool", "complex64", "complex128", "float8_e4m3fn",
    "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
)  # fmt: skip
INF, NAN = float("inf"), float("nan")
NUMBERS = (
    [0, 1, 1, 0], [1, 1], [0, 0], [0, 1, -1], [-1, 0], [2, 0, 2], [2, 2], [3, 4, 5], [0.5, 0, 0.25],
    [0.25], [NAN, 0, 1], [NAN, NAN], [INF, 0], [-INF, INF], [-0.0, 0], [-0.0, 1], [1e-3, 0],
    [0, 300, 7], [-7, -7.5], [1e-45, 0], [2**60, 1],
)  # fmt: skip


def measured(tensors, kernels=None):
    """Return what is noted of tensors, on the CPU or, given kernels, as on a device."""
    inner = Session("full")
    if kernels is not None:
        inner.device_measurer = device_statistics.DeviceMeasurer(inner)
        inner.device_measurer.counts["cpu"] = kernels
    found = [inner.value_of(tensor) for tensor in tensors]
    for value, tensor in zip(found, tensors, strict=True):
        if kernels is not None:
            value.storage.device = value.device = "cpu:0"
        if not value.measured:
            inner.measure(value, tensor)
    if kernels is not None:
        inner.device_measurer.collect()
        assert (inner.device_note, inner.device_failed) == ("", None)
    inner.values.close()
    return [(v.measured, v.bits, v.nonzero, v.ones, v.minus_ones, v.low, v.high) for v in found]


def tensors_of(name):
    """Return tensors of a type: the numbers above, many, and whatever its bits may be."""
    dtype = getattr(torch, name)
    generator = torch.Generator().manual_seed(0)
    many = [torch.randn(300, generator=generator), torch.full((129,), 2.0)]
    many.append(torch.randint(-3, 4, (300,), generator=generator).float())
    made = [torch.tensor(numbers, dtype=torch.float64) for numbers in NUMBERS] + many
    if not dtype.is_floating_point and not dtype.is_complex:
        made = [numbers.nan_to_num(3, 9, -9).clamp(-100, 100) for numbers in made]
        if not dtype.is_signed:
            made = [numbers.abs() for numbers in made]
    drawn = torch.randint(0, 256, (256 * dtype.itemsize,), generator=generator, dtype=torch.uint8)
    every = torch.arange(256, dtype=torch.uint8).repeat(dtype.itemsize)
    bits = [] if dtype is torch.bool else [drawn.view(dtype), every.view(dtype)]
    return [*(numbers.to(dtype) for numbers in made), *bits]


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(torch, name)])
def test_every_type_is_counted_as_on_the_cpu(kernels, name):
    tensors = tensors_of(name)
    assert measured(tensors, kernels) == measured(tensors)


def test_every_pattern_of_16_bits(kernels, monkeypatch):
    monkeypatch.setattr(kernels, "block", 1 << 14)
    for dtype in (torch.float16, torch.bfloat16):
        every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype)
        finite = every[every.isfinite()]
        tensors = [every, finite, finite[finite == finite.floor()], finite.abs()[1::7]]
        assert measured(tensors, kernels) == measured(tensors)


@pytest.mark.parametrize("programs", [2, 1024])
def test_every_layout_is_counted_as_on_the_cpu(kernels, monkeypatch, programs):
    from opjoule.tracer import device_kernels

    monkeypatch.setattr(device_kernels, "_MOST_PROGRAMS", programs)
    grid = (torch.arange(6 * 7 * 8 * 9) % 5 - 2).float().reshape(6, 7, 8, 9)
    tensors = [
        grid, grid.mT, grid[::2], grid[:, 1:5], grid[..., ::3], grid[:, ::2, 1:7, ::2],
        grid.permute(3, 1, 0, 2)[1:, ::3], grid[2, 3, 4, 5], grid[:1, :1].expand(4, 3, 8, 9),
        grid.to(memory_format=torch.channels_last)[:, :3], grid[0, 0, 0, :1].expand(5),
        torch.as_strided(grid, (3, 4, 2), (1, 5, 100)), grid[1:, 1:, 1:, 1:],
    ]  # fmt: skip
    assert measured(tensors, kernels) == measured(tensors)


class Fires(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x >= 1).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * 0.5


class Net(nn.Module):
    """Convolutions with and without groups and biases, residual sums in and out of place."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.head = nn.Linear(8 * 36, 3)

    def forward(self, x):
        x = Fires.apply(self.norm(self.stem(x)))
        x = x + self.deep(x)
        x += 1
        first, second = x.chunk(2, 1)
        return self.head(torch.cat([first @ second, second], 1).flatten(1))


@pytest.mark.parametrize("level", ["full", "synaptic"])
def test_launches_of_a_call(tmp_path, read, kernels, apart, monkeypatch, level):
    """One for the values that it reads and makes, one for what spikes meet in it.

    A call that writes over what it has read takes one before it and one after.
    """
    monkeypatch.setattr(device_statistics, "_counts", lambda device: kernels)
    monkeypatch.setattr(kernels, "_launch", count(kernels))
    model, x = Net(), (torch.rand(2, 2, 6, 6) < 0.4).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    launches, start = [], kernels.launches

    def run(inner, thread, func, *rest, real=session.run):
        before = kernels.launches
        result = real(inner, thread, func, *rest)
        launches.append((str(func), kernels.launches - before))
        return result

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(mode, "run", run)
    with Recorder(tmp_path / level, model=model, statistics=level) as recorder:
        model(x).square().mean().backward()
        optimizer.step()
    assert len(launches) == len(read(recorder.path).calls) > 60
    assert max(count for _, count in launches) == 2
    convolutions = [n for op, n in launches if op.startswith("aten.convolution.")]
    assert convolutions == [2, 2]
    every = kernels.launches - start  # those at the model's own inputs and outputs, too
    assert every < len(launches) * (1 if level == "full" else 0.4)


def count(kernels):
    """Return a launch that does nothing."""

    def launch(*_):
        kernels.launches += 1

    return launch
