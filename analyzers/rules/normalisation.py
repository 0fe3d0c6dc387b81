"""Normalisation: batch norm in all its forms, and what follows from the others' definitions."""

from __future__ import annotations

from .call import Call, Operand
from .rule import Figures, OpRule, aten


def batch_norm(call: Call) -> Figures:
    """Return the counters of a batch norm's forward pass, n elements in c channels.

    Training: the mean (n), the variance (2n), the statistics' inverse (2c + 2c), the
    normalisation (2n), affine (2n), the running statistics (6c). Evaluation: 2c + 2n, affine 2n.
    """
    x = call.ins[0]
    n, c = x.numel, x.dim(1)
    affine = call.has(1)
    running = call.named("running_mean") is not None
    training = trains(call)
    if training:
        flops = n + 2 * n + 2 * c + 2 * c + 2 * n + (6 * c if running else 0)
        acs = (n - c) + n + c + n + (2 * c if running else 0)
        macs = (n if affine else 0) + (2 * c if running else 0)
    else:
        flops, acs, macs = 2 * c + 2 * n, c + n, n if affine else 0
    flops += 2 * n if affine else 0
    return Figures(flops=flops, bytes=norm_bytes(call), macs=macs, acs=acs)


def trains(call: Call) -> bool:
    """Tell whether a batch norm takes the batch's statistics."""
    for name in ("training", "train", "use_input_stats"):
        if name in call.arguments:
            return bool(call.arguments[name])
    return "no_training" not in call.base and "no_stats" not in call.op


def norm_bytes(call: Call) -> int:
    """Return the bytes: operands and results; the saved statistics in training alone."""
    written = call.written if trains(call) else call.out.bytes
    return call.read + written


def batch_norm_backward(call: Call) -> Figures:
    """Return the counters of a batch norm's backward pass."""
    return Figures(flops=backward_flops(call), bytes=call.moved)


def backward_flops(call: Call) -> int:
    """Return its FLOPs.

    Training, with the input's gradient: 2n + (n - c) + (2n - c) + (5n + 2c), affine gradients
    included; without: weight 2n + (2n - c), bias n - c. Evaluation: input 2n, weight
    2n + (2n - c), bias n - c.
    """
    x = _normalised(call)
    n, c = x.numel, x.dim(1)
    grad_input, grad_weight, grad_bias = wanted(call)
    training = trains(call)
    if training and grad_input:
        return 2 * n + (n - c) + (2 * n - c) + (5 * n + 2 * c)
    flops = 2 * n if grad_input else 0
    flops += 2 * n + (2 * n - c) if grad_weight else 0
    return flops + (n - c if grad_bias else 0)


def _normalised(call: Call) -> Operand:
    return call.named("input") or call.ins[1]


def wanted(call: Call) -> tuple[bool, bool, bool]:
    """Return which gradients are computed: of the input, the weight, the bias."""
    mask = call.arg("output_mask")
    if mask is None:
        return True, call.named("weight") is not None, call.named("weight") is not None
    grad_input, grad_weight, grad_bias = (bool(each) for each in mask)
    return grad_input, grad_weight, grad_bias


RULES: tuple[OpRule, ...] = (
    OpRule(
        "batch norm",
        aten(
            "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training _native_batch_norm_legit_functional "
            "_batch_norm_with_update _batch_norm_with_update_functional _batch_norm_no_update"
        ),
        batch_norm,
    ),
    OpRule(
        "batch norm",
        aten(
            "native_batch_norm_backward cudnn_batch_norm_backward miopen_batch_norm_backward "
            "batch_norm_backward"
        ),
        batch_norm_backward,
    ),
)
