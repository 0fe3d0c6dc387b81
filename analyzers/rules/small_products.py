"""Products at 8 bits and less, and products of groups of rows: as mm, at their dtypes.

Packed weights do not show their shape: m and n are the result's, k the first factor's.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from .call import Call, Operand
from .products import contraction
from .rule import Figures, OpRule, aten


def quantized(call: Call) -> Figures:
    """Return the counters of a product with its scales and bias.

    FLOPs: 2·m·n·k, and one for each element of the result for its bias and for its scales. Weights
    of 4 bits are scaled before: 2 for each of them (with zero points). As in addmm, a bias is no
    AC.
    """
    x, out = call.ins[0], call.out
    k, n = x.dim(-1), out.dim(-1)
    terms = out.numel * k
    weight = _plain(call.ins.get(1))
    macs, acs = contraction(x, weight, terms, n, out.numel // max(n, 1))
    biased = out.numel if call.named("bias") else 0
    scaled = 0
    if "int4" in call.base or "4bit" in call.base:
        scaled = 2 * n * k
    elif _scales(call.ins.values()):
        scaled = out.numel
    return Figures(2 * terms + biased + scaled, call.moved, acs, macs, acs)


def _plain(weight: Operand | None) -> Operand:
    """Return weights as no spikes where they are packed: their bits are no elements."""
    shape = weight.shape if weight else ()
    packed = weight is None or weight.dtype in ("int32", "uint8")
    known = None if weight is None else weight.spikes
    return Operand(1, "", None, shape, "", 0, 0, spikes=False if packed else known,
                   nonzero=weight.nonzero if weight else None)  # fmt: skip


def _scales(operands: Iterable[Operand]) -> bool:
    return any(o.name.startswith("scale") for o in operands)


def grouped(call: Call) -> Figures:
    """Return the counters of a product of groups: rows of x by the matrix of their group.

    x (rows, k) by (groups, k, n): 2·rows·k·n. x (groups, m, k) by (k, n): 2·m·k·n, the columns
    being shared out. Both with groups: as bmm. Neither, k being shared out: 2·m·k·n.
    """
    x, w = call.ins[0], call.ins[1]
    if len(x.shape) == len(w.shape):
        terms = prod(x.shape) * w.dim(-1)
    elif len(x.shape) == 2:
        terms = x.numel * w.dim(-1)
    else:
        terms = x.dim(-2) * x.dim(-1) * w.dim(-1)
    biased = call.out.numel if call.named("bias") else 0
    scaled = call.out.numel if _scales(call.ins.values()) else 0
    if x.spikes is False and w.spikes is False:
        return Figures(2 * terms + biased + scaled, call.moved, 0, terms, 0)
    return Figures(2 * terms + biased + scaled, call.moved, None, None, None)


RULES = (
    OpRule(
        "product",
        aten(
            "_int_mm _scaled_mm _scaled_mm_v2 _weight_int8pack_mm _weight_int4pack_mm "
            "_weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros "
            "_mixed_dtypes_linear _dyn_quant_matmul_4bit"
        ),
        quantized,
        factors=(0, 1),
    ),
    OpRule(
        "product",
        aten("_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2"),
        grouped,
        factors=(0, 1),
    ),
)
