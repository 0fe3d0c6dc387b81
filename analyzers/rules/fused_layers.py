"""The fused layers of eval mode: multi-head attention and the transformer encoder layer.

Each is its parts, counted as PyTorch runs them one by one where it does not fuse them: products of
matrices with their biases, attention, norms, an activation. The layer's input may be spikes; what
its inner products meet is not recorded and is no spikes.
"""

from __future__ import annotations

from collections.abc import Iterable

from .attention import Sizes, around
from .call import Call, Operand
from .functions import Cost, cost_of
from .rule import Figure, Figures, OpRule, added, aten


def _projected(x: Operand, width: int) -> tuple[Figure, Figure, int]:
    """Return (MACs, ACs, dense MACs) of a product of (batch, length, size) with `width` columns."""
    terms = x.numel * width
    if x.spikes is None:
        return None, None, terms
    if x.spikes:
        assert x.nonzero is not None
        return 0, x.nonzero * width, terms
    return terms, 0, terms


def _biased(b: int, length: int, width: int) -> Cost:
    """Return the cost of the biases of the input's projections.

    The parts work on (length, batch, size), a transposed view, to whose product PyTorch adds the
    bias by an op of its own (ACs), unless the view is contiguous and addmm does it.
    """
    n = b * length * width
    return Cost(n, acs=n if b > 1 and length > 1 else 0)


def _attended(
    call: Call, b: int, q: int, keys: int, d: int, heads: int, *, weighted: bool = False
) -> tuple[Cost, int]:
    """Return the cost of attention of b samples, its products aside, and of its output's bias.

    Also returns the multiplications of attention and of its output's projection. Where weights are
    asked for (`weighted`), the queries are scaled in place of the scores, and baddbmm adds the
    mask, which is no AC; else the parts are an attention kernel.
    """
    sizes = Sizes(b * heads * q, q, keys, d // max(heads, 1), d // max(heads, 1))
    masked = call.named("mask") is not None
    flops, acs = around(sizes, masked=masked)
    if weighted:
        flops += b * q * d - sizes.scores
        acs -= sizes.scores if masked else 0
    if weighted and call.arg("average_attn_weights", True):
        flops += sizes.scores
        acs += b * (heads - 1) * q * keys
    terms = 2 * b * q * keys * d + b * q * d * d
    return Cost(flops + b * q * d, acs=acs), terms


def multi_head(call: Call) -> Figures:
    """Return the counters of `_native_multi_head_attention` of (batch, length, size) operands.

    The projections of query, key and value with biases, attention, the projection of its result;
    with average weights asked for, their mean over the heads.
    """
    query, key, value = (call.ins[slot] for slot in range(3))
    (b, q), keys = query.shape[:2], key.dim(1)
    d, heads = int(call.arg("embed_dim", query.dim(-1))), int(call.arg("num_head", 1))
    weighted = bool(call.arg("need_weights", True))
    cost, terms = _attended(call, b, q, keys, d, heads, weighted=weighted)
    for x in (query, key, value):
        cost += _biased(b, x.dim(1), d)
    return _joined(call, cost, terms, [_projected(x, d) for x in (query, key, value)])


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
    entering = _plain(x) if call.arg("norm_first", False) else x
    cost, terms = _attended(call, b, length, length, d, heads)
    cost += _biased(b, length, 3 * d)
    cost += Cost(5 * n + 4 * rows + 2 * n, macs=n, acs=3 * n) * 2  # norms
    cost += Cost(2 * n, acs=2 * n)  # residuals
    cost += Cost(rows * (f + d))  # biases, by addmm
    cost += cost_of("gelu" if call.arg("use_gelu", False) else "relu") * (rows * f)
    return _joined(call, cost, terms + 2 * rows * d * f, [_projected(entering, 3 * d)])


def _plain(x: Operand) -> Operand:
    """Return an operand of its shape that is no spikes: what a norm hands on."""
    return Operand(x.slot, "", None, x.shape, x.dtype, x.numel, x.bytes, spikes=False)


def _joined(
    call: Call, cost: Cost, terms: int, projections: Iterable[tuple[Figure, Figure, int]]
) -> Figures:
    """Return the figures of a layer.

    Args:
        call: the call.
        cost: of all but the products.
        terms: multiplications of the inner products.
        projections: (MACs, ACs, dense MACs) of those of the operands.
    """
    macs, driven, dense = zip(*projections, strict=True)
    dense_macs, synops = terms + sum(dense), added(*driven)
    return Figures(
        2 * dense_macs + cost.flops,
        call.moved,
        synops,
        added(*macs, terms + cost.macs),
        added(synops, cost.acs),
        dense_macs=dense_macs,
    )


RULES: tuple[OpRule, ...] = (
    OpRule("fused layer", aten("_native_multi_head_attention"), multi_head),
    OpRule("fused layer", aten("_transformer_encoder_layer_fwd"), encoder_layer),
)
