"""The geometry of a convolution, from the shapes and arguments of its call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution's geometry, forward, without the batch.

    Attributes:
        kernel, stride, padding, dilation: one entry for each spatial dimension.
        transposed: whether it is a transposed convolution.
        inputs, outputs: spatial sizes.
        groups: groups of channels.
        c_in, c_out: channels in all.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    groups: int
    c_in: int
    c_out: int


def geometry_of(x: tuple[int, ...], w: tuple[int, ...], arguments: dict[str, Any]) -> Geometry:
    """Return the geometry of a convolution.

    Args:
        x: shape of the input.
        w: shape of the weights.
        arguments: the other arguments by their names in the schema.
    """
    spatial = len(w) - 2

    def each(name: str, default: int) -> tuple[int, ...]:
        found = tuple(arguments.get(name) or (default,))
        return found if len(found) == spatial else found * spatial

    transposed = bool(arguments.get("transposed", False))
    groups = int(arguments.get("groups") or 1)
    stride, padding, dilation = each("stride", 1), each("padding", 0), each("dilation", 1)
    extra = each("output_padding", 0)
    kernel = tuple(w[2:])
    inputs = tuple(x[2:])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        outputs = tuple(
            (n - 1) * s - 2 * p + r + e
            for n, s, p, r, e in zip(inputs, stride, padding, reach, extra, strict=True)
        )
        c_out = w[1] * groups
    else:
        outputs = tuple(
            (n + 2 * p - r) // s + 1
            for n, s, p, r in zip(inputs, stride, padding, reach, strict=True)
        )
        c_out = w[0]
    return Geometry(
        kernel, stride, padding, dilation, transposed, inputs, outputs, groups, x[1], c_out
    )
