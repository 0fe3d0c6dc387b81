"""What spikes meet in a product or a convolution: exact counts from the input's nonzero mask.

A convolution's fan-out separates: how many output positions read a column does not depend on the
row. It is the mask's count by position, weighted by one small vector for each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..schemas import TILE_WIDTHS


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


def _pairs(counts: Any, vectors: Sequence[Any]) -> Any:
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
        return int(_pairs(_by_position(mask)[None], self.forward)[0]) * (g.c_out // g.groups)

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
        return int(_pairs(_by_position(mask)[None], self.backward)[0]) * (g.c_in // g.groups)

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


@dataclass(frozen=True, slots=True)
class Crossbar:
    """What a crossbar sees of a 2-d convolution without groups.

    Attributes:
        sites: output positions whose receptive field holds a nonzero element.
        patches: by tile width, (output position, channel tile) pairs with a nonzero element.
        rows: by tile of the smallest width, (nonzero element, output position) pairs.
    """

    sites: int
    patches: list[int]
    rows: list[int]


def crossbar(reach: Reach, mask: Any) -> Crossbar:
    """Measure `mask`, (batch, c_in, height, width) of uint8, for every tile width.

    Pooling and joining channels may change places: the tiles of the smallest width are pooled, the
    wider ones are joined from those.
    """
    tiles = _joined(mask, TILE_WIDTHS[0])
    met = reach.pooled(np.ascontiguousarray(tiles.transpose(2, 3, 1, 0)), first=0)
    patches = [int(np.count_nonzero(met.view(np.bool_)))]
    for _ in TILE_WIDTHS[1:]:
        if met.shape[2] > 1:
            met = _halved(met)
            patches.append(int(np.count_nonzero(met.view(np.bool_))))
        else:
            patches.append(patches[-1])  # one tile already
    sites = np.bitwise_or.reduce(met, axis=2) if met.shape[2] > 1 else met
    return Crossbar(int(np.count_nonzero(sites)), patches, _rows(reach, mask))


def no_crossbar(reach: Reach) -> Crossbar:
    """Return what is measured of an input of zeros."""
    tiles = -(-reach.geometry.c_in // TILE_WIDTHS[0])
    return Crossbar(0, [0] * len(TILE_WIDTHS), [0] * tiles)


def _rows(reach: Reach, mask: Any) -> list[int]:
    """Count (nonzero element, output position) pairs by tile of the smallest width."""
    batch, channels = mask.shape[:2]
    width = TILE_WIDTHS[0]
    whole = channels // width * width
    flat = mask.reshape(batch, channels, -1)
    counts = np.zeros((-(-channels // width), flat.shape[2]), np.int64)
    for start in range(0, batch, 255 // width):  # so that a byte holds a tile's ones
        summed = np.add.reduce(flat[start : start + 255 // width], axis=0, dtype=np.uint8)
        if whole:
            tiles = summed[:whole].reshape(-1, width, flat.shape[2])
            counts[: len(tiles)] += np.add.reduce(tiles, axis=1, dtype=np.uint8)
        if whole < channels:
            counts[-1] += np.add.reduce(summed[whole:], axis=0, dtype=np.uint8)
    rows: list[int] = _pairs(counts, reach.forward).tolist()
    return rows


def _joined(mask: Any, width: int) -> Any:
    """Or together `width` neighbouring channels, a power of 2; the last group may be smaller."""
    batch, channels = mask.shape[:2]
    whole, rest = divmod(channels, width)
    joined = np.empty((batch, -(-channels // width), *mask.shape[2:]), np.uint8)
    if whole:
        grouped = mask[:, : whole * width].reshape(batch, whole, width, *mask.shape[2:])
        while width > 1:
            width //= 2
            grouped = grouped[:, :, :width] | grouped[:, :, width:]
        joined[:, :whole] = grouped[:, :, 0]
    if rest:
        np.bitwise_or.reduce(mask[:, channels - rest :], axis=1, out=joined[:, whole])
    return joined


def _halved(met: Any) -> Any:
    """Or together pairs of neighbours along the third axis; the last may stay alone."""
    halved = met[:, :, 0::2].copy()
    others = met[:, :, 1::2]
    part = halved[:, :, : others.shape[2]]
    part |= others
    return halved
