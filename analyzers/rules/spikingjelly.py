"""What two revisions of SpikingJelly's op_counter count, op by op, oddities included.

They know ops by exact overload; every other op counts nothing. Where they are faulty the fault is
kept: figures that were published with them can then be reproduced. `full` is the cure.
"""

from __future__ import annotations

from functools import partial

from . import attention, convolutions, elementwise, normalisation, pooling, products, reductions
from .call import Call
from .rule import Figures, OpRule


def _named(text: str, overloads: str = "") -> tuple[str, ...]:
    names = text.split()
    if overloads:
        names = [f"{name}.{overload}" for name in names for overload in overloads.split()]
    return tuple(f"aten.{n}" if "." in n else f"aten.{n}.default" for n in names)


def _added(call: Call) -> Figures:
    """Return the counters of additions, of which statistics are taken after the call.

    So an in-place op's first operand is its result.
    """
    first = call.outs.get(0) if call.in_place else call.ins.get(0)
    found = elementwise.sum_of(call, first, call.ins.get(1))
    if call.op == "aten.rsub.Scalar":  # its alpha is not looked for where it stands
        return found._replace(flops=call.out.numel)
    return found


def _convolved(call: Call, *, pairwise: bool) -> Figures:
    return convolutions.convolution(call, pairwise=pairwise)


def _convolved_back(call: Call, *, pairwise: bool) -> Figures:
    """Backward: the gradient of a grouped weight g times too high; no MACs, no ACs.

    Pairwise (August 2026) the elements of each gradient are subtracted.
    """
    grad, x, w = call.ins[0], call.ins[1], call.ins[2]
    terms = convolutions.multiplications(x, w, grad, bool(call.arg("transposed", False)))
    grad_input, grad_weight, grad_bias = convolutions.wanted(call)
    flops = 0
    if grad_input:
        flops += 2 * terms - (x.numel if pairwise else 0)
    if grad_weight:
        flops += 2 * terms * call.arg("groups", 1) - (w.numel if pairwise else 0)
    if grad_bias:
        flops += grad.numel - grad.dim(1)
    return Figures(flops=flops, bytes=convolutions.backward_bytes(call))


def _normalised_back(call: Call) -> Figures:
    """Batch norm's backward: only what is read counts as moved."""
    grad_input, grad_weight, grad_bias = normalisation.wanted(call)
    size = {name: _bytes(call, name) for name in ("grad_out", "input", "weight")}
    mean, invstd = _bytes(call, "save_mean"), _bytes(call, "save_invstd")
    if normalisation.trains(call):
        if grad_input:
            moved = sum(size.values()) + mean + invstd
        elif grad_weight:
            moved = size["grad_out"] + size["input"] + mean + invstd
        else:
            moved = size["grad_out"] if grad_bias else 0
    else:
        moved = size["grad_out"] if grad_input or grad_weight or grad_bias else 0
        moved += invstd if grad_input or grad_weight else 0
        moved += size["weight"] if grad_input else 0
        moved += size["input"] + mean if grad_weight else 0
    return Figures(flops=normalisation.backward_flops(call), bytes=moved)


def _bytes(call: Call, name: str) -> int:
    found = call.named(name)
    return found.bytes if found else 0


def _pooled_back(call: Call) -> Figures:
    """Return maximum pooling's backward: no FLOPs; its indices are taken for its input's bytes."""
    return Figures(bytes=call.ins[0].bytes + call.ins[1].bytes + call.written)


def _moves(call: Call) -> Figures:
    return Figures(bytes=call.moved)


def _writes(call: Call) -> Figures:
    return Figures(bytes=call.written)


def _nothing(call: Call) -> Figures:
    return Figures()


def _attention(call: Call) -> Figures:
    """Return fused attention (2.0 only): its operands, its mask, and what it is for are moved.

    Forward that is the first result; backward the gradients of all that have one.
    """
    backward = call.base.endswith("_backward")
    operands = [call.ins[slot] for slot in range(3 + backward)]
    mask = call.named("attn_mask") or call.named("attn_bias")
    operands += [mask] if mask else []
    operands += call.outs.values() if backward else [call.out]
    moved = sum(o.bytes for o in operands)
    terms = attention.multiplications(call)
    return Figures(flops=None if terms is None else 2 * terms, bytes=moved)


_TENSORS = "Tensor Scalar"
_ADDED = _named("add add_ sub sub_ rsub", _TENSORS)
_EACH = (
    *_named("mul mul_ div div_", _TENSORS),
    *_named("neg neg_ logical_and logical_or logical_xor logical_not"),
)
_KERNELS = "flash_attention flash_attention_for_cpu efficient_attention cudnn_attention"


def _attentions(way: str) -> tuple[str, ...]:
    return _named(" ".join(f"_scaled_dot_product_{kind}{way}" for kind in _KERNELS.split()))


def _common(pairwise: bool) -> tuple[OpRule, ...]:
    """Return the rules of both revisions; 2026-08 counts the sums of products pairwise."""
    product = partial(products.product, pairwise=pairwise)
    return (
        OpRule("product", _named("mm bmm"), partial(product, x=0, w=1)),
        OpRule("product", _named("addmm baddbmm"), partial(product, x=1, w=2, bias=0)),
        OpRule("convolution", _named("convolution"), partial(_convolved, pairwise=pairwise)),
        OpRule(
            "convolution backward",
            _named("convolution_backward"),
            partial(_convolved_back, pairwise=pairwise),
        ),
        OpRule("batch norm", _named("native_batch_norm"), normalisation.batch_norm),
        OpRule("batch norm backward", _named("native_batch_norm_backward"), _normalised_back),
        OpRule("pooling", _named("max_pool2d_with_indices"), pooling.maximum),
        OpRule("pooling backward", _named("max_pool2d_with_indices_backward"), _pooled_back),
        OpRule("pooling", _named("avg_pool2d"), pooling.average),
        OpRule("sum", _named("sum sum.dim_IntList"), reductions.total),
        OpRule("mean", _named("mean.dim"), reductions.mean),
        OpRule("addition", _ADDED, _added),
        OpRule("arithmetic", _EACH, elementwise.each),
        OpRule("comparison", _named("eq ne lt le gt ge", _TENSORS), elementwise.each),
        OpRule("function", _named("sigmoid_"), partial(elementwise.each, flops=4, acs=1)),
        OpRule("copy", _named("stack clone _to_copy select_backward"), _moves),
        OpRule("factory", _named("full_like ones_like"), _writes),
        OpRule(
            "view",
            _named("view empty.memory_format select.int detach t expand"),
            _nothing,
            free=True,
        ),
    )


RELEASE: tuple[OpRule, ...] = (
    *_common(pairwise=False),
    OpRule("function", _named("sigmoid"), partial(elementwise.each, flops=4)),
    OpRule("view", _named("unsqueeze squeeze.dim unbind.int"), _nothing, free=True),
    OpRule("attention", _attentions(""), _attention),
    OpRule("attention backward", _attentions("_backward"), _attention),
)
"""Revision spikingjelly-2.0, the release 2.0.0."""

TUTORIAL: tuple[OpRule, ...] = _common(pairwise=True)
"""Revision spikingjelly-2026-08, which its tutorial documents."""

RULES = {"spikingjelly-2.0": RELEASE, "spikingjelly-2026-08": TUTORIAL}
"""Rules by the name of their set; `sets` alone reads it."""

NEUROMC_CHARGED = frozenset(
    _named("mm bmm addmm convolution native_batch_norm native_batch_norm_backward")
)
"""Ops that its NeuroMC, in both revisions, has fragments for; what backward convolutions cost goes
by modules."""

NEUROMC_FREE = frozenset(
    (
        *_named("eq ne lt le gt ge add add_ sub sub_ rsub mul mul_ div div_", _TENSORS),
        *_named("detach view t permute expand alias _unsafe_view as_strided squeeze unsqueeze"),
        *_named("clone copy_ sqrt sqrt_ rsqrt sigmoid sigmoid_ sum all cat stack full_like"),
        *_named("ones_like zeros_like new_empty_strided lift_fresh _to_copy _local_scalar_dense"),
        *_named("mse_loss mse_loss_backward logical_and logical_or logical_xor logical_not"),
        *_named("select_backward slice_backward view.dtype transpose.int slice.Tensor select.int"),
        *_named("squeeze.dim squeeze.dims unbind.int where.self where.ScalarOther"),
        *_named("where.ScalarSelf where.Scalar sum.dim_IntList mean.dim split.Tensor index.Tensor"),
        *_named("empty.memory_format"),
    )
)
"""Ops that its NeuroMC neither charges nor names; found by running 2.0.0 on each."""

STATE_OPS = {
    name: kind
    for kind, names in {
        "add": "add sub rsub",
        "mul": "mul div",
        "compare": "eq ne lt le gt ge",
        "non_linear": "sigmoid sqrt rsqrt exp tanh",
        "select": "where",
        "copy": "clone copy _to_copy",
    }.items()
    for name in names.split()
}
"""What ops do to the state of a neuron, in or out of place: name -> kind (August 2026)."""

STATE_VIEWS = frozenset(
    "detach view alias _unsafe_view as_strided expand slice select unsqueeze squeeze transpose "
    "permute lift_fresh".split()
)
"""Ops that leave the state of a neuron alone (August 2026)."""

STATE_MAKERS = ("full_like", "zeros_like")
"""Ops that make a neuron's state out of nothing (August 2026)."""
