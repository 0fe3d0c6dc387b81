"""Attention kernels: scores q·kᵀ, their softmax, and its product with v, in one op.

Causal masks count as dense, as in torch's FlopCounterMode: b·h·q·k scores, whatever is masked.
Beside the products: the scale, the mask's addition, the softmax and dropout; backward the scores
and the softmax are computed again.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from .amount import Amount
from .call import Call, Operand
from .rule import Figure, Figures, OpRule, added, aten

_HEADS_SECOND = ("_scaled_dot_product", "_cudnn_attention", "flex_attention")
"""Kernels of (batch, heads, sequence, size); the others': (batch, sequence, heads, size)."""


_LENGTHS = "cum_seq_q cum_seq_k cu_seqlens_q cu_seqlens_k seqused_k seqlen_k".split()
"""Operands that hold the lengths of sequences."""


class Sizes(NamedTuple):
    """What an attention multiplies.

    Attributes:
        rows: queries, all heads and samples.
        q: queries of a head and sample.
        keys: keys of a head and sample.
        d_q: size of a query.
        d_v: size of a value.
        shared: heads of queries that share a head of keys.
    """

    rows: int
    q: int
    keys: int
    d_q: int
    d_v: int
    shared: int = 1

    @property
    def scores(self) -> int:
        """Pairs of a query and a key."""
        return self.rows * self.keys


def sizes_of(call: Call, q: Operand, k: Operand, v: Operand) -> Sizes | None:
    """Return the sizes; None where lengths are in the data: sequences packed one after another."""
    if not call.base.startswith(_HEADS_SECOND):
        if any(call.named(name) for name in _LENGTHS) or len(q.shape) != 4:
            return None
        (b, s, h, d), keys, kv_heads = q.shape, k.dim(1), k.dim(2)
        return Sizes(b * h * s, s, keys, d, v.dim(-1), max(h // max(kv_heads, 1), 1))
    if call.base.startswith("_cudnn_attention") and call.named("cum_seq_q") and len(q.shape) != 4:
        return None
    heads, kv_heads = q.dim(-3), k.dim(-3)
    shared = max(heads // max(kv_heads, 1), 1)
    return Sizes(prod(q.shape[:-1]), q.dim(-2), k.dim(-2), q.dim(-1), v.dim(-1), shared)


def multiplications(call: Call) -> int | None:
    """Return b·h·q·k·(d_q + d_v), backward b·h·q·k·(3·d_q + 2·d_v); None: see `sizes_of`."""
    sizes = sizes_of(call, *factors_of(call))
    if sizes is None:
        return None
    queries, values = (3, 2) if call.base.endswith("_backward") else (1, 1)
    return sizes.scores * (queries * sizes.d_q + values * sizes.d_v)


def forward(call: Call) -> Figures:
    """Return the counters of a forward pass: 2·b·h·q·k·(d_q + d_v), scale and softmax."""
    q, k, v = factors_of(call)
    sizes = sizes_of(call, q, k, v)
    if sizes is None:
        return Figures(None, call.moved, None, None, None)
    macs, acs = products(sizes, q, k, v)
    flops, more = around(sizes, masked=_mask(call), dropped=_drops(call))
    flops += 2 * sizes.scores * (sizes.d_q + sizes.d_v)
    return Figures(flops, call.moved, acs, macs, added(acs, more))


def factors_of(call: Call) -> tuple[Operand, Operand, Operand]:
    """Return query, key and value."""
    first = next((o.slot for o in call.ins.values() if o.name in ("query", "q")), 0)
    return call.ins[first], call.ins[first + 1], call.ins[first + 2]


def _drops(call: Call) -> bool:
    return not call.is_number("dropout_p", 0, 0)


def _mask(call: Call) -> bool:
    return any(call.named(name) for name in ("attn_mask", "attn_bias", "bias", "mask"))


def products(sizes: Sizes, q: Operand, k: Operand, v: Operand) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of both products; the softmax is no spikes."""
    if q.spikes is None or k.spikes is None or v.spikes is None:
        return None, None
    macs = 0
    acs: Amount | int = 0
    if q.spikes and k.spikes:
        return None, None  # how many of both meet was not recorded
    if q.spikes:
        assert q.nonzero is not None
        acs = acs + q.nonzero * sizes.keys
    elif k.spikes:
        assert k.nonzero is not None
        acs = acs + k.nonzero * (sizes.q * sizes.shared)
    else:
        macs += sizes.scores * sizes.d_q
    if v.spikes:
        assert v.nonzero is not None
        acs = acs + v.nonzero * (sizes.q * sizes.shared)
    else:
        macs += sizes.scores * sizes.d_v
    return macs, acs


def around(sizes: Sizes, *, masked: bool = False, dropped: bool = False) -> tuple[int, int]:
    """Return (FLOPs, ACs) of scale, mask, softmax and dropout.

    Scale s of s scores; mask s; softmax 5s - 2·rows (see `reductions.soft_maximum`); dropout 2s.
    """
    s, rows = sizes.scores, sizes.rows
    flops = s + (s if masked else 0) + 5 * s - 2 * rows + (2 * s if dropped else 0)
    return flops, (s if masked else 0) + s + (s - rows)


def backward(call: Call) -> Figures:
    """Return the counters of a backward pass: 2·b·h·q·k·(3·d_q + 2·d_v), and the softmax's.

    Products: scores again, v's gradient, the softmax's, q's and k's. Beside them, of s scores:
    scale, deviation, exponential s each; the softmax's gradient 2s, less the rows' sums of
    gradient·result (2·d_v - 1 a row); its scale s; mask s; dropout 2s.
    """
    q, k, v = factors_of(call)
    sizes = sizes_of(call, q, k, v)
    if sizes is None:
        return Figures(None, call.moved, None, None, None)
    s, rows = sizes.scores, sizes.rows
    masked, dropped = _mask(call), _drops(call)
    terms = s * (3 * sizes.d_q + 2 * sizes.d_v)
    flops = 2 * terms + 6 * s + rows * (2 * sizes.d_v - 1)
    flops += (s if masked else 0) + (2 * s if dropped else 0)
    macs, driven = _backward_products(sizes, _gradient(call), q, k, v)
    acs = added(driven, 2 * s + (s if masked else 0))
    return Figures(flops, call.moved, driven, added(macs, rows * sizes.d_v), acs, dense_macs=terms)


def _gradient(call: Call) -> Operand:
    """Return the gradient of the result."""
    names = ("grad_out", "grad_out_", "grad_output")
    return next((o for o in call.ins.values() if o.name in names), call.ins[0])


def _backward_products(
    sizes: Sizes, grad: Operand, q: Operand, k: Operand, v: Operand
) -> tuple[Figure, Figure]:
    """Return (MACs, accumulations driven by spikes) of the five products."""
    if any(o.spikes is None for o in (grad, q, k, v)):
        return None, None
    if (q.spikes and k.spikes) or (grad.spikes and v.spikes):
        return None, None
    macs, s = 0, sizes.scores
    acs: Amount | int = 0
    # (first factor, second factor or None for scores, size that is summed or spread over)
    for first, second, size in (
        (q, k, sizes.d_q),
        (grad, None, sizes.d_v),
        (grad, v, sizes.d_v),
        (k, None, sizes.d_q),
        (q, None, sizes.d_q),
    ):
        spiking = (
            first if first.spikes else second if second is not None and second.spikes else None
        )
        if spiking is None:
            macs += s * size
        else:
            assert spiking.nonzero is not None
            many = sizes.keys if spiking is q or spiking is grad else sizes.q * sizes.shared
            acs = acs + spiking.nonzero * many
    return macs, acs


_KERNELS = (
    "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable"
)
_INNER = "_flash_attention _efficient_attention _cudnn_attention"

RULES: tuple[OpRule, ...] = (
    OpRule(
        "attention",
        (
            *aten(_KERNELS),
            *aten(" ".join(f"{kernel}_forward" for kernel in _INNER.split())),
            *aten("_scaled_dot_product_attention_math _scaled_dot_product_attention_math_for_mps"),
            *aten("_flash_attention_forward_no_dropout_inplace"),
            "flex_attention",
        ),
        forward,
    ),
    OpRule(
        "attention backward",
        (
            *aten(" ".join(f"{kernel}_backward" for kernel in (_KERNELS + " " + _INNER).split())),
            "flex_attention_backward",
        ),
        backward,
    ),
)
