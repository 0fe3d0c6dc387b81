"""The fused layers of eval mode: multi-head attention and the transformer encoder layer.

Each is its parts: products of matrices with their biases, attention, norms, an activation. The
layer's input may be spikes; what its inner products meet is not recorded and is no spikes.
"""

from __future__ import annotations

from .amount import Amount
from .attention import Sizes, around
from .call import Call, Operand
from .functions import Cost, cost_of
from .rule import Figure, Figures, OpRule, aten


def _projected(x: Operand, rows: int, width: int) -> tuple[int, int, Figure]:
    """Return (FLOPs, MACs, ACs) of a product of x with `width` columns, and its bias."""
    terms = x.dim(-1) * rows * width
    flops = 2 * terms + rows * width
    if x.spikes is None:
        return flops, 0, None
    if x.spikes:
        assert x.nonzero is not None
        return flops, 0, x.nonzero * width
    return flops, terms, 0


def _attended(call: Call, b: int, q: int, keys: int, d: int, heads: int) -> tuple[int, int, int]:
    """Return (FLOPs, MACs, ACs) of attention of b samples, and of its output's projection."""
    sizes = Sizes(b * heads * q, q, keys, d // max(heads, 1), d // max(heads, 1))
    flops, acs = around(sizes, masked=call.named("mask") is not None)
    terms = 2 * b * q * keys * d
    projection = b * q * d * d
    macs = terms + projection
    return flops + 2 * macs + b * q * d, macs, acs + b * q * d


def multi_head(call: Call) -> Figures:
    """Return the counters of `_native_multi_head_attention` of (batch, length, size) operands.

    The projections of query, key and value with biases, attention, the projection of its result;
    with average weights asked for, their mean over the heads.
    """
    query, key, value = (call.ins[slot] for slot in range(3))
    (b, q), keys = query.shape[:2], key.dim(1)
    d, heads = int(call.arg("embed_dim", query.dim(-1))), int(call.arg("num_head", 1))
    parts = [_projected(x, b * x.dim(1), d) for x in (query, key, value)]
    flops, macs, acs = _attended(call, b, q, keys, d, heads)
    flops += sum(part[0] for part in parts)
    if call.arg("need_weights", True) and call.arg("average_attn_weights", True):
        flops += b * heads * q * keys
        acs += b * (heads - 1) * q * keys
    return _joined(call, flops, macs, acs + d * b * (q + 2 * keys), parts)


def encoder_layer(call: Call) -> Figures:
    """Return the counters of `_transformer_encoder_layer_fwd`.

    Multi-head attention of the input with itself, two residual additions, two layer norms, and two
    products with biases around an activation.
    """
    x = call.ins[0]
    d, heads = int(call.arg("embed_dim", x.dim(-1))), int(call.arg("num_heads", 1))
    b, length = (1, x.dim(0)) if len(x.shape) == 2 else x.shape[:2]
    hidden = call.named("ffn_weight_1")
    f = hidden.dim(0) if hidden else 0
    rows, n = b * length, b * length * d
    entering = x if not call.arg("norm_first", False) else _plain(x)
    parts = [_projected(entering, rows, 3 * d)]
    flops, macs, acs = _attended(call, b, length, length, d, heads)
    active = cost_of("gelu") if call.arg("use_gelu", False) else Cost(1)
    norms = 2 * (5 * n + 4 * rows + 2 * n)
    residuals = 2 * n
    inner = 2 * rows * d * f
    flops += parts[0][0] + norms + residuals + 2 * inner + rows * (f + d) + active.flops * rows * f
    macs += inner + 2 * n
    acs += 3 * n + residuals + 2 * (3 * n) + rows * (f + d) + active.acs * rows * f
    return _joined(call, flops, macs, acs, parts)


def _plain(x: Operand) -> Operand:
    """Return an operand of its shape that is no spikes: what a norm hands on."""
    return Operand(x.slot, "", None, x.shape, x.dtype, x.numel, x.bytes, spikes=False)


def _joined(
    call: Call, flops: int, macs: int, acs: int, parts: list[tuple[int, int, Figure]]
) -> Figures:
    """Return figures with those of the projections of the operands, unknown ones kept unknown."""
    driven: Amount | int | None = 0
    for _, _, more in parts:
        driven = None if driven is None or more is None else driven + more
    if driven is None:
        return Figures(flops, call.moved, None, None, None)
    return Figures(flops, call.moved, driven, macs + sum(p[1] for p in parts), driven + acs)


RULES: tuple[OpRule, ...] = (
    OpRule("attention", aten("_native_multi_head_attention"), multi_head),
    OpRule("attention", aten("_transformer_encoder_layer_fwd"), encoder_layer),
)
