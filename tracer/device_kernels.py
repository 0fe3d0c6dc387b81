"""The statistics of tensors on a device by Triton: one launch for all values of a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..schemas import VALUE_BITS, SpikeClass
from . import device_programs
from .device_cells import Run, unseen
from .device_programs import SLOTS
from .device_reductions import elements
from .statistics import Statistics, zeros_and_ones

_B, _T, _S, _W, _C = (int(bit) for bit in SpikeClass if bit in VALUE_BITS)
_MOST_PROGRAMS = 1024
_NONE = (0, 0, 0, 1, 1, 0, 0, 0)
_SIGN = -(1 << 63)

# Places in a value's cells; those of the ends hold keys, see `device_programs`.
NONZERO, ONES, MINUS, WHOLE, NAN, HIGH, LOW = range(7)


class Kernels:
    """Counts by Triton's kernels.

    Args:
        interpreted: they are interpreted by NumPy, on the host's memory.

    Attributes:
        replaceable: whether something else can count where it fails.
        launches: so far.
        block: elements of a value that a program looks at together, a power of 2.
        positions: output positions of a convolution, likewise.
        rows: of a product, likewise.
    """

    replaceable = True

    def __init__(self, *, interpreted: bool = False) -> None:
        self.launches = 0
        self.block, self.positions, self.rows = (
            (1 << 14, 512, 64) if interpreted else (1024, 128, 32)
        )

    def values(self, tallies: list[Any]) -> None:
        """Count the elements of values on one device, four in a launch."""
        for start in range(0, len(tallies), SLOTS):
            self._values(tallies[start : start + SLOTS])

    def _values(self, tallies: list[Any]) -> None:
        arguments: list[int] = []
        names, kinds = [""] * SLOTS, [""] * SLOTS
        dense, most, kept = True, 0, []
        for slot, tally in enumerate(tallies):
            layout = tally.value.layout
            tensor, sizes, strides = _lying(tally.tensor, layout)
            kept.append(tensor)  # a copy must outlive its launch
            dense = dense and strides == (1,)
            most = max(most, layout.distinct)
            arguments += (
                tensor.data_ptr(), layout.distinct, tally.run.address, *sizes[1:],
                *(1,) * (3 - len(sizes)), *strides, *(0,) * (3 - len(sizes)),
            )  # fmt: skip
            names[slot], kinds[slot] = layout.dtype_name, _kind(layout.dtype_name)
        for _ in range(SLOTS - len(tallies)):
            arguments += _NONE
        programs = min(-(-most // self.block), _MOST_PROGRAMS)
        self._launch(
            device_programs.values, tallies[0].tensor.device, (programs, len(tallies)), arguments,
            (*names, *kinds, dense, self.block),
        )  # fmt: skip

    def statistics(self, cells: Any, layout: Any) -> Statistics | None:
        """Return what the counts say of a value."""
        nonzero, size = int(cells[NONZERO]), layout.distinct
        if layout.dtype.is_complex:
            return Statistics(0, nonzero)
        ones, minus = int(cells[ONES]), int(cells[MINUS])
        if layout.dtype is torch.bool or ones == nonzero:
            return zeros_and_ones(nonzero, size)
        bits = (_T | _W) if ones + minus == nonzero else 0
        high, low = cells[HIGH], ~cells[LOW]
        if high == low and not cells[NAN]:
            bits |= _S | (_C if nonzero == size else 0)
        if cells[WHOLE] == nonzero:
            bits |= _W
        if not bits:
            return Statistics(0, nonzero)
        ends = [_number(low, layout.dtype_name), _number(high, layout.dtype_name)]
        if nonzero < size:
            ends = [min(ends[0], 0.0), max(ends[1], 0.0)]
        return Statistics(bits, nonzero, ones, minus, *ends)

    def meeting(self, question: Any, run: Run) -> int:
        """Count what a mask meets in a convolution; return how many programs do."""
        g, x, w = question.reach.geometry, question.mask.tensor, question.weights
        forward = question.forward
        sources, places = (g.inputs, g.outputs) if forward else (g.outputs, g.inputs)
        channels = (g.c_in if forward else g.c_out) // g.groups
        total = int(x.shape[0]) * math.prod(places)
        arguments = [
            x.data_ptr(), question.mask.facts, question.mask.elements, run.address,
            0 if w is None else w.tensor.data_ptr(), 0 if w is None else w.facts,
            total, channels, g.c_out // g.groups, *_three(places, 1), *_three(sources, 1),
            *_three(g.stride, 1), *_three(g.padding, 0), *_three(g.dilation, 1),
            x.stride(0), channels * x.stride(1), x.stride(1), *_three(x.stride()[2:], 0),
            *(_weight_strides(g, w.tensor) if w is not None else (0,) * 6),
        ]  # fmt: skip
        programs = -(-total // self.positions)
        self._launch(
            device_programs.meeting, x.device, (programs, g.groups), arguments,
            (_name(x), "" if w is None else _name(w.tensor), *_three(g.kernel, 1),
             g.transposed == forward, not forward, w is not None, question.crossbar,
             self.positions),
        )  # fmt: skip
        return int(programs * g.groups)

    def multiplied(self, question: Any, run: Run) -> int:
        """Count what meets in a product; return how many programs do, of either kind."""
        x, w = question.x.tensor, question.w.tensor
        x = x if x.dim() > 1 else x[None]
        w = w if w.dim() > 1 else w[:, None]
        batches = int(x.shape[0]) if x.dim() > 2 else 1
        m, k, n = int(x.shape[-2]), int(x.shape[-1]), int(w.shape[-1])
        programs = max(1, -(-batches * max(m, k) // self.rows))
        arguments = [
            x.data_ptr(), question.x.facts, question.x.elements, w.data_ptr(), question.w.facts,
            run.address, batches, m, k, n, *_matrix_strides(x), *_matrix_strides(w),
        ]  # fmt: skip
        self._launch(
            device_programs.multiplied,
            x.device,
            (programs, 2),
            arguments,
            (_name(x), _name(w), self.rows),
        )
        return programs

    def _launch(
        self, kernel: Any, device: torch.device, grid: tuple[int, int], arguments: Sequence[int],
        constants: Sequence[Any],
    ) -> None:  # fmt: skip
        self.launches += 1
        if device.type == "cuda" and torch.cuda.current_device() != device.index:
            with torch.cuda.device(device):
                kernel[grid](*arguments, *constants)
        else:
            kernel[grid](*arguments, *constants)


def _kind(name: str) -> str:
    """Return how elements of a type are counted."""
    if name == "bool" or name.startswith("complex"):
        return "mask"
    if "float" in name:
        return "long float" if name == "float64" else "float"
    return "unsigned" if name.startswith("u") else "signed"


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _lying(tensor: torch.Tensor, layout: Any) -> tuple[torch.Tensor, tuple[int, ...], Any]:
    """Return a tensor with a value's elements, without repeats, and its sizes and strides.

    Neighbouring dimensions are joined where they can be; what then has more than three is copied.
    """
    if layout.dense:
        return tensor, (layout.numel,), (1,)
    sizes: list[int] = []
    strides: list[int] = []
    for size, stride in zip(layout.reduced, layout.expanded_strides, strict=True):
        stride //= layout.itemsize
        if sizes and strides[-1] == size * stride:
            sizes[-1], strides[-1] = sizes[-1] * size, stride
        else:
            sizes.append(size)
            strides.append(stride)
    if not sizes:
        return tensor, (1,), (1,)
    if len(sizes) > 3:
        with unseen():
            return elements(tensor, layout), (layout.distinct,), (1,)
    return tensor, tuple(sizes), tuple(strides)


def _number(key: Any, name: str) -> float:
    """Return the number that a kernel ranked by a key."""
    if name == "uint64":
        return float(np.uint64(key.astype(np.uint64)))
    ordered = int(key) ^ _SIGN
    ordered = ordered - (1 << 64) if ordered >= 1 << 63 else ordered
    if name == "float64":
        bits = ordered ^ (0x7FFFFFFFFFFFFFFF if ordered < 0 else 0)
        return float(np.int64(bits).view(np.float64))
    if "float" in name:
        bits = ordered ^ (0x7FFFFFFF if ordered < 0 else 0)
        return float(np.int32(bits).view(np.float32))
    return float(ordered)


def _three(numbers: Sequence[int], filled: int) -> tuple[int, ...]:
    """Return numbers of up to three spatial dimensions as those of three."""
    return (*(filled,) * (3 - len(numbers)), *numbers)


def _weight_strides(g: Any, weights: torch.Tensor) -> tuple[int, ...]:
    """Return the strides from group to group, output to output, channel to channel, tap to tap."""
    first, second = weights.stride()[:2]
    taps = _three(weights.stride()[2:], 0)
    if g.transposed:  # (c_in, c_out of a group, taps)
        return (g.c_in // g.groups * first, second, first, *taps)
    return (g.c_out // g.groups * first, first, second, *taps)


def _matrix_strides(tensor: torch.Tensor) -> tuple[int, ...]:
    return (0 if tensor.dim() < 3 else tensor.stride(0), tensor.stride(-2), tensor.stride(-1))
