"""Quantization, real and simulated: x / scale, rounded, shifted, limited, and back.

Fake quantization does both in one op. A mask of what was limited, which training keeps, is what the
two comparisons of the limits found: no FLOP more. What is switched on by a tensor, as an observer
is, counts as if it were on.
"""

from __future__ import annotations

from .call import Call
from .elementwise import costing, function
from .functions import Cost, cost_of
from .rule import Figures, OpRule, aten


def simulated(call: Call) -> Figures:
    """Return the counters of fake quantization: seven FLOPs, two ACs for each element."""
    return costing(call, cost_of("fake_quantize") * call.ins[0].numel)


def quantized(call: Call) -> Figures:
    """Return the counters of a quantization, of several tensors too: 5 FLOPs, 1 AC each."""
    return costing(call, cost_of("quantize") * _elements(call))


def dequantized(call: Call) -> Figures:
    """Return the counters of the way back, of several tensors too: 2 FLOPs, 1 AC each."""
    return costing(call, cost_of("dequantize") * _elements(call))


def measured(call: Call) -> Figures:
    """Return the counters of a quantization at a scale that the op finds.

    Of n elements: 2·(n - 1) comparisons for the smallest and the largest, and one scale.
    """
    return costing(call, measured_cost(call.ins[0].numel))


def measured_cost(n: int) -> Cost:
    """Return the cost of quantizing n elements at a scale that is found first."""
    found = Cost(2 * max(n - 1, 0)) + cost_of("choose_qparams")
    return found + cost_of("quantize") * n


def observed(call: Call) -> Figures:
    """Return the counters of an observer and fake quantization in one op.

    Of n elements with s scales: 2·(n - s) comparisons for the smallest and the largest, s moving
    averages of both, s scales and zero points, and the fake quantization.
    """
    n, scales = call.ins[0].numel, max(_numel(call, "scale"), 1)
    each = cost_of("lerp") * 2 + cost_of("choose_qparams")
    found = Cost(2 * max(n - scales, 0)) + each * scales
    return costing(call, found + cost_of("fake_quantize") * n)


def learned_backward(call: Call) -> Figures:
    """Return the counters of the gradients of input, scale and zero point.

    Of n elements with s scales: a formula for each element, and 2·(n - s) additions for the two
    sums.
    """
    n, scales = call.ins[1].numel, max(_numel(call, "scale"), 1)
    sums = 2 * max(n - scales, 0)
    return costing(call, cost_of("fake_quantize_backward") * n + Cost(sums, acs=sums))


def _elements(call: Call) -> int:
    """Return the elements of all results."""
    return sum(o.numel for o in call.outs.values()) if call.outs else call.out.numel


def _numel(call: Call, name: str) -> int:
    found = call.named(name)
    return found.numel if found else 0


def _exported(name: str) -> tuple[str, ...]:
    """Return the ops that exported quantized models have in place of PyTorch's own."""
    return tuple(f"quantized_decomposed.{name}_per_{what}" for what in ("tensor", "channel"))


RULES: tuple[OpRule, ...] = (
    OpRule(
        "quantization",
        aten(
            "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine "
            "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask "
            "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
            "_fake_quantize_learnable_per_tensor_affine _fake_quantize_learnable_per_channel_affine"
        ),
        simulated,
    ),
    OpRule(
        "quantization",
        aten(
            "fake_quantize_per_tensor_affine_cachemask_backward "
            "fake_quantize_per_channel_affine_cachemask_backward"
        ),
        function,
    ),
    OpRule(
        "quantization",
        aten(
            "_fake_quantize_learnable_per_tensor_affine_backward "
            "_fake_quantize_learnable_per_channel_affine_backward"
        ),
        learned_backward,
    ),
    OpRule(
        "quantization",
        aten(
            "fused_moving_avg_obs_fake_quant _fused_moving_avg_obs_fq_helper "
            "_fused_moving_avg_obs_fq_helper_functional"
        ),
        observed,
    ),
    OpRule(
        "quantization",
        (*aten("quantize_per_tensor quantize_per_channel"), *_exported("quantize")),
        quantized,
    ),
    OpRule("quantization", aten("quantize_per_tensor_dynamic"), measured),
    OpRule("quantization", (*aten("dequantize"), *_exported("dequantize")), dequantized),
)
