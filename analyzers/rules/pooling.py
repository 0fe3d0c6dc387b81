"""Pooling: out elements, each of a window of |kernel|; adaptive windows at their own sizes."""

from __future__ import annotations

from math import prod

from .call import Call, Operand
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
    """Return the counters of its backward: each gradient goes to the element that won.

    No FLOPs: where windows overlap, gradients that meet are added; how many do is in the data.
    Of the input only the shape is needed.
    """
    x = call.named("self")
    return Figures(bytes=call.moved - (x.bytes if x else 0))


def average(call: Call) -> Figures:
    """Return the counters of an average pooling: |kernel| - 1 additions, a division an output."""
    out, size = call.out.numel, window(call, _spatial(call))
    return Figures(flops=out * size, bytes=call.moved, acs=out * (size - 1))


def average_backward(call: Call) -> Figures:
    """Return the counters of its backward: a division a gradient, spread over its window.

    The gradients that meet at an element are added: out·|kernel| less the input's elements.
    """
    grad, x = call.ins[0], call.ins[1]
    return _spread(call, grad, x, grad.numel * window(call, _spatial(call)))


def _spread(call: Call, grad: Operand, x: Operand, elements: int) -> Figures:
    additions = max(elements - x.numel, 0)
    return Figures(grad.numel + additions, call.moved - x.bytes, acs=additions)


def covered(x: Operand, out: Operand, spatial: int) -> int:
    """Return the elements of all windows of an adaptive pooling of x to out.

    Output i of m takes elements floor(i·n/m) to ceil((i+1)·n/m) of n.
    """
    elements = prod(out.shape[: len(out.shape) - spatial])
    for n, m in zip(x.shape[-spatial:], out.shape[-spatial:], strict=True):
        elements *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return elements


def adaptive_maximum(call: Call) -> Figures:
    """Return the counters of an adaptive maximum pooling: a comparison less than elements."""
    elements = covered(call.ins[0], call.out, _spatial(call))
    return Figures(flops=elements - call.out.numel, bytes=call.moved)


def adaptive_average(call: Call) -> Figures:
    """Return the counters of an adaptive average pooling: additions and a division an output."""
    elements = covered(call.ins[0], call.out, _spatial(call))
    return Figures(flops=elements, bytes=call.moved, acs=elements - call.out.numel)


def adaptive_average_backward(call: Call) -> Figures:
    """Return the counters of its backward, as `average_backward`."""
    grad, x = call.ins[0], call.ins[1]
    return _spread(call, grad, x, covered(x, grad, _spatial(call)))


RULES: tuple[OpRule, ...] = (
    OpRule(
        "pooling",
        aten(
            "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
            "max_pool3d_with_indices mkldnn_max_pool2d mkldnn_max_pool3d quantized_max_pool1d "
            "quantized_max_pool2d quantized_max_pool3d fractional_max_pool2d fractional_max_pool3d"
        ),
        maximum,
    ),
    OpRule(
        "pooling backward",
        aten(
            "max_pool2d_with_indices_backward max_pool3d_with_indices_backward max_pool2d_backward "
            "mkldnn_max_pool2d_backward mkldnn_max_pool3d_backward adaptive_max_pool2d_backward "
            "adaptive_max_pool3d_backward fractional_max_pool2d_backward "
            "fractional_max_pool3d_backward"
        ),
        maximum_backward,
    ),
    OpRule("pooling", aten("avg_pool1d avg_pool2d avg_pool3d"), average),
    OpRule("pooling backward", aten("avg_pool2d_backward avg_pool3d_backward"), average_backward),
    OpRule("pooling", aten("adaptive_max_pool2d adaptive_max_pool3d"), adaptive_maximum),
    OpRule(
        "pooling",
        aten("_adaptive_avg_pool2d _adaptive_avg_pool3d mkldnn_adaptive_avg_pool2d"),
        adaptive_average,
    ),
    OpRule(
        "pooling backward",
        aten(
            "_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward "
            "mkldnn_adaptive_avg_pool2d_backward"
        ),
        adaptive_average_backward,
    ),
)

MAXIMA = (maximum, adaptive_maximum)
"""What counts poolings that hand on elements of their input."""
