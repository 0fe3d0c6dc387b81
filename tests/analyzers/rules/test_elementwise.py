"""Element-wise arithmetic: the table of costs, and what arguments change."""

from __future__ import annotations

import pytest

from opjoule.analyzers.rules.functions import COSTS, Cost, cost_of, priced

X, Y = ("self", (2, 5)), ("other", (2, 5))


@pytest.mark.parametrize(
    ("formula", "cost"),
    [
        ("x", Cost()),
        ("-x", Cost(1)),
        ("x * y", Cost(1)),
        ("x + y", Cost(1, acs=1)),
        # a product that is added at once is a MAC, and two FLOPs
        ("x + y * z", Cost(2, macs=1)),
        ("x + y / z", Cost(2, acs=1)),
        ("exp(x)", Cost(1)),
        # a comparison costs, the selection does not
        ("where(x > 0, x, y * x)", Cost(2)),
        # neg, exp, add, div
        ("sigmoid(x)", Cost(4, acs=1)),
        ("z = x - y; z * z", Cost(2, acs=1)),
    ],
)
def test_formulas_are_priced_by_their_operations(formula, cost):
    assert priced(formula) == cost


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("sigmoid", 4),  # -x, exp, 1 +, 1 /
        ("silu", 4),  # -x, exp, 1 +, x /
        ("tanh", 1), ("exp", 1), ("log", 1), ("sqrt", 1), ("erf", 1),  # the C math library's
        ("gelu", 5),  # x·k, x·r, erf, 1 +, ·
        ("softplus", 6),  # b·x, >, b·x, exp, log1p, /
        ("lerp", 3),  # y - x, w·, x +
        ("sigmoid_backward", 3),  # 1 - s, g·, ·s
        ("tanh_backward", 3),  # s·s, 1 -, g·
        ("threshold_backward", 1),  # >
    ],
)  # fmt: skip
def test_functions(of_five, name, flops):
    operands = [("grad_output", (2, 5)), X] if "backward" in name else [X]
    moved = 4 * 10 * (len(operands) + 1)
    assert of_five(name, operands, [(2, 5)])[:2] == (10 * flops, moved)
    assert cost_of(name).flops == flops


def test_every_formula_is_python_and_costs_something():
    for name, formula in COSTS.items():
        assert priced(formula).flops >= 1, name
        assert priced(formula).macs + priced(formula).acs <= priced(formula).flops


def test_in_place_costs_the_same(of_five):
    for name in ("sigmoid", "mul", "tanh", "clamp_min", "add"):
        operands = [X, Y] if name in ("mul", "add") else [X]
        apart = of_five(name, operands, [(2, 5)], alpha=1)
        there = of_five(f"{name}_", operands, [(2, 5)], alpha=1, mutates=("self",))
        assert apart == there, name


@pytest.mark.parametrize(
    ("op", "operands", "alpha", "flops"),
    [
        ("add.Tensor", [X, Y], 1, 10),
        ("add.Tensor", [X, Y], 2, 20),
        ("add.Tensor", [X, ("other", (5,))], 2, 15),
        ("sub.Scalar", [X], 1, 10),
        # other - alpha·self: what is scaled is the first
        ("rsub.Scalar", [X], 2, 20),
        ("rsub.Tensor", [("self", (5,)), Y], 2, 15),
    ],
)
def test_additions(of_five, op, operands, alpha, flops):
    found = of_five(op, operands, [(2, 5)], alpha=alpha)
    assert found[0] == flops and found[2:] == (0, 0, 10)


def test_additions_of_spikes(of_five):
    facts = {"in0_nonzero": 3, "in1_nonzero": 4}
    both = of_five("add.Tensor", [X, Y], [(2, 5)], alpha=1, spikes=("in0", "in1"), facts=facts)
    one = of_five("add.Tensor", [X, Y], [(2, 5)], alpha=1, spikes=("in0",), facts=facts)
    assert both[4] == 7 and one[4] == 10


@pytest.mark.parametrize(
    ("op", "arguments", "cost"),
    [
        ("addcmul", {"value": 1}, Cost(2, macs=1)),
        ("addcmul", {"value": 0.5}, Cost(3, macs=1)),
        ("addcdiv", {"value": 1}, Cost(2, acs=1)),
        ("addcdiv", {"value": -0.1}, Cost(3, macs=1)),
        ("pow.Tensor_Scalar", {"exponent": 2}, Cost(1)),
        ("pow.Tensor_Scalar", {"exponent": 3}, Cost(2)),
        ("pow.Tensor_Scalar", {"exponent": 0.5}, Cost(1)),
        ("pow.Tensor_Scalar", {"exponent": 1.7}, Cost(3)),
        ("div.Tensor_mode", {"rounding_mode": "floor"}, Cost(2)),
        ("gelu", {"approximate": "tanh"}, Cost(9, macs=1, acs=1)),
        ("clamp", {"min": 0, "max": None}, Cost(1)),
        ("clamp", {"min": 0, "max": 6}, Cost(2)),
        ("native_dropout", {"p": 0.5, "train": True}, Cost(2)),
        ("native_dropout", {"p": 0.5, "train": False}, Cost()),
    ],
)
def test_arguments_that_decide(of_five, op, arguments, cost):
    found = of_five(op, [X], [(2, 5)], **arguments)
    assert (found[0], found[3], found[4]) == (10 * cost.flops, 10 * cost.macs, 10 * cost.acs)
