"""What a function of one element costs: one table, and how a formula is priced.

A function that the C math library has (exp, log, sqrt, erf, tanh, ...) is one FLOP, as hardware
has units for it; any other costs the operations of the formula that PyTorch documents for it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

_ADDITIONS = (ast.Add, ast.Sub)
_SELECTIONS = frozenset({"where"})


@dataclass(frozen=True)
class Cost:
    """Operations on one element.

    Attributes:
        flops: all of them.
        macs: additions of a product that was just formed, and that product.
        acs: additions of anything else.
    """

    flops: int = 0
    macs: int = 0
    acs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.macs + other.macs, self.acs + other.acs)

    def __mul__(self, elements: int) -> Cost:
        return Cost(self.flops * elements, self.macs * elements, self.acs * elements)


# x, y, z: operands in the order of the op's schema; g: the gradient that comes in; s: a stored
# result; lower case words: constants of the op. Comparisons cost 1, the selection after them
# nothing. Statements are separated by ";".
COSTS: Mapping[str, str] = MappingProxyType(
    {
        # arithmetic
        "mul": "x * y",
        "div": "x / y",
        "true_divide": "x / y",
        "floor_divide": "floor(x / y)",
        "remainder": "fmod(x, y)",
        "fmod": "fmod(x, y)",
        "neg": "-x",
        "abs": "abs(x)",
        "sign": "sign(x)",
        "sgn": "sign(x)",
        "reciprocal": "1 / x",
        "square": "x * x",
        "maximum": "max(x, y)",
        "minimum": "min(x, y)",
        "fmax": "max(x, y)",
        "fmin": "min(x, y)",
        "lerp": "x + weight * (y - x)",
        "addcmul": "x + value * (y * z)",
        "addcdiv": "x + value * (y / z)",
        "hypot": "hypot(x, y)",
        "polar": "x * cos(y); x * sin(y)",
        "copysign": "copysign(x, y)",
        "heaviside": "sign(x)",
        # powers and roots
        "sqrt": "sqrt(x)",
        "rsqrt": "rsqrt(x)",
        "pow": "exp(y * log(x))",
        "float_power": "exp(y * log(x))",
        # exponentials and logarithms
        "exp": "exp(x)",
        "exp2": "exp2(x)",
        "expm1": "expm1(x)",
        "log": "log(x)",
        "log2": "log2(x)",
        "log10": "log10(x)",
        "log1p": "log1p(x)",
        "logaddexp": "max(x, y) + log1p(exp(-abs(x - y)))",
        "logaddexp2": "max(x, y) + log2(1 + exp2(-abs(x - y)))",
        "xlogy": "x * log(y)",
        "erf": "erf(x)",
        "erfc": "erfc(x)",
        "lgamma": "lgamma(x)",
        # angles
        "sin": "sin(x)",
        "cos": "cos(x)",
        "tan": "tan(x)",
        "asin": "asin(x)",
        "acos": "acos(x)",
        "atan": "atan(x)",
        "atan2": "atan2(x, y)",
        "sinh": "sinh(x)",
        "cosh": "cosh(x)",
        "tanh": "tanh(x)",
        "asinh": "asinh(x)",
        "acosh": "acosh(x)",
        "atanh": "atanh(x)",
        # rounding
        "floor": "floor(x)",
        "ceil": "ceil(x)",
        "round": "round(x)",
        "trunc": "trunc(x)",
        "frac": "x - trunc(x)",
        # comparisons, logic, bits
        "eq": "x == y",
        "ne": "x != y",
        "lt": "x < y",
        "le": "x <= y",
        "gt": "x > y",
        "ge": "x >= y",
        "isnan": "x != x",
        "isinf": "abs(x) == inf",
        "isposinf": "x == inf",
        "isneginf": "x == minf",
        "signbit": "signbit(x)",
        "logical_and": "land(x, y)",
        "logical_or": "lor(x, y)",
        "logical_xor": "lxor(x, y)",
        "logical_not": "lnot(x)",
        "bitwise_and": "band(x, y)",
        "bitwise_or": "bor(x, y)",
        "bitwise_xor": "bxor(x, y)",
        "bitwise_not": "bnot(x)",
        "bitwise_left_shift": "shift(x, y)",
        "bitwise_right_shift": "shift(x, y)",
        "nan_to_num": "where(x != x, a, where(x == inf, b, where(x == minf, c, x)))",
        # limits
        "clamp_min": "max(x, low)",
        "clamp_max": "min(x, high)",
        "relu": "max(x, 0)",
        "threshold": "where(x > t, x, value)",
        "hardtanh": "min(max(x, low), high)",
        # activations
        "sigmoid": "1 / (1 + exp(-x))",
        "log_sigmoid_forward": "min(x, 0) - log1p(exp(-abs(x)))",
        "logit": "log(x / (1 - x))",
        "silu": "x / (1 + exp(-x))",
        "mish": "x * tanh(log1p(exp(x)))",
        "softplus": "where(beta * x > t, x, log1p(exp(beta * x)) / beta)",
        "elu": "where(x > 0, x, alpha * expm1(x))",
        "celu": "where(x > 0, x, alpha * expm1(x / alpha))",
        "gelu": "x * k * (1 + erf(x * r))",
        "gelu_tanh": "k * x * (1 + tanh(r * (x + c * x * x * x)))",
        "leaky_relu": "where(x > 0, x, slope * x)",
        "_prelu_kernel": "where(x > 0, x, y * x)",
        "rrelu_with_noise": "where(x > 0, x, y * x)",
        "hardsigmoid": "min(max(x + 3, 0), 6) / 6",
        "hardswish": "x * min(max(x + 3, 0), 6) / 6",
        "hardshrink": "where(abs(x) <= t, 0, x)",
        "softshrink": "where(x > t, x - t, where(x < mt, x + t, 0))",
        "glu": "x / (1 + exp(-y))",
        "native_dropout": "x * y * scale",
        "_fused_dropout": "x * y * scale",
        "_masked_scale": "x * y * scale",
        # quantization; "choose_qparams" once a scale, x and y the smallest and the largest
        "fake_quantize": ("q = round(x / scale) + zero; (min(max(q, low), high) - zero) * scale"),
        "quantize": "min(max(round(x / scale) + zero, low), high)",
        "dequantize": "(x - zero) * scale",
        "choose_qparams": (
            "a = min(x, 0); b = max(y, 0); s = max((b - a) / levels, eps); "
            "min(max(low - round(a / s), low), high)"
        ),
        # their gradients
        "sigmoid_backward": "g * (1 - s) * s",
        "log_sigmoid_backward": "z = exp(-abs(x)); g * where(x < 0, 1, z) / (1 + z)",
        "logit_backward": "g / (x * (1 - x))",
        "tanh_backward": "g * (1 - s * s)",
        "silu_backward": "s = sigmoid(x); g * s * (1 + x * (1 - s))",
        "mish_backward": "t = tanh(log1p(exp(x))); g * (t + x * sigmoid(x) * (1 - t * t))",
        "softplus_backward": "z = exp(beta * x); where(beta * x > t, g, g * z / (z + 1))",
        "elu_backward": "where(x > 0, g, g * alpha * exp(x))",
        "gelu_backward": "g * (k * (1 + erf(x * r)) + x * c * exp(h * x * x))",
        "gelu_tanh_backward": (
            "t = tanh(r * (x + c * x * x * x)); "
            "g * (k * (1 + t) + k * x * (1 - t * t) * (r + d * x * x))"
        ),
        "threshold_backward": "where(x <= t, 0, g)",
        "hardtanh_backward": "where(lor(x <= low, x >= high), 0, g)",
        "hardsigmoid_backward": "where(land(x > m3, x < 3), g / 6, 0)",
        "hardswish_backward": "where(x < m3, 0, where(x <= 3, g * (x / 3 + k), g))",
        "hardshrink_backward": "where(abs(x) <= t, 0, g)",
        "softshrink_backward": "where(abs(x) <= t, 0, g)",
        "leaky_relu_backward": "where(x > 0, g, slope * g)",
        "rrelu_with_noise_backward": "g * y",
        "_prelu_kernel_backward": "where(x > 0, g, y * g); where(x > 0, 0, x * g)",
        "native_dropout_backward": "g * y * scale",
        "fake_quantize_per_tensor_affine_cachemask_backward": "g * y",
        "fake_quantize_per_channel_affine_cachemask_backward": "g * y",
        "fake_quantize_backward": (
            "q = round(x / scale) + zero; i = land(q >= low, q <= high); where(i, g, 0); "
            "g * factor * where(i, ((q - zero) * scale - x) / scale, where(q < low, low, high) - "
            "zero); where(i, 0, -g * factor * scale)"
        ),
        "glu_backward": "s = sigmoid(y); s * g; (1 - s) * s * g * x",
    }
)
"""Function -> the formula whose operations are its cost for each element."""


# a, b: the parts of x; c, d: those of y. What is not here, and is no operator, costs what its
# formula of `COSTS` does, on complex numbers where its operands are.
COMPLEX: Mapping[str, str] = MappingProxyType(
    {
        "add": "a + c; b + d",
        "add, one real": "a + y",
        "sub, x real": "x - c; -d",
        "mul": "a * c - b * d; a * d + b * c",
        "mul, one real": "a * y; b * y",
        "div": "n = c * c + d * d; (a * c + b * d) / n; (b * c - a * d) / n",
        "div, y real": "a / y; b / y",
        "div, x real": "k = x / (c * c + d * d); k * c; -k * d",
        "neg": "-a; -b",
        "eq": "land(a == c, b == d)",
        "ne": "lor(a != c, b != d)",
        "abs": "sqrt(a * a + b * b)",
        "sign": "r = sqrt(a * a + b * b); a / r; b / r",
        "reciprocal": "n = a * a + b * b; a / n; -b / n",
        "sqrt": "r = sqrt(a * a + b * b); sqrt((r + a) / 2); copysign(sqrt((r - a) / 2), b)",
        "exp": "r = exp(a); r * cos(b); r * sin(b)",
        "log": "log(sqrt(a * a + b * b)); atan2(b, a)",
        "sin": "sin(a) * cosh(b); cos(a) * sinh(b)",
        "cos": "cos(a) * cosh(b); -sin(a) * sinh(b)",
        "tan": "u = 2 * a; v = 2 * b; n = cos(u) + cosh(v); sin(u) / n; sinh(v) / n",
        "sinh": "sinh(a) * cos(b); cosh(a) * sin(b)",
        "cosh": "cosh(a) * cos(b); sinh(a) * sin(b)",
        "tanh": "u = 2 * a; v = 2 * b; n = cosh(u) + cos(v); sinh(u) / n; sin(v) / n",
    }
)
"""Function of complex numbers -> its formula in real arithmetic."""

# of complex x, and of ix, which is x but for a sign and the places of its parts
COMPOSED: Mapping[str, str] = MappingProxyType(
    {
        "rsqrt": "reciprocal(sqrt(x))",
        "exp2": "exp(k * x)",
        "expm1": "exp(x) - 1",
        "log2": "k * log(x)",
        "log10": "k * log(x)",
        "log1p": "log(x + 1)",
        "asinh": "log(x + sqrt(x * x + 1))",
        "acosh": "log(x + sqrt(x * x - 1))",
        "atanh": "log((1 + x) / (1 - x)) / 2",
        "asin": "log(ix + sqrt(1 - x * x))",
        "acos": "log(x + sqrt(x * x - 1))",
        "atan": "log((1 + ix) / (1 - ix)) / 2",
    }
)
"""Function of complex numbers -> its formula in other functions of them."""

_REAL: frozenset[str] = frozenset()
_REAL_RESULTS = frozenset("abs eq ne".split())


@cache
def priced(formula: str, of_complex: frozenset[str] = _REAL) -> Cost:
    """Return the cost of a formula.

    Each operator, comparison and call is one FLOP, but for `where`, which only selects, and for
    functions of `COSTS`, which cost their own formulas. An addition is a MAC where an addend is a
    product (the multiplication being a FLOP all the same), else an AC. On complex numbers
    operators and functions cost their formulas of `COMPLEX`.

    Args:
        formula: statements of Python.
        of_complex: names in it that are complex numbers; all others are real.
    """
    known, total = set(of_complex), Cost()
    for statement in ast.parse(formula.replace("; ", "\n")).body:
        assert isinstance(statement, ast.Assign | ast.Expr)
        cost, is_complex = _priced(statement.value, known)
        total += cost
        if is_complex and isinstance(statement, ast.Assign):
            known.update(ast.unparse(target) for target in statement.targets)
    return total


def _priced(node: ast.expr, known: set[str]) -> tuple[Cost, bool]:
    """Return the cost of an expression, and whether its result is complex."""
    if isinstance(node, ast.Name):
        return Cost(), node.id in known
    if isinstance(node, ast.Call):
        return _called(node, known)
    parts = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
    found = [_priced(part, known) for part in parts]
    total = sum((cost for cost, _ in found), Cost())
    flags = [is_complex for _, is_complex in found]
    if isinstance(node, ast.BinOp):
        return total + _operator(node, *flags), any(flags)
    if isinstance(node, ast.UnaryOp):
        return total + (cost_in_parts("neg") if any(flags) else Cost(1)), any(flags)
    if isinstance(node, ast.Compare):
        return total + (cost_in_parts("eq") if any(flags) else Cost(1)), False
    return total, False


def _operator(node: ast.BinOp, left: bool, right: bool) -> Cost:
    """Return the cost of an operator whose operands are complex or not."""
    if not isinstance(node.op, _ADDITIONS):
        return (product_cost if isinstance(node.op, ast.Mult) else quotient_cost)(left, right)
    product = any(
        isinstance(side, ast.BinOp) and isinstance(side.op, ast.Mult)
        for side in (node.left, node.right)
    )
    cost = sum_cost(left, right, subtracts=isinstance(node.op, ast.Sub))
    return Cost(cost.flops, macs=cost.acs) if product else cost


def _called(node: ast.Call, known: set[str]) -> tuple[Cost, bool]:
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    found = [_priced(argument, known) for argument in node.args]
    total, flags = sum((cost for cost, _ in found), Cost()), [each for _, each in found]
    if name in _SELECTIONS:
        return total, any(flags[1:])
    names = frozenset(x for x, is_complex in zip("xyz", flags, strict=False) if is_complex)
    return total + cost_of(name, names), bool(names) and name not in _REAL_RESULTS


def sum_cost(x: bool, y: bool, *, subtracts: bool = False) -> Cost:
    """Return the cost of x + y, or x - y, each complex or not."""
    if x and y:
        return cost_in_parts("add")
    if y and subtracts:
        return cost_in_parts("sub, x real")
    return cost_in_parts("add, one real") if x or y else Cost(1, acs=1)


def product_cost(x: bool, y: bool) -> Cost:
    """Return the cost of x * y, each complex or not."""
    if x and y:
        return cost_in_parts("mul")
    return cost_in_parts("mul, one real") if x or y else Cost(1)


def quotient_cost(x: bool, y: bool) -> Cost:
    """Return the cost of x / y, each complex or not."""
    if not x and not y:
        return Cost(1)
    return cost_in_parts("div" if x and y else "div, x real" if y else "div, y real")


def cost_in_parts(name: str) -> Cost:
    """Return the cost of a function of `COMPLEX`."""
    return priced(COMPLEX[name])


def cost_of(name: str, of_complex: frozenset[str] = _REAL) -> Cost:
    """Return the cost of a function.

    Args:
        name: of `COSTS`, or of the C math library.
        of_complex: which of its operands x, y, z, g, s, and constants are complex.
    """
    if of_complex:
        if name in COMPOSED:
            return priced(COMPOSED[name], of_complex | {"ix"})
        if name in COMPLEX and name not in _OPERATORS:
            return cost_in_parts(name)
    formula = COSTS.get(name, "")
    if formula and not formula.startswith(f"{name}("):
        return priced(formula, of_complex)
    return Cost(2 if of_complex else 1)  # of complex numbers at least one for each part


_OPERATORS = frozenset("add mul div".split())
"""What costs less where one of the operands is real."""
