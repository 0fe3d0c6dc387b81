"""FLOPs as `torch.utils.flop_counter.FlopCounterMode` counts them: products and nothing else.

Products of matrices, convolutions and fused attention, 2 FLOPs a multiplication; no bias, no
alpha, nothing element-wise. Two things FlopCounterMode gets wrong are counted right: the weight
gradient of a grouped convolution (it loses `groups`), and fused attention on the CPU (it has no
formula for it).
"""

from __future__ import annotations

from . import attention, convolutions, products
from .call import Call

_FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_scaled_mm": 0}
"""Op -> slot of the first factor."""

_CONVOLUTIONS = frozenset(
    "convolution _convolution cudnn_convolution _slow_conv2d_forward convolution_overrideable "
    "mkldnn_convolution".split()
)
_ATTENTION = frozenset(
    "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
    "_scaled_dot_product_cudnn_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_fused_attention_overrideable flex_attention "
    "_flash_attention _efficient_attention".split()
)


def flops(call: Call) -> int | None:
    """Return the FLOPs that FlopCounterMode counts for a call; 0 for ops that it has not.

    None for sequences packed one after another: their lengths are in the data.
    """
    base = call.base
    if base in _FACTORS:
        first = _FACTORS[base]
        return 2 * products.multiplications(call, call.ins[first], call.ins[first + 1])
    if base in _CONVOLUTIONS:
        return convolution_flops(call)
    if base == "convolution_backward":
        grad, x, w = call.ins[0], call.ins[1], call.ins[2]
        transposed = bool(call.arg("transposed", False))
        terms = convolutions.multiplications(x, w, grad, transposed)
        grad_input, grad_weight, _ = convolutions.wanted(call)
        return 2 * terms * (grad_input + grad_weight)
    if base.removesuffix("_forward").removesuffix("_backward") in _ATTENTION:
        return attention_flops(call)
    return 0


def convolution_flops(call: Call) -> int:
    """Return 2 FLOPs for each multiplication of a convolution."""
    x, w = call.ins[0], call.ins[1]
    transposed = bool(call.arg("transposed", False))
    return 2 * convolutions.multiplications(x, w, call.out, transposed)


def attention_flops(call: Call) -> int | None:
    """Return 2·b·h·q·k·(d_q + d_v), backward 2·b·h·q·k·(3·d_q + 2·d_v); masks count as dense."""
    sizes = attention.sizes_of(call, *attention.factors_of(call))
    if sizes is None:
        return None
    times = (3, 2) if call.base.endswith("_backward") else (1, 1)
    return 2 * sizes.scores * (times[0] * sizes.d_q + times[1] * sizes.d_v)
