"""Statistics of tensors on a device, without waiting for it: what a flush reads is computed before.

Whatever depends on the data is decided at the flush; so every count that may be wanted is taken.
What it then says equals what `statistics` and `synapses_of_calls` say of the same data on a CPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..schemas import VALUE_BITS, SpikeClass
from .device_cells import Cells, unseen
from .device_synapses import DeviceSynapses
from .statistics import EMPTY, Statistics, zeros_and_ones
from .values import Value

_B, _T, _S, _W, _C = (int(bit) for bit in SpikeClass if bit in VALUE_BITS)
_CHUNK = 1 << 24
_COUNTS = 6
_CELLS = _COUNTS + 2
_WIDER = {"uint16": torch.int32, "uint32": torch.int64}


class DeviceMeasurer:
    """Measures values and calls whose tensors are on devices.

    Args:
        session: the recording.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._cells: dict[torch.device, Cells] = {}
        self._values: list[tuple[Value, torch.device, int, str]] = []
        self._neurons: list[Value] = []
        self._synapses = DeviceSynapses(session.synapses.reach, self.cells_of)

    def cells_of(self, device: torch.device) -> Cells:
        """Return the cells of a device."""
        cells = self._cells.get(device)
        if cells is None:
            cells = self._cells[device] = Cells(device)
        return cells

    def measure(self, value: Value, tensor: torch.Tensor) -> None:
        """Have the device count the elements of a value; `collect` fills the value in."""
        layout = value.layout
        if layout.numel == 0:
            self._session.keep(value, EMPTY)
            return
        value.measured = 2
        if _captured(tensor):  # a graph's replays would count again what is measured once
            return
        try:
            with unseen():
                kind = _kind(layout.dtype)
                cells, first = self.cells_of(tensor.device).take(_CELLS)
                _count(_run(tensor, layout), kind, cells)
        except Exception:  # out of memory, a dtype without kernels: nothing may stop a recording
            return
        value.measured = 3
        self._values.append((value, tensor.device, first, kind))

    def claim(self, value: Value) -> None:
        """A neuron handed the value on: spikes, if it has a spike class."""
        value.events = True
        self._neurons.append(value)

    def synapses(self, op: Any, ins: list[Any], others: list[Any]) -> Any:
        """Have the device measure the operands of a call; return its row, not yet filled."""
        if any(_captured(tensor) for value, tensor, _ in ins if value is not None):
            return None
        with unseen():
            return self._synapses.before(op, ins, others)

    def collect(self) -> None:
        """Fill in all that was measured since the last time; waits for the devices."""
        with unseen():
            read = {device: cells.collect() for device, cells in self._cells.items()}
        for value, device, first, kind in self._values:
            counts = read[device][first : first + _CELLS]
            found = _statistics(counts, value.layout.distinct, kind)
            if found is None:
                value.measured = 2
            else:
                self._session.keep(value, found)
        for value in self._neurons:
            value.events = value.bits > 0
        self._synapses.collect(read)
        self._values.clear()
        self._neurons.clear()


def _kind(dtype: torch.dtype) -> str:
    """Return "c" for complex numbers, "b" for bool, "u" for unsigned and "n" for other numbers."""
    if dtype.is_complex:
        return "c"
    if dtype is torch.bool:
        return "b"
    return "n" if dtype.is_signed else "u"


def _captured(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _run(tensor: torch.Tensor, layout: Any) -> torch.Tensor:
    """Return the elements of a value in one dimension, without repeats."""
    offset = tensor.storage_offset()
    if layout.dense:
        flat = tensor.as_strided((layout.numel,), (1,), offset)
    else:
        strides = [stride // layout.itemsize for stride in layout.expanded_strides]
        flat = tensor.as_strided(layout.reduced, strides, offset).reshape(-1)
    if layout.dtype_name in _WIDER:
        return flat.to(_WIDER[layout.dtype_name])
    if layout.dtype_name == "uint64":
        return flat.view(torch.int64)
    return flat.to(torch.float32) if layout.dtype_name.startswith("float8") else flat


def _count(flat: torch.Tensor, kind: str, cells: torch.Tensor) -> None:
    """Count nonzeros, ones, minus ones, as many as the largest and the smallest, fractions."""
    counts, ends = cells[:_COUNTS], cells[_COUNTS:].view(torch.float64)
    counts.zero_()
    if kind in "cb":
        torch.sum(flat != 0, 0, out=counts[0])
        return
    low, high = torch.aminmax(flat)
    ends[0].copy_(low)
    ends[1].copy_(high)
    floats = flat.is_floating_point()
    for chunk in flat.split(_CHUNK):
        none = torch.zeros_like(chunk, dtype=torch.bool)
        minus = chunk == -1 if kind == "n" else none
        fractions = chunk != chunk.floor() if floats else none
        masks = [chunk != 0, chunk == 1, minus, chunk == high, chunk == low, fractions]
        counts += torch.stack(masks).sum(1)


def _statistics(cells: Any, size: int, kind: str) -> Statistics | None:
    """Return what the counts say of a value of `size` elements; None if they cannot tell."""
    nonzero, ones, minus, at_high, at_low, fractions = (int(n) for n in cells[:_COUNTS])
    if kind == "c":
        return Statistics(0, nonzero)
    if kind == "b" or ones == nonzero:
        return zeros_and_ones(nonzero, size)
    low, high = (float(end) for end in cells[_COUNTS:].view("f8"))
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
