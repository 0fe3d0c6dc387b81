"""Element-wise arithmetic: additions, multiplications, comparisons, functions.

A FLOP is one operation on one element. What a function costs is a convention: `COSTS` declares it
for each, so that nothing is decided in silence.
"""

from __future__ import annotations

from functools import partial

from .call import Call, Operand
from .rule import Figure, Figures, OpRule, aten


def addition(call: Call) -> Figures:
    """Return the counters of add, sub and rsub, with scalars and in place too.

    FLOPs: one for each element of the result, and one for each of the operand that alpha scales.
    ACs: one for each element; of two tensors that are known to be spikes, one for each of their
    spikes. (What an optimizer adds is not measured, and is no spikes.)
    """
    return sum_of(call, call.ins.get(0), call.ins.get(1))


def sum_of(call: Call, first: Operand | None, second: Operand | None) -> Figures:
    """Return the counters of an addition of two operands; a number is None."""
    out = call.out.numel
    scaled = call.ins[1].numel if call.has(1) else 1
    flops = out + (scaled if call.arg("alpha", 1) != 1 else 0)
    acs: Figure = out
    if first is not None and second is not None and first.spikes and second.spikes:
        assert first.nonzero is not None and second.nonzero is not None
        acs = first.nonzero + second.nonzero
    return Figures(flops=flops, bytes=call.moved, acs=acs)


def each(call: Call, *, flops: int = 1, acs: int = 0) -> Figures:
    """Return so many FLOPs and ACs for each element of the result."""
    n = call.out.numel
    return Figures(flops=flops * n, bytes=call.moved, acs=acs * n)


RULES: tuple[OpRule, ...] = (
    OpRule("addition", aten("add add_ sub sub_ rsub"), addition),
    OpRule(
        "arithmetic",
        aten(
            "mul mul_ div div_ neg neg_ eq ne lt le gt ge logical_and logical_or logical_xor "
            "logical_not"
        ),
        each,
    ),
    OpRule("function", aten("sigmoid"), partial(each, flops=4)),
    OpRule("function", aten("sigmoid_"), partial(each, flops=4, acs=1)),
)
