"""Sums, means and other reductions: n elements read, out left."""

from __future__ import annotations

from .call import Call
from .rule import Figures, OpRule, aten


def total(call: Call) -> Figures:
    """Return the counters of a sum: n - out additions."""
    additions = max(call.ins[0].numel - call.out.numel, 0)
    return Figures(flops=additions, bytes=call.moved, acs=additions)


def mean(call: Call) -> Figures:
    """Return the counters of a mean: n - out additions and out divisions."""
    n, out = call.ins[0].numel, call.out.numel
    return Figures(flops=n, bytes=call.moved, acs=max(n - out, 0))


RULES: tuple[OpRule, ...] = (
    OpRule("sum", aten("sum"), total),
    OpRule("mean", aten("mean"), mean),
)
