"""Products, convolutions and batch norms among the signatures, with the sizes that they have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

Shape = tuple[int, ...]

MATMULS = {
    "aten.mm": 0, "aten.bmm": 0, "aten.addmm": 1, "aten.baddbmm": 1,
    "aten.mv": 0, "aten.dot": 0, "aten.addmv": 1,
}  # fmt: skip
"""Packet -> input slot of the first factor; the second follows it."""

CONVOLUTIONS = ("aten.convolution", "aten._convolution", "aten.cudnn_convolution",
                "aten.convolution_overrideable")  # fmt: skip

CONVOLUTION_BACKWARDS = ("aten.convolution_backward", "aten.convolution_backward_overrideable")

NORMS = ("aten.native_batch_norm", "aten._native_batch_norm_legit",
         "aten._native_batch_norm_legit_no_training", "aten._native_batch_norm_legit_functional",
         "aten.cudnn_batch_norm", "aten.miopen_batch_norm", "aten._batch_norm_with_update",
         "aten._batch_norm_with_update_functional", "aten._batch_norm_no_update")  # fmt: skip

NORM_BACKWARDS = {
    "aten.native_batch_norm_backward": 1, "aten.batch_norm_backward": 1,
    "aten.cudnn_batch_norm_backward": 0, "aten.miopen_batch_norm_backward": 0,
}  # fmt: skip
"""Packet -> input slot of the forward's input."""


class Operand(NamedTuple):
    """A tensor of a call: its shape, and whether autograd follows it."""

    shape: Shape
    requires_grad: bool

    @property
    def numel(self) -> int:
        """Elements."""
        return prod(self.shape)


class Matmul(NamedTuple):
    """A product of matrices, (batch) m x k by k x n.

    Attributes:
        op: the aten op.
        first: the first factor.
        second: the second factor.
        out: the result.
        slots: input slots of the factors and of what is added, if anything is.
    """

    op: str
    first: Operand
    second: Operand
    out: Operand
    slots: tuple[int, int, int | None] = (0, 1, None)

    @property
    def k(self) -> int:
        """Length of the sums."""
        return self.first.shape[-1] if self.first.shape else 1

    @property
    def n(self) -> int:
        """Columns of the second factor."""
        return self.second.shape[-1] if len(self.second.shape) > 1 else 1

    @property
    def rows(self) -> int:
        """Rows of the first factor, over the whole batch."""
        return self.first.numel // self.k if self.k else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.k * self.n


class Convolution(NamedTuple):
    """A convolution, or its backward.

    Attributes:
        op: the aten op.
        x: the input.
        weight: the weights.
        out_shape: shape of the output; of a backward, of its gradient.
        groups: groups.
        stride, padding, dilation: geometry, one number a dimension.
        transposed: it is a transposed one.
        wanted: which gradients of input and weight a backward gives.
        slots: input slots of input, weights and bias.
    """

    op: str
    x: Operand
    weight: Operand
    out_shape: Shape
    groups: int
    stride: Shape
    padding: Shape
    dilation: Shape
    transposed: bool
    wanted: tuple[bool, bool] = (False, False)
    slots: tuple[int, int, int | None] = (0, 1, 2)

    @property
    def kernel(self) -> Shape:
        """Kernel size."""
        return self.weight.shape[2:]

    @property
    def spatial(self) -> int:
        """Dimensions in space."""
        return len(self.x.shape) - 2

    @property
    def backward(self) -> bool:
        """Whether it is the backward of a convolution."""
        return self.slots[0] == 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward, and of each gradient, as PyTorch does them."""
        places = self.x.shape if self.transposed else self.out_shape
        sums = self.channels[0] * self.channels[1] // self.groups * prod(self.kernel)
        return places[0] * prod(places[2:]) * sums

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out."""
        return self.x.shape[1], self.out_shape[1]


class Norm(NamedTuple):
    """A batch norm, or its backward.

    Attributes:
        op: the aten op.
        shape: of the input.
        slot: input slot of the forward's input.
        backward: it is a backward.
    """

    op: str
    shape: Shape
    slot: int = 0
    backward: bool = False

    @property
    def spatial(self) -> int:
        """Dimensions in space."""
        return max(len(self.shape) - 2, 0)


Product = Matmul | Convolution | Norm


def product_of(signature: Mapping[str, Any]) -> Product | None:
    """Return what a signature multiplies or normalises; None if it is something else.

    A product with a sparse operand is something else: its shapes do not tell what it multiplies.
    """
    packet, op = signature["packet"], signature["op"]
    if packet not in _PRODUCTS or signature.get("stored"):
        return None
    tensors = {
        (o["role"], o["slot"]): Operand(tuple(o["shape"]), bool(o["requires_grad"]))
        for o in signature["operands"]
        if o["shape"] is not None
    }
    if packet in MATMULS:
        slot = MATMULS[packet]
        x, w, out = (tensors.get(key) for key in (("in", slot), ("in", slot + 1), ("out", 0)))
        if x is None or w is None or out is None:
            return None
        return Matmul(op, x, w, out, (slot, slot + 1, 0 if slot else None))
    if packet in NORMS or packet in NORM_BACKWARDS:
        slot = NORM_BACKWARDS.get(packet, 0)
        x = tensors.get(("in", slot))
        return Norm(op, x.shape, slot, packet in NORM_BACKWARDS) if x else None
    return _convolution(packet, op, tensors, json.loads(signature["arguments"]))


_PRODUCTS = frozenset((*MATMULS, *NORMS, *NORM_BACKWARDS, *CONVOLUTIONS, *CONVOLUTION_BACKWARDS))


def valid_pairs(signature: Mapping[str, Any]) -> dict[str, int] | None:
    """Return how many pairs of an input and a weight element meet in a forward product.

    Padding is no input: of a convolution these are fewer than its multiply-accumulates.

    Returns:
        `pairs`, and `input`, the elements of the input; None of anything else.
    """
    one = product_of(signature)
    if isinstance(one, Matmul):
        return {"pairs": one.macs, "input": one.first.numel}
    if not isinstance(one, Convolution) or one.backward:
        return None
    return {"pairs": _taps(one), "input": one.x.numel}


def meeting_pairs(signature: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how many pairs of elements of a product's factors meet, also of a backward pass.

    Returns:
        `pairs`, `x` and `w` (slots of the input and of the weights) and `back` (it is the backward
        pass of a convolution, whose gradient is in slot 0); None of anything else.
    """
    one = product_of(signature)
    if isinstance(one, Matmul):
        return {"pairs": one.macs, "x": one.slots[0], "w": one.slots[1], "back": False}
    if isinstance(one, Convolution):
        x, w, _ = one.slots
        return {"pairs": _taps(one), "x": x, "w": w, "back": one.backward}
    return None


def _taps(one: Convolution) -> int:
    """Return the pairs of an input and an output element that meet: padding is no input."""
    pairs = one.x.shape[0] * one.channels[0] * one.channels[1] // one.groups
    places = zip(one.x.shape[2:], one.out_shape[2:], one.kernel, one.stride, one.padding,
                 one.dilation, strict=True)  # fmt: skip
    for n, m, kernel, stride, padding, dilation in places:
        near, far = (n, m) if one.transposed else (m, n)  # far = near·stride - padding + k·dilation
        hits = (i * stride - padding + k * dilation for i in range(near) for k in range(kernel))
        pairs *= sum(0 <= hit < far for hit in hits)
    return pairs


def _convolution(
    packet: str, op: str, tensors: Mapping[tuple[str, int], Operand], arguments: Mapping[str, Any]
) -> Convolution | None:
    backward = packet in CONVOLUTION_BACKWARDS
    x, weight = (tensors.get(("in", slot + backward)) for slot in (0, 1))
    out = tensors.get(("in", 0) if backward else ("out", 0))
    if x is None or weight is None or out is None:
        return None
    mask = (arguments.get("output_mask") or [False, False]) if backward else [False, False]
    dims = len(x.shape) - 2
    stride, padding, dilation = (
        _each(arguments.get(name, default), dims)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    return Convolution(
        op=op,
        x=x,
        weight=weight,
        out_shape=out.shape,
        groups=int(arguments.get("groups", 1)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        transposed=bool(arguments.get("transposed", False)),
        wanted=(bool(mask[0]), bool(mask[1])),
        slots=(1, 2, None) if backward else (0, 1, 2),
    )


def _each(value: Any, dims: int) -> Shape:
    """Return one number a dimension, from one or as many."""
    given = [value] if isinstance(value, int) else list(value)
    return tuple(given * dims if len(given) == 1 else given)
