"""Products of matrices: m x k by k x n, b of them.

FLOPs: 2·b·m·n·k, a multiplication and an addition each; MACs b·m·n·k where neither factor is a
spike tensor. Where one is, each spike meets one row or column of the other factor: that many
accumulations and no multiplication. Of complex numbers both are four times as many: what the same
product takes in real arithmetic.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

from .amount import of
from .call import Call, Operand
from .functions import Cost, cost_of, product_cost
from .rule import UNKNOWN, Figure, Figures, OpRule, added, aten


def multiplications(call: Call, x: Operand, w: Operand) -> int:
    """Return b·m·n·k of a product x·w; vectors count as matrices of one row or column.

    Each part of a complex number meets each part of the other factor's.
    """
    rows = x.shape if len(x.shape) > 1 else (1, *x.shape)
    columns = w.shape[-1] if len(w.shape) > 1 else 1
    return prod(rows) * columns * x.parts * w.parts


def contraction(
    x: Operand, w: Operand, terms: int, x_fan: int, w_fan: int, *, both: Figure = None
) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of a product.

    Args:
        x: the first factor.
        w: the second factor.
        terms: multiplications.
        x_fan: elements of w that each element of x meets.
        w_fan: elements of x that each element of w meets.
        both: pairs of spikes that meet; None: not recorded.
    """
    if x.spikes is None or w.spikes is None:
        return None, None
    if x.spikes and w.spikes:
        return 0, both
    if x.spikes:
        assert x.nonzero is not None
        return 0, x.nonzero * x_fan
    if w.spikes:
        assert w.nonzero is not None
        return 0, w.nonzero * w_fan
    return terms, 0


def driven(call: Call, x: Operand, w: Operand) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of a product x·w."""
    columns = w.shape[-1] if len(w.shape) > 1 else 1
    rows = x.shape[-2] if len(x.shape) > 1 else 1
    return contraction(x, w, multiplications(call, x, w), columns, rows, both=of("overlap"))


def scaling(call: Call, bias: Operand | None) -> int:
    """Return the FLOPs that alpha and beta and the added operand add to a product."""
    out = call.out
    extra = 0 if call.is_number("alpha", 1, 1) else _scaled(call, "alpha", out)
    if call.is_number("beta", 1, 1):
        extra += out.numbers
    elif not call.is_number("beta", 0, 1):
        extra += (_scaled(call, "beta", bias) if bias else 0) + out.numbers
    return extra


def _scaled(call: Call, name: str, operand: Operand) -> int:
    """Return the FLOPs of an operand times a number."""
    return product_cost(operand.is_complex, call.is_complex(name)).flops * operand.numel


def product(
    call: Call,
    *,
    x: int,
    w: int,
    bias: int | None = None,
    pairwise: bool = False,
) -> Figures:
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
        if not call.is_number("beta", 0, 1) and added is not None:
            moved += added.bytes
        one_spikes = first.spikes != second.spikes
        if not call.is_number("alpha", 1, 1) and one_spikes and acs is not None:
            acs = 0  # each addend is scaled: a multiplication is left
    return Figures(flops=flops, bytes=moved, synops=acs, macs=macs, acs=acs)


def sparse_product(call: Call, *, x: int, w: int, bias: int | None = None) -> Figures:
    """Return the counters of a product of which one factor is sparse: its stored elements alone.

    Each meets a row or a column of the other factor. They count as numbers: what a sparse tensor
    holds is not measured, so where the other factor is spikes the pairs that meet are unknown. Two
    sparse factors are of unknown size: which of their elements meet is in the data.
    """
    first, second = call.ins[x], call.ins[w]
    others = [o for slot, o in (*call.ins.items(), *call.outs.items()) if o.layout != "strided"]
    if len(others) != 1 or others[0].stored is None or others[0] not in (first, second):
        return UNKNOWN
    (held,) = others
    assert held.stored is not None
    fan = second.dim(-1) if len(second.shape) > 1 else 1
    dense = second
    if held is second:
        fan, dense = first.dim(-2) if len(first.shape) > 1 else 1, first
    terms = held.stored * fan * held.parts * dense.parts
    flops, moved = 2 * terms, held.stored_bytes + dense.bytes + call.written
    if bias is not None:
        added = call.ins.get(bias)
        flops += scaling(call, added)
        if not call.is_number("beta", 0, 1) and added is not None:
            moved += added.bytes
    if dense.spikes is not False:
        macs = None if dense.spikes is None else 0
        return Figures(flops, moved, None, macs, None, dense_macs=terms)
    return Figures(flops, moved, 0, terms, 0)


def sampled(call: Call) -> Figures:
    """Return the counters of a product of which only the elements that `self` stores are formed."""
    kept, first, second = call.ins[0], call.ins[1], call.ins[2]
    if kept.stored is None or first.layout != "strided" or second.layout != "strided":
        return UNKNOWN
    terms = kept.stored * first.dim(-1) * first.parts * second.parts
    stored = kept._replace(numel=kept.stored)
    flops = 2 * terms + scaling(replace(call, outs={0: stored}), stored)
    moved = 2 * kept.stored_bytes + first.bytes + second.bytes
    if first.spikes is False and second.spikes is False:
        return Figures(flops, moved, 0, terms, 0)
    return Figures(flops, moved, None, None, None, dense_macs=terms)


def _sizeless(call: Call) -> Figures:
    return UNKNOWN


def _activated(call: Call) -> Figures:
    """A product with a bias, and ReLU or GELU of it."""
    found = product(call, x=1, w=2, bias=0)
    active = cost_of("gelu_tanh" if call.arg("use_gelu", False) else "relu") * call.out.numel
    return Figures(
        flops=added(found.flops, active.flops),
        bytes=found.bytes,
        synops=found.synops,
        macs=added(found.macs, active.macs),
        acs=added(found.acs, active.acs),
        dense_macs=multiplications(call, call.ins[1], call.ins[2]),
    )


def _outer(call: Call) -> Figures:
    """Addr: each element of one vector by each of the other, added to a matrix."""
    x, w = call.ins[1], call.ins[2]
    macs, acs = contraction(x, w, x.numbers * w.numbers, w.numel, x.numel)
    products = product_cost(x.is_complex, w.is_complex) * (x.numel * w.numel)
    flops = products.flops + scaling(call, call.ins.get(0))
    return Figures(flops, call.moved, acs, macs, acs)


def _linear(call: Call) -> Figures:
    """Linear where it is a kernel of its own: x·wᵀ + bias; x may have any leading dimensions."""
    x, w = call.ins[0], call.ins[1]
    terms, n = x.numbers * w.dim(0) * w.parts, w.dim(0)
    macs, acs = contraction(x, w, terms, n, x.numel // max(x.dim(-1), 1))
    biased = call.out.numbers if call.named("bias") or call.named("b") else 0
    return Figures(2 * terms + biased, call.moved, acs, macs, acs)


def _linear_backward(call: Call) -> Figures:
    """The gradients of linear: two products, and the bias' sums over the rows."""
    named = {o.name: o for o in call.ins.values()}
    grad, w = named["grad_output"], named.get("weight")
    x = named.get("self") or named.get("input")
    rows, n = grad.numel // max(grad.dim(-1), 1), grad.dim(-1)
    k = w.dim(-1) if w is not None else x.dim(-1) if x is not None else 0
    default = {
        "mkldnn_linear_backward_input": [True, False, False],
        "mkldnn_linear_backward_weights": [False, True, call.arg("bias_defined", True)],
    }.get(call.base, [True, True, True])
    grad_input, grad_weight, grad_bias = call.arg("output_mask", default)
    terms, summed = rows * n * k, n * max(rows - 1, 0) if grad_bias else 0
    flops = 2 * terms * (bool(grad_input) + bool(grad_weight)) + summed
    pairs = [(grad, w, k, rows)] if grad_input and w is not None else []
    pairs += [(grad, x, k, n)] if grad_weight and x is not None else []
    each = [contraction(first, second, terms, *fans) for first, second, *fans in pairs]
    acs = added(*(driven for _, driven in each))
    macs = added(*(dense for dense, _ in each))
    return Figures(flops, call.moved, acs, macs, added(acs, summed))


def _trilinear(call: Call) -> Figures:
    """The products of three tensors, element by element, added over some dimensions: 3 each.

    The product of two, times the third and added.
    """
    shapes = []
    for slot, name in enumerate(("expand1", "expand2", "expand3")):
        shape = list(call.ins[slot].shape)
        for place in sorted(call.arg(name, [])):
            shape.insert(place, 1)
        shapes.append(shape)
    terms = prod(max(sizes) for sizes in zip(*shapes, strict=True))
    first, second, third = (call.ins[slot] for slot in range(3))
    inner: Cost = product_cost(first.is_complex, second.is_complex) * terms
    macs = terms * max(first.parts, second.parts) * third.parts
    return Figures(inner.flops + 2 * macs, call.moved, macs=macs)


_VECTORS = "mv dot vdot"
_ADDED = "addmm addmm_ baddbmm baddbmm_ addmv addmv_ addbmm addbmm_"

RULES = (
    OpRule(
        "product",
        aten(f"mm bmm {_VECTORS}"),
        partial(product, x=0, w=1),
        factors=(0, 1),
        sparse=partial(sparse_product, x=0, w=1),
    ),
    OpRule(
        "product",
        aten(f"{_ADDED} _sparse_addmm"),
        partial(product, x=1, w=2, bias=0),
        factors=(1, 2),
        sparse=partial(sparse_product, x=1, w=2, bias=0),
    ),
    OpRule("product", aten("sparse_sampled_addmm"), _sizeless, sparse=sampled),
    OpRule("product", aten("_addmm_activation"), _activated, factors=(1, 2)),
    OpRule("product", aten("addr addr_"), _outer, factors=(1, 2)),
    OpRule(
        "product",
        ("aten.linear", "mkldnn._linear_pointwise", "aten.mkldnn_linear"),
        _linear,
        factors=(0, 1),
    ),
    OpRule(
        "product backward",
        aten(
            "linear_backward mkldnn_linear_backward mkldnn_linear_backward_input "
            "mkldnn_linear_backward_weights"
        ),
        _linear_backward,
    ),
    OpRule("product", aten("_trilinear"), _trilinear),
)
