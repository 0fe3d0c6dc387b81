"""Batch norm in all its forms, n elements in c channels.

The terms are those of

    mean = sum(x) / size;  var = sum(x·x) / size - mean·mean;  (x - mean)·rsqrt(var + eps)·w + b

Layer, group and RMS norm are in `layer_norms`.
"""

from __future__ import annotations

from .call import Call, Operand
from .rule import Figures, OpRule, aten


def batch_norm(call: Call) -> Figures:
    """Return the counters of a batch norm's forward pass, n elements in c channels.

    Training: the mean (n), the variance (2n + 2c), its inverse root (2c), the normalisation (2n),
    affine (2n), the running statistics (6c). Evaluation: 2c + 2n, affine 2n.
    """
    x = call.ins[0]
    n, c = x.numel, x.dim(1)
    affine = call.has(1)
    running = call.named("running_mean") is not None
    if trains(call):
        flops = n + 2 * n + 2 * c + 2 * c + 2 * n + (6 * c if running else 0)
        acs = (n - c) + n + c + n + (2 * c if running else 0)
        macs = (n if affine else 0) + (2 * c if running else 0)
    else:
        flops, acs, macs = 2 * c + 2 * n, c + n, n if affine else 0
    flops += 2 * n if affine else 0
    return Figures(flops=flops, bytes=norm_bytes(call), macs=macs, acs=acs)


def trains(call: Call) -> bool:
    """Tell whether a batch norm takes the batch's statistics."""
    for name in ("training", "train", "update", "use_input_stats"):
        if name in call.arguments:
            return bool(call.arguments[name])
    return not any(word in call.base for word in ("no_training", "no_update", "quantized"))


def norm_bytes(call: Call) -> int:
    """Return the bytes: operands and results; the saved statistics in training alone."""
    written = call.written if trains(call) else call.out.bytes
    return call.read + written


def batch_norm_backward(call: Call) -> Figures:
    """Return the counters of a batch norm's backward pass.

    MACs: the weight's gradient sums products. ACs: the deviations, the bias' gradient, and the two
    subtractions in the input's gradient.
    """
    n, c = _normalised(call).numel, _normalised(call).dim(1)
    grad_input, grad_weight, grad_bias = wanted(call)
    if trains(call) and grad_input:
        macs, acs = n, n + (n - c) + 2 * n
    else:
        macs = n if grad_weight else 0
        acs = (n if grad_weight else 0) + (n - c if grad_bias else 0)
    return Figures(backward_flops(call), backward_bytes(call), macs=macs, acs=acs)


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


def backward_bytes(call: Call) -> int:
    """Return its bytes: what each wanted gradient reads, and the gradients.

    Statistics are the saved ones in training, the running ones in evaluation.
    """
    grad_input, grad_weight, grad_bias = wanted(call)
    training = trains(call)
    grad = call.named("grad_out") or call.named("grad_output")
    read = [grad] if grad_input or grad_weight or grad_bias else []
    names: set[str] = set()
    if grad_weight or (grad_input and training):
        names |= {"input", "mean", "var"}
    if grad_input:
        names |= {"weight", "var"}
    known = {
        "input": call.named("input"),
        "weight": call.named("weight"),
        "mean": call.named("save_mean" if training else "running_mean"),
        "var": (call.named("save_invstd") or call.named("save_var"))
        if training
        else call.named("running_var"),
    }
    read += [known[name] for name in sorted(names)]
    return sum(o.bytes for o in read if o) + call.written


def _normalised(call: Call) -> Operand:
    return call.named("input") or call.ins[1]


def wanted(call: Call) -> tuple[bool, bool, bool]:
    """Return which gradients are computed: of the input, the weight, the bias."""
    mask = call.arg("output_mask")
    if mask is None:
        return True, call.named("weight") is not None, call.named("weight") is not None
    grad_input, grad_weight, grad_bias = (bool(each) for each in [*mask, False][:3])
    return grad_input, grad_weight, grad_bias


def synchronised(call: Call) -> Figures:
    """Return the counters of a part of batch norm over several ranks.

    Statistics: 3n + 4c. Their union over ranks: 6 for each rank and channel. Normalisation: 2n, 2n
    affine. Sums of the backward pass: (n - c) + (3n - c) + c. Its last part: 5n + 2c.
    """
    x = call.named("input") or call.ins[0]
    n, c = x.numel, x.dim(1)
    base = call.base
    if base in ("batch_norm_stats", "batch_norm_update_stats"):
        flops, macs, acs = 3 * n + 4 * c, 0, (n - c) + n + c
    elif base.startswith("batch_norm_gather_stats"):
        over = call.ins[1].numel
        flops, macs, acs = 6 * over, 2 * over, over
    elif base == "batch_norm_elemt":
        affine = n if call.named("weight") is not None else 0
        flops, macs, acs = 2 * n + 2 * affine, affine, n
    elif base == "batch_norm_backward_reduce":
        flops, macs, acs = (n - c) + (3 * n - c) + c, n, (n - c) + n
    else:
        flops, macs, acs = 5 * n + 2 * c, 0, 2 * n
    return Figures(flops, call.moved, macs=macs, acs=acs)


RULES: tuple[OpRule, ...] = (
    OpRule(
        "batch norm",
        aten(
            "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training _native_batch_norm_legit_functional "
            "_batch_norm_with_update _batch_norm_with_update_functional _batch_norm_no_update "
            "quantized_batch_norm"
        ),
        batch_norm,
    ),
    OpRule(
        "batch norm backward",
        aten(
            "native_batch_norm_backward cudnn_batch_norm_backward miopen_batch_norm_backward "
            "batch_norm_backward"
        ),
        batch_norm_backward,
    ),
    OpRule(
        "batch norm",
        aten(
            "batch_norm_stats batch_norm_update_stats batch_norm_gather_stats "
            "batch_norm_gather_stats_with_counts batch_norm_elemt batch_norm_backward_reduce "
            "batch_norm_backward_elemt"
        ),
        synchronised,
    ),
)
