"""Pooling: out elements, each of a window of |kernel|."""

from __future__ import annotations

from math import prod

from .call import Call
from .rule import Figures, OpRule, aten


def window(call: Call, spatial: int) -> int:
    """Return the elements of a pooling window; one number stands for every dimension."""
    kernel = call.arg("kernel_size", [1])
    sizes = kernel if isinstance(kernel, list) else [kernel]
    return prod(sizes * spatial if len(sizes) == 1 else sizes)


def _spatial(call: Call) -> int:
    return next((n for n in (1, 2, 3) if f"pool{n}d" in call.base), 2)


def maximum(call: Call) -> Figures:
    """Return the counters of a maximum pooling: |kernel| - 1 comparisons an output."""
    out = call.out.numel
    return Figures(flops=out * (window(call, _spatial(call)) - 1), bytes=call.moved)


def maximum_backward(call: Call) -> Figures:
    """Return the counters of its backward: each gradient is added to the element that won."""
    return Figures(flops=call.ins[0].numel, bytes=call.moved)


def average(call: Call) -> Figures:
    """Return the counters of an average pooling: |kernel| - 1 additions and a division an output."""
    out, size = call.out.numel, window(call, _spatial(call))
    return Figures(flops=out * size, bytes=call.moved, acs=out * (size - 1))


RULES: tuple[OpRule, ...] = (
    OpRule("pooling", aten("max_pool2d_with_indices max_pool3d_with_indices"), maximum),
    OpRule(
        "pooling",
        aten("max_pool2d_with_indices_backward max_pool3d_with_indices_backward"),
        maximum_backward,
    ),
    OpRule("pooling", aten("avg_pool2d avg_pool3d avg_pool1d"), average),
)
