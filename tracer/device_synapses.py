"""The statistics of products and convolutions on a device, in integers, without waiting for it.

All of a convolution follows from its input's nonzero mask: summed over the batch and weighted by
how many outputs read a position (fan-out), met with the weights' mask tap by tap (overlap), pooled
(active outputs). Products of integers are sums of 64-bit integers or of exact float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..schemas import TILE_WIDTHS
from .device_cells import Cells
from .geometries import Geometry
from .synapses import Reach
from .synapses_of_calls import (
    SynapticRow,
    both_spike,
    factors_of,
    geometry_arguments,
    sparse_enough,
)
from .values import Value

_PENDING = (1, 3)
_TILES = len(TILE_WIDTHS)
Fill = Callable[[Any], None]


class DeviceSynapses:
    """Measures synaptic calls on devices.

    Args:
        reach_of: returns the reach of a convolution's shapes and arguments, None if not understood.
        cells_of: returns the cells of a device.
    """

    def __init__(
        self,
        reach_of: Callable[[Any, Any, Any], Reach | None],
        cells_of: Callable[[torch.device], Cells],
    ) -> None:
        self._reach_of = reach_of
        self._cells_of = cells_of
        self._taps: dict[Any, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._waiting: list[tuple[torch.device, int, int, Fill]] = []

    def collect(self, read: dict[torch.device, Any]) -> None:
        """Fill the rows in; the values that they are of are known."""
        for device, first, count, fill in self._waiting:
            fill(read[device][first : first + count])
        self._waiting.clear()

    def before(self, op: Any, ins: list[Any], others: list[Any]) -> SynapticRow | None:
        """Have the operands of a call measured before it runs; None if there is nothing to tell."""
        if op.synaptic == "product":
            return self._product(op, ins)
        arguments = geometry_arguments(op, others)
        x, w = (ins[0], ins[1]) if op.synaptic == "convolution" else (ins[1], ins[2])
        reach = self._reach_of(x[2].shape, w[2].shape, arguments)
        if reach is None:
            return None
        if op.synaptic == "convolution":
            return self._convolution(reach, x, w)
        return self._backward(reach, ins[0], x)

    def _cells(self, device: torch.device, count: int, fill: Fill) -> torch.Tensor:
        cells, first = self._cells_of(device).take(count)
        self._waiting.append((device, first, count, fill))
        return cells

    def _product(self, op: Any, ins: list[Any]) -> SynapticRow | None:
        x, w = factors_of(op, ins)
        if x[0].measured not in _PENDING or w[0].measured not in _PENDING:
            return None
        row = SynapticRow()
        mask, other = _mask(x[1]), _mask(w[1])
        matrices = mask.dim() >= 2 and other.dim() >= 2
        columns = int(other.shape[-1]) if matrices else 0
        value, second_value = x[0], w[0]  # no tensor may be kept alive until the flush

        def fill(cells: Any) -> None:
            if value.measured != 1 or second_value.measured != 1:
                return
            both = both_spike(value, second_value)
            if both or sparse_enough(value):
                row.active_outputs = int(cells[0]) * columns if matrices else None
                row.overlap = int(cells[1]) if both else None

        cells = self._cells(x[1].device, 2, fill)
        torch.sum(mask.any(-1), dtype=torch.int64, dim=None, out=cells[0])
        first = mask if mask.dim() > 1 else mask[None]
        second = other if other.dim() > 1 else other[:, None]
        torch.sum(first.sum(-2) * second.sum(-1), dim=None, out=cells[1])
        return row

    def _convolution(self, reach: Reach, x: Any, w: Any) -> SynapticRow:
        value, tensor, layout = x
        if value.measured not in _PENDING:
            return SynapticRow()
        if value.synapses is None:
            value.synapses = {}
        known = value.synapses.get(reach)
        if known is None:
            known = value.synapses[reach] = self._input(reach, value, tensor, int(layout.shape[0]))
        weight = w[0]
        if weight.measured not in _PENDING:
            return known  # type: ignore[no-any-return]
        row = SynapticRow()

        def fill(cells: Any) -> None:
            row.take_over(known)
            if row.x_fanout is not None and both_spike(weight, value):
                row.overlap = int(cells[0])

        cells = self._cells(tensor.device, 1, fill)
        cells[0].copy_(self._overlap(reach, _mask(tensor), _mask(w[1])))
        return row

    def _input(self, reach: Reach, value: Value, tensor: Any, batch: int) -> SynapticRow:
        row = SynapticRow()
        g = reach.geometry
        flat = len(g.kernel) == 2 and g.groups == 1 and not g.transposed

        def fill(cells: Any) -> None:
            if value.measured != 1:
                return
            dense = value.nonzero == value.layout.numel
            row.x_fanout = reach.dense_fanout(batch) if dense else int(cells[0])
            if (dense and not value.bits) or not sparse_enough(value):
                return
            row.active_outputs = int(cells[1]) * (g.c_out // g.groups)
            if flat:
                row.active_sites = int(cells[1])
                row.active_patches = [int(n) for n in cells[2 : 2 + _TILES]]
                row.tile_rows = [int(n) for n in cells[2 + _TILES :]]

        count = 2 + _TILES + -(-g.c_in // TILE_WIDTHS[0]) if flat else 2
        cells = self._cells(tensor.device, count, fill)
        mask = _mask(tensor)
        pairs = self._by_channel(reach, mask, forward=True)
        cells[0].copy_(pairs.sum() * (g.c_out // g.groups))
        if flat:
            _crossbar(reach, mask, pairs, cells)
        else:
            grouped = mask.unflatten(1, (g.groups, -1)).any(2).flatten(0, 1)
            torch.sum(reach.pooled(grouped), dim=None, dtype=torch.int64, out=cells[1])
        return row

    def _backward(self, reach: Reach, grad: Any, x: Any) -> SynapticRow:
        row = SynapticRow()
        g = reach.geometry
        batch = int(grad[2].shape[0])
        sides = (
            ("x_fanout", x, True, g.c_out, reach.dense_fanout(batch)),
            ("grad_fanout", grad, False, g.c_in, reach.dense_grad_fanout(batch)),
        )
        for name, (value, tensor, _), forward, fan, dense in sides:
            if type(value) is Value and value.measured in _PENDING:
                fill = _filled(row, name, value, dense, always=forward)
                cells = self._cells(tensor.device, 1, fill)
                pairs = self._by_channel(reach, _mask(tensor), forward=forward)
                cells[0].copy_(pairs.sum() * (fan // g.groups))
        return row

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


def _filled(row: SynapticRow, name: str, value: Value, dense: int, *, always: bool) -> Fill:
    def fill(cells: Any) -> None:
        if value.measured != 1:
            return
        if value.nonzero == value.layout.numel:
            setattr(row, name, dense)
        elif always or value.bits:
            setattr(row, name, int(cells[0]))

    return fill


def _mask(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
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
        torch.sum(met, dim=None, dtype=torch.int64, out=cells[2 + place])
    torch.sum(met.any(1), dim=None, dtype=torch.int64, out=cells[1])
    missing = -pairs.numel() % TILE_WIDTHS[0]
    padded = torch.cat([pairs, pairs.new_zeros(missing)]) if missing else pairs
    cells[2 + _TILES :].copy_(padded.unflatten(0, (-1, TILE_WIDTHS[0])).sum(1))


def _merged(tiles: torch.Tensor, factor: int) -> torch.Tensor:
    """Or together `factor` neighbouring channels; the last group may be smaller."""
    missing = -tiles.shape[1] % factor
    if missing:
        tiles = torch.cat([tiles, tiles.new_zeros(tiles.shape[0], missing, *tiles.shape[2:])], 1)
    merged: torch.Tensor = tiles.unflatten(1, (-1, factor)).any(2)
    return merged
