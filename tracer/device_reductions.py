"""The statistics of tensors on a device by PyTorch's own ops, where Triton is not installed.

A value takes five launches, of floating-point numbers eight. All of a convolution follows from its
input's nonzero mask: summed over the batch and weighted by how many outputs read a position
(fan-out), met with the weights' mask tap by tap (overlap), pooled (active outputs). Products of
integers are sums of 64-bit integers or of exact float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..schemas import TILE_WIDTHS, VALUE_BITS, SpikeClass
from .device_cells import Run, unseen
from .device_synapses import (
    ACTIVE,
    COUNTED,
    MET,
    OVERLAP,
    PAIRS,
    PATCHES,
    ROWS,
    SHARED,
    SITES,
)
from .geometries import Geometry
from .statistics import Statistics, zeros_and_ones
from .synapses import Reach

_B, _T, _S, _W, _C = (int(bit) for bit in SpikeClass if bit in VALUE_BITS)
_CHUNK = 1 << 24
_NUMBERS = 5
_WIDER = {"uint16": torch.int32, "uint32": torch.int64}


class Reductions:
    """Counts by PyTorch's ops.

    Attributes:
        replaceable: whether something else can count where it fails.
    """

    replaceable = False

    def __init__(self) -> None:
        self._taps: dict[Any, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._numbers: dict[Any, torch.Tensor] = {}

    def values(self, tallies: list[Any]) -> None:
        """Count the elements of values."""
        with unseen():
            for tally in tallies:
                layout = tally.value.layout
                flat, kind = _run(tally.tensor, layout), _kind(layout.dtype)
                _count(flat, kind, self._numbers_for(flat, kind), tally.run.tensor())

    def statistics(self, cells: Any, layout: Any) -> Statistics | None:
        """Return what the counts say of a value; None if they cannot tell."""
        return _statistics(cells, layout.distinct, _kind(layout.dtype))

    def meeting(self, question: Any, run: Run) -> int:
        """Count what a mask meets in a convolution; return how many programs do: one."""
        with unseen():
            self._meeting(question, run.tensor())
        return 1

    def multiplied(self, question: Any, run: Run) -> int:
        """Count what meets in a product; return how many programs do: one."""
        with unseen():
            cells = run.tensor()
            mask, other = _mask(question.x.tensor), _mask(question.w.tensor)
            torch.sum(mask.any(-1), dtype=torch.int64, dim=None, out=cells[ACTIVE])
            first = mask if mask.dim() > 1 else mask[None]
            second = other if other.dim() > 1 else other[:, None]
            torch.sum(first.sum(-2) * second.sum(-1), dim=None, out=cells[SHARED])
            cells[::COUNTED].fill_(1)
        return 1

    def _meeting(self, question: Any, cells: torch.Tensor) -> None:
        reach = question.reach
        mask = _mask(question.mask.tensor)
        pairs = self._by_channel(reach, mask, forward=question.forward)
        torch.sum(pairs, dim=None, out=cells[PAIRS])
        if question.crossbar:
            _crossbar(reach, mask, pairs, cells)
        elif question.whole:
            grouped = mask.unflatten(1, (reach.geometry.groups, -1)).any(2).flatten(0, 1)
            torch.sum(reach.pooled(grouped), dim=None, dtype=torch.int64, out=cells[SITES])
        if question.weights is not None:
            weights = _mask(question.weights.tensor)
            cells[OVERLAP].copy_(self._overlap(reach, mask, weights))
            cells[MET].fill_(1)
        cells[0].fill_(1)

    def _numbers_for(self, flat: torch.Tensor, kind: str) -> Any:
        if kind in "cb":
            return None
        key = (flat.device, flat.dtype, kind)
        found = self._numbers.get(key)
        if found is None:
            found = torch.zeros(_NUMBERS, dtype=flat.dtype, device=flat.device)
            found[1].fill_(1)
            found[2].fill_(-1 if kind == "n" else 1)
            self._numbers[key] = found
        return found

    def _taps_of(self, reach: Reach, device: torch.device, *, forward: bool) -> list[torch.Tensor]:
        """Return, by dimension, which taps meet an input (backward: an output): (size, taps)."""
        key = (reach, device)
        found = self._taps.get(key)
        if found is None:
            found = self._taps[key] = _taps(reach.geometry, device)
        return found[0 if forward else 1]

    def _by_channel(self, reach: Reach, mask: torch.Tensor, *, forward: bool) -> torch.Tensor:
        """Count by channel the (nonzero element, position that it meets) pairs, as int64."""
        counts = mask.sum(0, dtype=torch.int64)
        for met in reversed(self._taps_of(reach, mask.device, forward=forward)):
            counts = (counts * met.sum(1)).sum(-1)
        return counts

    def _overlap(self, reach: Reach, mask: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Count the pairs of nonzero inputs and weights that meet: by channel and tap."""
        g = reach.geometry
        counts = mask.sum(0, dtype=torch.int64).to(torch.float64)
        for met in self._taps_of(reach, mask.device, forward=True):  # (c, n, ...) -> (c, ..., taps)
            counts = torch.tensordot(counts, met.to(torch.float64), dims=([1], [0]))
        if g.transposed:
            fan = weights.sum(1, dtype=torch.int64)
        else:
            fan = weights.unflatten(0, (g.groups, -1)).sum(1, dtype=torch.int64).flatten(0, 1)
        return (counts.to(torch.int64) * fan).sum()


def _kind(dtype: torch.dtype) -> str:
    """Return "c" for complex numbers, "b" for bool, "u" for unsigned and "n" for other numbers."""
    if dtype.is_complex:
        return "c"
    if dtype is torch.bool:
        return "b"
    return "n" if dtype.is_signed else "u"


def _run(tensor: torch.Tensor, layout: Any) -> torch.Tensor:
    """Return the elements of a value in one dimension, without repeats."""
    flat = elements(tensor, layout)
    if layout.dtype_name in _WIDER:
        return flat.to(_WIDER[layout.dtype_name])
    if layout.dtype_name == "uint64":
        return flat.view(torch.int64)
    return flat.to(torch.float32) if layout.dtype_name.startswith("float8") else flat


def elements(tensor: torch.Tensor, layout: Any) -> torch.Tensor:
    """Return the elements of a value in one dimension, without repeats, copied if need be."""
    offset = tensor.storage_offset()
    if layout.dense:
        return tensor.as_strided((layout.numel,), (1,), offset)
    strides = [stride // layout.itemsize for stride in layout.expanded_strides]
    return tensor.as_strided(layout.reduced, strides, offset).reshape(-1)


def _count(flat: torch.Tensor, kind: str, numbers: Any, cells: torch.Tensor) -> None:
    """Count zeros, ones, minus ones, as many as the smallest and the largest, fractions.

    Args:
        flat: the elements.
        kind: that of their type.
        numbers: 0, 1, -1 and room for the ends, of the same type.
        cells: where the counts go, and behind them the ends as float64.
    """
    ends = cells[_NUMBERS + 1 :].view(torch.float64)
    if kind in "cb":
        torch.sum(flat != 0, 0, out=cells[0])
        return
    numbers = numbers.clone()
    torch.aminmax(flat, out=(numbers[3], numbers[4]))
    ends.copy_(numbers[3:])
    floats = flat.is_floating_point()
    if flat.numel() <= _CHUNK:
        torch.sum(flat == numbers[:, None], 1, out=cells[:_NUMBERS])
        if floats:
            torch.sum(flat != flat.floor(), 0, out=cells[_NUMBERS])
        return
    for chunk in flat.split(_CHUNK):
        cells[:_NUMBERS] += (chunk == numbers[:, None]).sum(1)
        if floats:
            cells[_NUMBERS] += (chunk != chunk.floor()).sum()


def _statistics(cells: Any, size: int, kind: str) -> Statistics | None:
    """Return what the counts say of a value of `size` elements; None if they cannot tell."""
    if kind in "cb":
        nonzero = int(cells[0])
        return Statistics(0, nonzero) if kind == "c" else zeros_and_ones(nonzero, size)
    zeros, ones, minus, at_low, at_high, fractions = (int(n) for n in cells[: _NUMBERS + 1])
    nonzero, minus = size - zeros, minus if kind == "n" else 0
    if ones == nonzero:
        return zeros_and_ones(nonzero, size)
    low, high = (float(end) for end in cells[_NUMBERS + 1 :].view("f8"))
    if kind == "u" and low < 0:  # numbers past 2^63, read as signed ones
        return None
    bits = (_T | _W) if ones + minus == nonzero else 0
    if (high and at_high == nonzero) or (low and at_low == nonzero):
        bits |= _S | (_C if nonzero == size else 0)
    if fractions == 0 and math.isfinite(low) and math.isfinite(high):
        bits |= _W
    if not bits:
        return Statistics(0, nonzero)
    return Statistics(bits, nonzero, ones, minus, low, high)


def _mask(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1:
        tensor = tensor.to(torch.float32)
    return tensor != 0


def _taps(g: Geometry, device: torch.device) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return, by dimension, which taps meet each input, and which meet each output.

    A tap k joins input i and output o if o*stride - padding + k*dilation = i, transposed with i and
    o changed round; so one tap joins each of the two with at most one of the others.
    """
    sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    dims = zip(g.inputs, g.outputs, g.kernel, g.stride, g.padding, g.dilation, strict=True)
    for n, m, k, s, p, d in dims:
        shifts = torch.arange(k, device=device) * d - p
        near, far = (n, m) if g.transposed else (m, n)  # far = near*stride + shift
        reached = torch.arange(near, device=device)[:, None] * s + shifts
        from_near = (reached >= 0) & (reached < far)
        start = torch.arange(far, device=device)[:, None] - shifts
        from_far = (start % s == 0) & (start >= 0) & (start < near * s)
        sides[0].append(from_near if g.transposed else from_far)
        sides[1].append(from_far if g.transposed else from_near)
    return sides


def _crossbar(reach: Reach, mask: torch.Tensor, pairs: torch.Tensor, cells: torch.Tensor) -> None:
    """Count sites, by tile width patches, and by tile of the smallest width the rows."""
    tiles = _merged(mask, TILE_WIDTHS[0])
    met = reach.pooled(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
    for place, width in enumerate(TILE_WIDTHS):
        if place and met.shape[1] > 1:
            met = _merged(met, width // TILE_WIDTHS[place - 1])
        torch.sum(met, dim=None, dtype=torch.int64, out=cells[PATCHES + place])
    torch.sum(met.any(1), dim=None, dtype=torch.int64, out=cells[SITES])
    missing = -pairs.numel() % TILE_WIDTHS[0]
    padded = torch.cat([pairs, pairs.new_zeros(missing)]) if missing else pairs
    cells[ROWS:].copy_(padded.unflatten(0, (-1, TILE_WIDTHS[0])).sum(1))


def _merged(tiles: torch.Tensor, factor: int) -> torch.Tensor:
    """Or together `factor` neighbouring channels; the last group may be smaller."""
    missing = -tiles.shape[1] % factor
    if missing:
        tiles = torch.cat([tiles, tiles.new_zeros(tiles.shape[0], missing, *tiles.shape[2:])], 1)
    merged: torch.Tensor = tiles.unflatten(1, (-1, factor)).any(2)
    return merged
