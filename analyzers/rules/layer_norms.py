"""Layer, group, RMS and weight norm, from the arithmetic of their definitions.

As batch norm, with r statistics of n elements in all: the rows of a layer norm, the groups of each
sample of a group norm.
"""

from __future__ import annotations

from functools import partial
from math import prod

from .call import Call, Operand
from .normalisation import wanted
from .rule import Figures, OpRule, aten


def _statistics(call: Call) -> int:
    """Return how many statistics a layer, group or RMS norm takes: rows, or groups of samples."""
    x = call.named("input") or call.ins[0]
    if "group_norm" in call.base:
        return int(call.arg("N", x.dim(0))) * int(call.arg("group", 1))
    size = prod(call.arg("normalized_shape", [1]))
    return x.numel // size if size else 0


def norm(call: Call, *, centred: bool = True) -> Figures:
    """Return the counters of a layer or group norm's forward pass, or an RMS norm's.

    Args:
        call: the call.
        centred: the mean is taken off; RMS norm does not.
    """
    n, r = call.ins[0].numel, _statistics(call)
    weight, bias = call.named("weight") is not None, call.named("bias") is not None
    flops, acs = 2 * n + 2 * r + n, n + r  # squares, inverse root, scaling
    if centred:
        flops, acs = flops + n + 2 * r + n, acs + (n - r) + n  # mean, its square, deviations
    flops += (n if weight else 0) + (n if bias else 0)
    macs = n if weight and bias else 0
    return Figures(flops, call.moved, macs=macs, acs=acs + (n if bias and not weight else 0))


def norm_backward(call: Call, *, centred: bool = True) -> Figures:
    """Return the counters of a layer or group norm's backward pass, or an RMS norm's.

    Input: the normalised input 2n (1n), weighted gradients n, their sum n - r, the sum of their
    products 2n - r, and each element's share 4n + 2r (3n + r). Weight of m elements: 2n - m (and
    the normalised input, if it is not there). Bias: n - m.
    """
    x = call.named("input") or call.ins[1]
    n, r = x.numel, _statistics(call)
    weight = call.named("weight")
    grad_input, grad_weight, grad_bias = wanted(call)
    m = _parameters(call, weight)
    flops = macs = acs = 0
    if grad_input or grad_weight:
        flops, acs = (2 * n, n) if centred else (n, 0)
    if grad_input:
        flops += (n if weight else 0) + (2 * n - r)
        flops += (n - r) + 4 * n + 2 * r if centred else 3 * n + r
        macs, acs = n, acs + ((n - r) + 2 * n if centred else n)
    if grad_weight:
        flops, macs = flops + 2 * n - m, macs + n
    if grad_bias:
        flops, acs = flops + n - m, acs + n - m
    return Figures(flops, call.moved, macs=macs, acs=acs)


def _parameters(call: Call, weight: Operand | None) -> int:
    if weight is not None:
        return weight.numel
    if "group_norm" in call.base:
        return int(call.arg("C", 1))
    return prod(call.arg("normalized_shape", [1]))


def weight_norm(call: Call) -> Figures:
    """V·g/|v| row by row: the norms 2n, a division each, a multiplication each element."""
    n, rows = call.ins[0].numel, call.ins[1].numel
    return Figures(2 * n + rows + n, call.moved, macs=n)


def weight_norm_backward(call: Call) -> Figures:
    """Its gradients: sum(grad·v) 2n - r, 3r for g's, and (grad - v·sum/|v|²)·g/|v|: 3n + 3r."""
    n, rows = call.ins[0].numel, call.ins[2].numel
    return Figures((2 * n - rows) + 3 * rows + 3 * n + 3 * rows, call.moved, macs=2 * n)


_RMS = partial(norm, centred=False)
_RMS_BACK = partial(norm_backward, centred=False)

RULES: tuple[OpRule, ...] = (
    OpRule("norm", aten("native_layer_norm native_group_norm"), norm),
    OpRule(
        "norm backward",
        aten("native_layer_norm_backward native_group_norm_backward"),
        norm_backward,
    ),
    OpRule("norm", aten("_fused_rms_norm"), _RMS),
    OpRule("norm backward", aten("_fused_rms_norm_backward"), _RMS_BACK),
    OpRule("norm", aten("_weight_norm_interface"), weight_norm),
    OpRule("norm backward", aten("_weight_norm_interface_backward"), weight_norm_backward),
)
