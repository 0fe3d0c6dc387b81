"""Products of matrices: m x k by k x n, b of them.

FLOPs: 2·b·m·n·k, a multiplication and an addition each; MACs b·m·n·k where neither factor is a
spike tensor. Where one is, each spike meets one row or column of the other factor: that many
accumulations and no multiplication.
"""

from __future__ import annotations

from functools import partial
from math import prod

from .amount import Amount, of
from .call import Call, Operand
from .rule import Figure, Figures, OpRule, aten


def multiplications(call: Call, x: Operand, w: Operand) -> int:
    """Return b·m·n·k of a product x·w; vectors count as matrices of one row or column."""
    rows = x.shape if len(x.shape) > 1 else (1, *x.shape)
    columns = w.shape[-1] if len(w.shape) > 1 else 1
    return prod(rows) * columns


def driven(call: Call, x: Operand, w: Operand) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of a product x·w."""
    if x.spikes is None or w.spikes is None:
        return None, None
    if x.spikes and w.spikes:
        return 0, of("overlap")
    if x.spikes:
        assert x.nonzero is not None
        return 0, x.nonzero * (w.shape[-1] if len(w.shape) > 1 else 1)
    if w.spikes:
        assert w.nonzero is not None
        return 0, w.nonzero * (x.shape[-2] if len(x.shape) > 1 else 1)
    return multiplications(call, x, w), 0


def scaling(call: Call, bias: Operand | None) -> int:
    """Return the FLOPs that alpha and beta and the added operand add to a product."""
    out = call.out.numel
    beta = call.arg("beta", 1)
    extra = out if call.arg("alpha", 1) != 1 else 0
    if beta == 1:
        extra += out
    elif beta != 0:
        extra += (bias.numel if bias else 0) + out
    return extra


def product(call: Call, *, x: int, w: int, bias: int | None = None, pairwise: bool = False) -> Figures:
    """Return the counters of x·w, with `bias` of beta·bias + alpha·x·w.

    Args:
        call: the call.
        x: slot of the first factor.
        w: slot of the second factor.
        bias: slot of the added operand; None: there is none.
        pairwise: count the additions inside a sum of k terms as k - 1.
    """
    first, second = call.ins[x], call.ins[w]
    macs, acs = driven(call, first, second)
    flops = 2 * multiplications(call, first, second)
    if pairwise:
        flops -= call.out.numel
    moved = first.bytes + second.bytes + call.written
    if bias is not None:
        added = call.ins.get(bias)
        flops += scaling(call, added)
        if call.arg("beta", 1) != 0 and added is not None:
            moved += added.bytes
        one_spikes = first.spikes != second.spikes
        if call.arg("alpha", 1) != 1 and one_spikes and acs is not None:
            acs = 0  # each addend is scaled: a multiplication is left
    return Figures(flops=flops, bytes=moved, synops=acs, macs=macs, acs=acs)


def _dot(call: Call) -> Figures:
    """A product of two vectors of k elements."""
    x, w = call.ins[0], call.ins[1]
    macs, acs = driven(call, x, w)
    return Figures(2 * x.numel, call.moved, acs, macs, acs)


def _outer_sum(call: Call) -> Figures:
    """Addbmm: the products of b matrices, summed into one."""
    found = product(call, x=1, w=2, bias=0)
    return found


def _quantized(call: Call, *, x: int, w: int) -> Figures:
    """Products at 8 bits and less: as mm, at their dtypes; w may be packed, so n is the result's."""
    first = call.ins[x]
    terms = call.out.numel * first.dim(-1)
    known = first.spikes
    if known is None:
        return Figures(2 * terms, call.moved, None, None, None)
    if known:
        assert first.nonzero is not None
        driven_acs: Amount = first.nonzero * call.out.dim(-1)
        return Figures(2 * terms, call.moved, driven_acs, 0, driven_acs)
    return Figures(2 * terms, call.moved, 0, terms, 0)


def _linear(call: Call) -> Figures:
    """Linear where it is a kernel of its own: x·wᵀ + bias; x may have any leading dimensions."""
    x, w = call.ins[0], call.ins[1]
    terms, n = x.numel * w.dim(0), w.dim(0)
    biased = call.out.numel if call.has(2) else 0
    if x.spikes is None:
        return Figures(2 * terms + biased, call.moved, None, None, None)
    if x.spikes:
        assert x.nonzero is not None
        acs = x.nonzero * n
        return Figures(2 * terms + biased, call.moved, acs, 0, acs)
    return Figures(2 * terms + biased, call.moved, 0, terms, 0)


RULES = (
    OpRule("product", aten("mm bmm mv"), partial(product, x=0, w=1)),
    OpRule("product", aten("addmm baddbmm addmv _addmm_activation"), partial(product, x=1, w=2, bias=0)),
    OpRule("product", aten("addbmm"), _outer_sum),
    OpRule("product", aten("dot vdot"), _dot),
    OpRule("product", aten("_int_mm _scaled_mm"), partial(_quantized, x=0, w=1)),
    OpRule(
        "product",
        aten("_weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu _mixed_dtypes_linear"),
        partial(_quantized, x=0, w=1),
    ),
    OpRule("product", ("aten.linear", "mkldnn._linear_pointwise", "aten.mkldnn_linear"), _linear),
)
