"""Kernels on lists of tensors: `_foreach_*` as the single-tensor ops, `_fused_*` optimizers.

A fused optimizer counts what its plain form does element by element, so that the three forms of an
optimizer agree.
"""

from __future__ import annotations

from .call import Call
from .elementwise import costing, element_cost
from .functions import Cost
from .products import multiplications
from .reductions import norm_of
from .rule import Figures, OpRule, aten


def _elements(call: Call, name: str = "self") -> int:
    """Return the elements of a list; of the results where the first operand is a number."""
    listed = call.listed(name)
    return sum(o.numel for o in listed or call.outs.values())


def each_of_list(call: Call) -> Figures:
    """Return the counters of an element-wise function of lists."""
    base = call.base.removeprefix("_foreach_")
    listed = call.listed("self") or list(call.outs.values())
    of_complex = sum(o.numel for o in listed if o.is_complex)
    found = element_cost(call.of_elements(), base) * (_elements(call) - of_complex)
    if of_complex:
        found += element_cost(call, base) * of_complex
    return costing(call, found)


def list_norm(call: Call) -> Figures:
    """Return the counters of the norm of each tensor of a list."""
    order = call.arguments.get("ord", 2)
    found = Cost()
    for operand in call.listed("self"):
        found += norm_of(operand.numel, 1, order, is_complex=operand.is_complex)
    return costing(call, found)


def list_maximum(call: Call) -> Figures:
    """Return the counters of the maximum of each tensor of a list: elements - 1 comparisons."""
    flops = sum(max(o.numel - 1, 0) for o in call.listed("self"))
    return Figures(flops=flops, bytes=call.moved)


def list_copy(call: Call) -> Figures:
    """Return the bytes of copies, and of zeros, of lists."""
    return Figures(bytes=call.moved)


def list_product(call: Call) -> Figures:
    """Return the counters of products of two lists of matrices, pair by pair; spikes: unknown."""
    pairs = zip(call.listed("self"), call.listed("mat2"), strict=True)
    terms = sum(multiplications(call, x, w) for x, w in pairs)
    if all(operand.spikes is False for operand in call.ins.values()):
        return Figures(2 * terms, call.moved, 0, terms, 0)
    return Figures(2 * terms, call.moved, None, None, None)


def _fused(call: Call, cost: Cost, states: tuple[str, ...]) -> Figures:
    """Return the counters of a fused step: parameters and states written, gradients if unscaled."""
    n = _elements(call)
    unscaled = call.named("grad_scale") is not None
    cost = cost + Cost(1 if unscaled else 0) + Cost(1 if call.arg("maximize", False) else 0)
    written = ("self", *states, *(("grads",) if unscaled else ()))
    moved = call.read + sum(o.bytes for o in call.ins.values() if o.name in written)
    return Figures(cost.flops * n, moved, 0, cost.macs * n, cost.acs * n)


def _decay(call: Call) -> Cost:
    """Weight decay added to the gradient: g + decay·p."""
    return Cost() if call.is_number("weight_decay", 0, 0) else Cost(2, acs=1)


def adam(call: Call) -> Figures:
    """Adam and AdamW, 13 FLOPs a parameter.

    m + (1 - b1)·(g - m): 3; b2·v: 1; v + (1 - b2)·(g·g): 3; sqrt(v) / c + eps: 3;
    p - rate·(m / denominator): 3. AMSGrad 1 more; weight decay 2, AdamW's 1: p·(1 - lr·decay).
    """
    cost = Cost(13, macs=3, acs=2)
    states: tuple[str, ...] = ("exp_avgs", "exp_avg_sqs")
    if call.arg("amsgrad", False):
        cost, states = cost + Cost(1), (*states, "max_exp_avg_sqs")
    if call.base.rstrip("_") == "_fused_adamw":
        cost += Cost() if call.is_number("weight_decay", 0, 0) else Cost(1)
    else:
        cost += _decay(call)
    return _fused(call, cost, states)


def sgd(call: Call) -> Figures:
    """SGD: p - lr·g: 2; momentum·b: 1, + (1 - dampening)·g: 1 or 2; Nesterov g + momentum·b: 2.

    The first step copies the gradient to the momentum.
    """
    cost = Cost(2, acs=1) + _decay(call)
    momentum = not call.is_number("momentum", 0, 0)
    if momentum and not call.arg("is_first_step", False):
        cost += Cost(2 if call.is_number("dampening", 0, 0) else 3, acs=1)
    if momentum and call.arg("nesterov", False):
        cost += Cost(2, acs=1)
    return _fused(call, cost, ("momentum_buffer_list",) if momentum else ())


def adagrad(call: Call) -> Figures:
    """Adagrad: s + g·g: 2; sqrt(s) + eps: 2; p - rate·(g / root): 3."""
    return _fused(call, Cost(7, macs=2, acs=1) + _decay(call), ("state_sums",))


def unscale(call: Call) -> Figures:
    """Gradients times the inverse scale, and a test of each for being finite."""
    n = _elements(call)
    return Figures(flops=2 * n, bytes=call.moved)


def scale_update(call: Call) -> Figures:
    """A gradient scaler's update: a comparison, a multiplication, a count."""
    return Figures(flops=3, bytes=call.moved)


_FUNCTIONS = (
    "abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp "
    "expm1 floor frac lerp lgamma log log10 log1p log2 maximum minimum mul neg pow reciprocal "
    "round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc"
)


def _lists(names: str) -> tuple[str, ...]:
    """Return the `_foreach_` ops of functions, in place and not."""
    return aten(" ".join(f"_foreach_{name} _foreach_{name}_" for name in names.split()))


RULES: tuple[OpRule, ...] = (
    OpRule("foreach", _lists(_FUNCTIONS), each_of_list),
    OpRule("foreach", aten("_foreach_norm"), list_norm),
    OpRule("foreach", aten("_foreach_max"), list_maximum),
    OpRule(
        "foreach",
        aten("_foreach_copy_ _foreach_copy _foreach_clone _foreach_zero _foreach_zero_"),
        list_copy,
    ),
    OpRule("product", aten("_foreach_mm"), list_product),
    OpRule("optimizer", aten("_fused_adam _fused_adam_ _fused_adamw _fused_adamw_"), adam),
    OpRule("optimizer", aten("_fused_sgd _fused_sgd_"), sgd),
    OpRule("optimizer", aten("_fused_adagrad _fused_adagrad_"), adagrad),
    OpRule(
        "optimizer",
        aten(
            "_amp_foreach_non_finite_check_and_unscale_ _amp_foreach_non_finite_check_and_unscale"
        ),
        unscale,
    ),
    OpRule("optimizer", aten("_amp_update_scale _amp_update_scale_"), scale_update),
)
