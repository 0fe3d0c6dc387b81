"""Element-wise arithmetic: additions, multiplications, comparisons, functions.

A FLOP is one operation on one element. What a function costs is declared in `functions.COSTS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .call import Call, Operand
from .functions import COSTS, Cost, cost_of, priced, product_cost, sum_cost
from .rule import Figure, Figures, OpRule, aten

_POWERS = {
    0.0: Cost(), 1.0: Cost(), 2.0: Cost(1), 3.0: Cost(2), -1.0: Cost(1), -2.0: Cost(2),
    0.5: Cost(1), -0.5: Cost(1),
}  # fmt: skip
"""Exponents that PyTorch computes by multiplying, dividing and taking roots."""

_COMPLEX_POWERS = {
    2.0: "x * x", 3.0: "x * x * x", -1.0: "reciprocal(x)", -2.0: "reciprocal(x * x)",
    0.5: "sqrt(x)", -0.5: "rsqrt(x)",
}  # fmt: skip
"""The same of complex numbers, as formulas."""

_LETTERS = {
    "self": "x", "other": "y", "exponent": "y", "end": "y", "tensor1": "y", "tensor2": "z",
    "grad_output": "g", "grad": "g", "output": "s", "result": "s", "value": "value",
    "weight": "weight", "tensors1": "y", "tensors2": "z",
}  # fmt: skip
"""Name of an argument -> what it is called in the formulas of `COSTS`."""


def addition(call: Call) -> Figures:
    """Return the counters of add, sub and rsub, with scalars and in place too.

    FLOPs: one for each element of the result, and one for each of the operand that alpha scales
    (the second; rsub's is the first); complex elements have two parts each.
    ACs: one for each element, or part; of two tensors of spikes, one for each of their spikes; null
    where neither was measured. (What an optimizer adds is not measured, and no spikes: see
    `collapsed`.)
    """
    found = sum_of(call, call.ins.get(0), call.ins.get(1))
    if call.base == "rsub" and not call.is_number("alpha", 1, 1):
        scaled = product_cost(call.is_complex("self"), call.is_complex("alpha"))
        return found._replace(flops=_sum_of_one(call).flops * call.out.numel
                              + scaled.flops * call.ins[0].numel)  # fmt: skip
    return found


def _sum_of_one(call: Call) -> Cost:
    """Return the cost of adding one element of the operands, or of subtracting it."""
    first, second = call.is_complex("self"), call.is_complex("other")
    if call.base == "rsub":
        first, second = second, first
    return sum_cost(first, second, subtracts="sub" in call.base)


def sum_of(call: Call, first: Operand | None, second: Operand | None) -> Figures:
    """Return the counters of an addition of two operands; a number is None."""
    each = _sum_of_one(call)
    flops = each.flops * call.out.numel
    if not call.is_number("alpha", 1, 1):
        scaled = product_cost(call.is_complex("other"), call.is_complex("alpha")).flops
        flops += scaled * (call.ins[1].numel if call.has(1) else 1)
    acs: Figure = each.acs * call.out.numel
    if first is not None and second is not None and False not in (first.spikes, second.spikes):
        if first.spikes and second.spikes:
            assert first.nonzero is not None and second.nonzero is not None
            acs = first.nonzero + second.nonzero
        else:
            acs = None  # not measured: both may be spikes
    return Figures(flops=flops, bytes=call.moved, acs=acs)


def each(call: Call, *, flops: int = 1, acs: int = 0) -> Figures:
    """Return so many FLOPs and ACs for each element of the result."""
    n = call.out.numel
    return Figures(flops=flops * n, bytes=call.moved, acs=acs * n)


def costing(call: Call, cost: Cost) -> Figures:
    """Return a cost as counters, with all bytes that are read and written."""
    return Figures(cost.flops, call.moved, 0, cost.macs, cost.acs)


def function(call: Call) -> Figures:
    """Return the counters of a function of `COSTS`, its arguments considered."""
    return costing(call, element_cost(call, call.base) * call.out.numel)


def element_cost(call: Call, base: str) -> Cost:
    """Return what a function costs on one element.

    Args:
        call: the call, for the arguments that decide: value, exponent, approximate, rounding_mode,
            and which limits there are.
        base: name of the op, in place or not.
    """
    name = base.rstrip("_")
    of_complex = complex_names(call)
    if name in ("add", "sub", "rsub"):
        summed = sum_cost("x" in of_complex, "y" in of_complex)
        if call.is_number("alpha", 1, 1):
            return summed
        return summed + product_cost("y" in of_complex, call.is_complex("alpha"))
    if name in ("addcmul", "addcdiv") and _unscaled(call):
        return priced("x + y * z" if name == "addcmul" else "x + y / z", of_complex)
    if name in ("pow", "float_power"):
        return _power(call.arguments.get("exponent"), name, of_complex)
    if name in ("gelu", "gelu_backward") and call.arg("approximate", "none") == "tanh":
        return cost_of(name.replace("gelu", "gelu_tanh"))
    if name == "div" and call.arg("rounding_mode") is not None:
        return cost_of("floor_divide")
    if name in ("clamp", "clip"):
        limits = (_given(call, "min"), _given(call, "max"))
        return Cost(sum(limits))
    return cost_of(name, of_complex)


def complex_names(call: Call) -> frozenset[str]:
    """Return which operands and numbers of a function are complex, as its formula calls them."""
    if not call.has_complex:
        return frozenset()
    return frozenset(letter for name, letter in _LETTERS.items() if call.is_complex(name))


def _given(call: Call, name: str) -> bool:
    return call.arguments.get(name) is not None or call.named(name) is not None


def _unscaled(call: Call) -> bool:
    name = "scalars" if "scalars" in call.arguments else "value"
    return call.is_number(name, 1, 1) and call.named("scalars") is None


def _power(exponent: Any, name: str, of_complex: frozenset[str]) -> Cost:
    """Return the cost of x to an exponent; of several, of the dearest."""
    exponents = exponent if isinstance(exponent, list) and exponent else [exponent]
    general = cost_of(name, of_complex)
    costs = []
    for each in exponents:
        found = _POWERS.get(float(each)) if _number(each) else None
        if found is not None and "x" in of_complex:
            formula = _COMPLEX_POWERS.get(float(each))
            found = priced(formula, of_complex) if formula else Cost()
        costs.append(general if found is None else found)
    return max(costs, key=lambda cost: cost.flops)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def dropout(call: Call) -> Figures:
    """Native dropout: x·mask·scale in training, a copy else; drawing the mask is no FLOP."""
    drops = call.arg("train", True) and not call.is_number("p", 0, 0.5)
    return costing(call, cost_of("native_dropout") * call.out.numbers if drops else Cost())


def parametric_backward(call: Call) -> Figures:
    """The gradients of a PReLU: of its input and its weights, element by element."""
    return costing(call, cost_of("_prelu_kernel_backward") * call.ins[0].numel)


def gated_backward(call: Call) -> Figures:
    """The gradient of a gated linear unit, element by element of what comes in."""
    return costing(call, cost_of("glu_backward") * call.ins[0].numel)


_INPLACE = frozenset(
    "mul div floor_divide remainder fmod neg abs sign sgn reciprocal lerp addcmul addcdiv hypot "
    "copysign heaviside sqrt rsqrt pow exp exp2 expm1 log log2 log10 log1p xlogy erf erfc lgamma "
    "sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh floor ceil round trunc frac "
    "eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or "
    "bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift nan_to_num clamp_min clamp_max "
    "relu threshold hardtanh sigmoid logit silu mish elu celu gelu leaky_relu rrelu_with_noise "
    "hardsigmoid hardswish".split()
)
"""Functions that PyTorch has in place too."""

_APART = frozenset(
    "gelu_tanh gelu_tanh_backward true_divide square float_power native_dropout "
    "_prelu_kernel_backward glu_backward fake_quantize quantize dequantize choose_qparams "
    "fake_quantize_backward fake_quantize_per_tensor_affine_cachemask_backward "
    "fake_quantize_per_channel_affine_cachemask_backward".split()
)
"""Rows of `COSTS` that are no ops, or have a rule of their own."""

_COMPARISONS = frozenset("eq ne lt le gt ge isnan isinf isposinf isneginf".split())

_ARITHMETIC = frozenset(
    "mul div floor_divide remainder fmod neg signbit logical_and logical_or logical_xor "
    "logical_not bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift "
    "bitwise_right_shift maximum minimum fmax fmin clamp_min clamp_max".split()
)

_SHIFTS = ("__lshift__", "__rshift__", "__ilshift__", "__irshift__")


def _named(names: Iterable[str]) -> tuple[str, ...]:
    listed = [name for name in names if name not in _APART]
    return tuple(f"aten.{n}" for n in listed) + tuple(f"aten.{n}_" for n in listed if n in _INPLACE)


RULES: tuple[OpRule, ...] = (
    OpRule("addition", aten("add add_ sub sub_ rsub"), addition),
    OpRule(
        "arithmetic",
        (*_named(n for n in COSTS if n in _ARITHMETIC), *aten("clamp clamp_")),
        function,
    ),
    OpRule("arithmetic", aten(" ".join(_SHIFTS)), each),
    OpRule("comparison", _named(n for n in COSTS if n in _COMPARISONS), function),
    OpRule("function", _named(n for n in COSTS if n not in _ARITHMETIC | _COMPARISONS), function),
    OpRule("function", aten("native_dropout"), dropout),
    OpRule("function", aten("_prelu_kernel_backward"), parametric_backward),
    OpRule("function", aten("glu_backward"), gated_backward),
)
