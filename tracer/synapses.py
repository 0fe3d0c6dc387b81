"""What spikes meet in a product or a convolution: exact counts from the input's nonzero mask.

A convolution's fan-out separates: how many output positions read a column does not depend on the
row. It is the mask's count by position, weighted by one small vector for each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .geometries import Geometry


def readers(
    n: int, m: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> Any:
    """Count, for each of `n` input positions, the output positions of `m` that it meets.

    A convolution's output o reads input o*stride - padding + k*dilation; a transposed one's input i
    writes output i*stride - padding + k*dilation.
    """
    counts = np.zeros(n, np.int64)
    positions = np.arange(n if transposed else m) * stride - padding
    for k in range(kernel):
        hit = positions + k * dilation
        if transposed:
            counts += (hit >= 0) & (hit < m)
        else:
            np.add.at(counts, hit[(hit >= 0) & (hit < n)], 1)
    return counts


def writers(
    n: int, m: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> Any:
    """Count, for each of `m` output positions, the input positions of `n` that it meets."""
    counts = np.zeros(m, np.int64)
    positions = np.arange(n if transposed else m) * stride - padding
    for k in range(kernel):
        hit = positions + k * dilation
        if transposed:
            np.add.at(counts, hit[(hit >= 0) & (hit < m)], 1)
        else:
            counts += (hit >= 0) & (hit < n)
    return counts


def _by_position(mask: Any) -> Any:
    """Sum a (batch, channels, ...) mask of 0 and 1 over batch and channels, as int64."""
    batch, channels = mask.shape[:2]
    flat = mask.reshape(batch, -1)
    total = np.zeros(flat.shape[1] // max(channels, 1), np.int64)
    for start in range(0, batch, 255):  # 255 ones fit into a byte
        summed = np.add.reduce(flat[start : start + 255], axis=0, dtype=np.uint8)
        total += np.add.reduce(summed.reshape(channels, -1), axis=0, dtype=np.uint32)
    return total


def pairs_by_row(counts: Any, vectors: Sequence[Any]) -> Any:
    """Weight (rows, positions) counts by one vector for each dimension; one sum for each row."""
    rows = counts.shape[0]
    for vector in reversed(vectors):
        counts = counts.reshape(rows, -1, vector.size) @ vector
    return counts.reshape(rows)


class Reach:
    """The vectors of one geometry, made once."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        dims = list(
            zip(g.inputs, g.outputs, g.kernel, g.stride, g.padding, g.dilation, strict=True)
        )
        self.forward = [readers(n, m, k, s, p, d, g.transposed) for n, m, k, s, p, d in dims]
        self.backward = [writers(n, m, k, s, p, d, g.transposed) for n, m, k, s, p, d in dims]

    def fanout(self, mask: Any) -> int:
        """Count (nonzero input, output) pairs; `mask` is (batch, c_in, *inputs) of uint8."""
        g = self.geometry
        return int(pairs_by_row(_by_position(mask)[None], self.forward)[0]) * (g.c_out // g.groups)

    def dense_fanout(self, batch: int) -> int:
        """Count the pairs of an input without zeros."""
        g = self.geometry
        pairs = 1
        for vector in self.forward:
            pairs *= int(vector.sum())
        return batch * g.c_in * pairs * (g.c_out // g.groups)

    def grad_fanout(self, mask: Any) -> int:
        """Count (nonzero output gradient, input gradient) pairs; mask (batch, c_out, *outputs)."""
        g = self.geometry
        return int(pairs_by_row(_by_position(mask)[None], self.backward)[0]) * (g.c_in // g.groups)

    def dense_grad_fanout(self, batch: int) -> int:
        """Count the pairs of an output gradient without zeros."""
        g = self.geometry
        pairs = 1
        for vector in self.backward:
            pairs *= int(vector.sum())
        return batch * g.c_out * pairs * (g.c_in // g.groups)

    def pooled(self, mask: Any, first: int = 1) -> Any:
        """Tell for each output position whether its receptive field holds a nonzero element.

        Args:
            mask: uint8 or bool, an array or a tensor, whose dimensions from `first` are the inputs.
            first: place of the first of them.

        Returns:
            The same with the outputs in their place.
        """
        g = self.geometry
        for axis, (m, kernel, stride, padding, dilation) in enumerate(
            zip(g.outputs, g.kernel, g.stride, g.padding, g.dilation, strict=True), start=first
        ):
            mask = _pool_axis(mask, axis, m, kernel, stride, padding, dilation, g.transposed)
        return mask


reach_of = lru_cache(maxsize=4096)(Reach)
"""Return the vectors of a geometry; they are made once."""


def _pool_axis(
    mask: Any,
    axis: int,
    m: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    transposed: bool,
) -> Any:
    """Or together, along one axis, the input positions that an output position meets."""
    n = mask.shape[axis]
    shape = (*mask.shape[:axis], m, *mask.shape[axis + 1 :])
    out = np.zeros(shape, np.uint8) if isinstance(mask, np.ndarray) else mask.new_zeros(shape)
    before = (slice(None),) * axis
    for k in range(kernel):
        shift = k * dilation - padding
        if transposed:  # input i writes output i*stride + shift
            first = max(0, -(shift // stride))
            last = min(n - 1, (m - 1 - shift) // stride)
            if first > last:
                continue
            target = slice(first * stride + shift, last * stride + shift + 1, stride)
            source = slice(first, last + 1)
        else:  # output o reads input o*stride + shift
            first = max(0, -(shift // stride))
            last = min(m - 1, (n - 1 - shift) // stride)
            if first > last:
                continue
            target = slice(first, last + 1)
            source = slice(first * stride + shift, last * stride + shift + 1, stride)
        part = out[(*before, target)]
        part |= mask[(*before, source)]
    return out


def active_outputs(reach: Reach, mask: Any) -> int:
    """Count output elements that meet at least one nonzero input element."""
    g = reach.geometry
    grouped = mask.reshape(mask.shape[0] * g.groups, g.c_in // g.groups, *mask.shape[2:])
    sites = reach.pooled(_positions_first(np.bitwise_or.reduce(grouped, axis=1)), first=0)
    return int(np.count_nonzero(sites)) * (g.c_out // g.groups)


def _positions_first(mask: Any) -> Any:
    """Return (rows, ...) as (..., rows): what is shifted then lies in long runs."""
    return np.ascontiguousarray(np.moveaxis(mask, 0, -1))
