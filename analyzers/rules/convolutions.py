"""Convolutions and their backward passes, in any number of dimensions, transposed or not.

A convolution multiplies b·c_out·(c_in/groups)·|kernel|·|positions| times; positions are the
output's, of a transposed one the input's. A spike input costs its fan-out at the true geometry.
"""

from __future__ import annotations

from math import prod

from .amount import of
from .call import Call, Operand
from .rule import Figure, Figures, OpRule, added, aten


def multiplications(x: Operand, w: Operand, out: Operand, transposed: bool) -> int:
    """Return the multiplications of the forward pass; w is (c_out, c_in/groups, *kernel).

    A transposed convolution's weight is (c_in, c_out/groups, *kernel): each element of the input
    meets all of its channel's.
    """
    over, channels = (x, w.dim(0)) if transposed else (out, w.dim(0))
    pairs = over.dim(0) * channels * prod(w.shape[1:]) * prod(over.shape[2:])
    return pairs * x.parts * w.parts


def _positions(x: Operand, out: Operand, transposed: bool) -> int:
    over = x if transposed else out
    return over.dim(0) * prod(over.shape[2:])


def _with_batch(operand: Operand, w: Operand) -> Operand:
    """Return an operand with a batch of one where it has none."""
    if len(operand.shape) == len(w.shape) - 1:
        return operand._replace(shape=(1, *operand.shape))
    return operand


def convolution(call: Call, *, pairwise: bool = False, biased: bool = True) -> Figures:
    """Return the counters of a convolution of slots 0 (input), 1 (weights) and 2 (bias).

    Args:
        call: the call.
        pairwise: count the additions inside a sum of k terms as k - 1.
        biased: count the additions of the bias.
    """
    w = call.ins[1]
    x, out = _with_batch(call.ins[0], w), _with_batch(call.out, w)
    transposed = bool(call.arg("transposed", "transpose" in call.base))
    terms = multiplications(x, w, out, transposed)
    flops = 2 * terms + (out.numbers if biased and call.named("bias") else 0)
    if pairwise:
        flops -= out.numel
    macs, acs = _driven(x, w, terms, _positions(x, out, transposed))
    return Figures(flops, call.moved, acs, macs, acs)


def activated(call: Call) -> Figures:
    """A convolution, alpha·z added to it if there is one, and ReLU."""
    found, out = convolution(call), call.out.numel
    summed = 0
    if call.named("z") is not None:
        summed = out * (1 if call.arg("alpha", 1) == 1 else 2)
    acs = added(found.acs, out if summed else 0)
    return Figures(added(found.flops, summed + out), call.moved, found.synops, found.macs, acs)


def time_batch_channel(call: Call) -> Figures:
    """A convolution of (time, batch, channels) with weights (kernel, c_in, c_out), and its bias."""
    x, w = call.ins[0], call.ins[1]
    terms = call.out.numel * w.dim(0) * w.dim(1) * x.parts * w.parts
    macs: Figure = terms if x.spikes is False and w.spikes is False else None
    acs: Figure = None if macs is None else 0
    return Figures(2 * terms + call.out.numbers, call.moved, acs, macs, acs)


def _driven(x: Operand, w: Operand, terms: int, positions: int) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of a convolution of x with w."""
    if x.spikes is None or w.spikes is None:
        return None, None
    if x.spikes and w.spikes:
        return 0, of("overlap")
    if x.spikes:
        return 0, of("x_fanout")
    if w.spikes:
        assert w.nonzero is not None
        return 0, w.nonzero * positions
    return terms, 0


def wanted(call: Call) -> tuple[bool, bool, bool]:
    """Return which gradients a backward pass computes: of the input, the weights, the bias."""
    found = call.arg("output_mask", [True, True, call.has(2)])
    grad_input, grad_weight, grad_bias = (bool(each) for each in found)
    return grad_input, grad_weight, grad_bias


def backward(call: Call) -> Figures:
    """Return the counters of convolution_backward: gradient, input, weights.

    Each gradient of a factor takes the forward's multiplications, groups respected: (output
    gradient, input gradient) pairs are the forward's pairs, turned round.
    """
    grad, x, w = call.ins[0], call.ins[1], call.ins[2]
    grad, x = _with_batch(grad, w), _with_batch(x, w)
    transposed = bool(call.arg("transposed", False))
    terms = multiplications(x, w, grad, transposed)
    positions = _positions(x, grad, transposed)
    grad_input, grad_weight, grad_bias = wanted(call)
    each = [
        _gradient(first, second, pairs, terms, positions)
        for asked, first, second, pairs in (
            (grad_input, grad, w, "grad_fanout"),
            (grad_weight, x, grad, "x_fanout"),
        )
        if asked
    ]
    macs, synops = added(*(dense for dense, _ in each)), added(*(driven for _, driven in each))
    summed = (grad.numel - grad.dim(1)) * grad.parts if grad_bias else 0
    flops = 2 * terms * (grad_input + grad_weight) + summed
    return Figures(flops, backward_bytes(call), synops, macs, added(synops, summed))


def _gradient(
    first: Operand, second: Operand, pairs: str, terms: int, positions: int
) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations) of a gradient; `pairs` are those of the first factor."""
    if first.spikes is None or second.spikes is None:
        return None, None
    if first.spikes and second.spikes:
        return 0, None  # how many of both meet was not recorded
    if first.spikes:
        return 0, of(pairs)
    if second.spikes:
        # As for weights in the forward pass; the output's gradient meets c_in/groups·|kernel|.
        if pairs == "x_fanout":
            return 0, of("grad_fanout")
        assert second.nonzero is not None
        return 0, second.nonzero * positions
    return terms, 0


def backward_bytes(call: Call) -> int:
    """Return the bytes of convolution_backward: what each wanted gradient reads and writes."""
    grad, x, w = call.ins[0], call.ins[1], call.ins[2]
    grad_input, grad_weight, grad_bias = wanted(call)
    moved = grad.bytes
    if grad_input:
        moved += w.bytes + x.bytes
    if grad_weight:
        moved += x.bytes + w.bytes
    if grad_bias:
        moved += grad.dim(1) * (grad.bytes // grad.numel if grad.numel else 0)
    return moved


RULES = (
    OpRule(
        "convolution",
        aten(
            "convolution _convolution convolution_overrideable mkldnn_convolution "
            "cudnn_convolution miopen_convolution miopen_depthwise_convolution "
            "cudnn_convolution_transpose miopen_convolution_transpose _slow_conv2d_forward "
            "slow_conv3d_forward _conv_depthwise2d conv_depthwise3d slow_conv_transpose2d "
            "slow_conv_transpose3d slow_conv_dilated2d slow_conv_dilated3d "
            "_nnpack_spatial_convolution"
        ),
        convolution,
        factors=(0, 1),
    ),
    OpRule(
        "convolution",
        aten(
            "cudnn_convolution_relu cudnn_convolution_add_relu miopen_convolution_relu "
            "miopen_convolution_add_relu"
        ),
        activated,
        factors=(0, 1),
    ),
    OpRule("convolution", aten("conv_tbc"), time_batch_channel, factors=(0, 1)),
    OpRule(
        "convolution backward",
        aten("convolution_backward convolution_backward_overrideable _slow_conv2d_backward"),
        backward,
    ),
)
