"""Products at 8 bits and less, and products of groups of rows: as mm, at their dtypes.

Packed weights do not show their shape: m and n are the result's, k the first factor's.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from .call import Call, Operand
from .functions import Cost, cost_of
from .products import contraction
from .quantization import measured_cost
from .rule import Figures, OpRule, added, aten


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


def packed(call: Call) -> Figures:
    """Return the counters of a linear layer whose weights are packed and not in the trace.

    x (..., k) by k x n: k and n are those of x and of the result. FLOPs: 2·m·n·k, one for each
    element of the result for its scale, and for its activation; a packed bias is not told. What
    quantizes its input itself (`dynamic`) counts that too. Bytes: a weight of one byte, or two.
    """
    x, out = call.ins[0], call.out
    k, n = x.dim(-1), out.dim(-1)
    terms, half = out.numel * k, "fp16" in call.base
    known = False if x.dtype.startswith("q") else x.spikes
    weight = next((o for o in call.ins.values() if o.name in _WEIGHTS), None)
    macs, acs = contraction(
        x._replace(spikes=known), _plain(None), terms, n, out.numel // max(n, 1)
    )
    biased = any(call.named(name) is not None for name in ("bias", "B"))
    each = Cost(biased + (not half))
    activation = next((name for name in _ACTIVATIONS if name in call.base), None)
    rest = (each + cost_of(activation) if activation else each) * out.numel
    if "dynamic" in call.base and not half:
        rest += measured_cost(x.numel)
    moved = call.moved + (0 if weight else n * k * (2 if half else 1))
    return Figures(2 * terms + rest.flops, moved, acs, macs, added(acs, rest.acs), dense_macs=terms)


_WEIGHTS = frozenset("W qw w W_prepack weight packed_weight packed MKL_W".split())
_ACTIVATIONS = ("leaky_relu", "relu", "tanh")


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


_PACKED = (
    *(
        f"quantized.{name}"
        for name in (
            "linear linear_relu linear_leaky_relu linear_tanh linear_dynamic linear_relu_dynamic "
            "linear_dynamic_fp16 linear_relu_dynamic_fp16"
        ).split()
    ),
    "_quantized.linear",
    "_quantized.linear_dynamic",
    "_quantized.wrapped_quantized_linear",
    "_quantized._wrapped_quantized_linear_prepacked",
    "_quantized.wrapped_fbgemm_linear_fp16_weight",
    "onednn.qlinear_pointwise",
    "onednn.linear_dynamic_fp16",
    "onednn.linear_relu_dynamic_fp16",
    *aten(
        "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation "
        "fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation"
    ),
)

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
    OpRule("product", _PACKED, packed),
)
