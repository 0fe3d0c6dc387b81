"""Checksums over tensors, so that two recordings can say whether they saw the same data.

Every element counts. Of a large tensor the sums of its columns are checked, as if it were a table
of integers of 8 bytes: one reading at the memory's pace, on the tensor's own device.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterable
from typing import Any

import torch

from ..schemas import Fingerprint
from .device_cells import unseen
from .measurers import column_sums

_COLUMNS = 1021  # prime: no row of a weight is as long
_ROW = 8 * _COLUMNS
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_DIRECT = frozenset({torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64,
                     torch.int32, torch.uint8, torch.bool})  # fmt: skip


def fingerprint(tensors: Iterable[torch.Tensor]) -> str | None:
    """Return a checksum over dtypes, shapes and elements; None if a tensor cannot be read."""
    total = 0
    seen = False
    for tensor in tensors:
        seen = True
        try:
            total = _checked(tensor, total)
        except Exception:  # sparse, meta, quantized: no elements to read
            return None
    return f"sum64-crc32:{total:08x}" if seen else None


def _checked(tensor: torch.Tensor, total: int) -> int:
    """Return a checksum that goes on with a tensor's dtype, shape and elements."""
    total = zlib.crc32(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), total)
    if not tensor.numel():
        return total
    if type(tensor) in _PLAIN and tensor.dtype in _DIRECT and _lies_here(tensor):
        pointer = tensor.data_ptr()
        if not pointer:
            raise ValueError("the storage was given back")
        return _checked_here(pointer, tensor.nbytes, total)
    flat = tensor.detach().contiguous().view(-1)
    if flat.numel() == 1:  # its stride may be any
        flat = flat.clone(memory_format=torch.contiguous_format)
    flat = flat.view(torch.uint8)
    if flat.is_cpu:
        return _checked_here(flat.data_ptr(), flat.numel(), total)
    rows = flat.numel() // _ROW
    if rows > 1:
        whole = flat[: rows * _ROW]
        sums: Any = whole.view(torch.int64).view(-1, _COLUMNS).sum(0).cpu().numpy()
        total, flat = zlib.crc32(sums, total), flat[rows * _ROW :]
    rest: Any = flat.cpu().numpy()
    return zlib.crc32(rest, total)


def _lies_here(tensor: torch.Tensor) -> bool:
    """Tell whether the bytes of a plain tensor's elements are in this machine's memory, in order.

    Such memory is read without views of PyTorch's: of many small tensors these take the longest.
    """
    here = tensor.is_cpu and tensor.layout is torch.strided and tensor.is_contiguous()
    return here and not tensor.is_neg()


def _checked_here(pointer: int, size: int, total: int) -> int:
    """Go on with bytes in this machine's memory: sums of columns modulo 2 to the 64, the rest."""
    rows = size // _ROW
    if rows > 1:
        total = zlib.crc32(column_sums(pointer, rows, _COLUMNS), total)
        pointer, size = pointer + rows * _ROW, size - rows * _ROW
    return zlib.crc32(ctypes.string_at(pointer, size), total)


def copies(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return copies of tensors where those are: to be read later, whatever becomes of them."""
    try:
        with unseen():
            return [tensor.detach().clone() for tensor in tensors]
    except Exception:  # nothing that could be read later either
        return []


def state_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the parameters and buffers of a model."""
    modules = [*model.modules()]
    found = dict.fromkeys(
        tensor
        for held in ("_parameters", "_buffers")
        for module in modules
        for tensor in getattr(module, held).values()
        if tensor is not None
    )
    return [*found]


class Prints:
    """The fingerprints of one recording.

    Args:
        model: the model, if it is known beforehand.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self._parameters = None if model is None else fingerprint(state_of(model))
        self._inputs: str | None = None
        self._seen = False
        self._given: list[torch.Tensor] | None = None

    def root_entered(self, module: torch.nn.Module, given: list[torch.Tensor]) -> None:
        """Take those of the first call of a model that is recorded."""
        if self._seen:
            return
        self._seen = True
        self._parameters = self._parameters or fingerprint(state_of(module))
        if all(tensor.is_cpu for tensor in given):
            self._inputs = fingerprint(given)
        else:  # a device is not waited for while the model runs
            self._given = copies(given)

    def told(self) -> Fingerprint:
        """Return them; now a device may be waited for."""
        if self._given is not None:
            self._inputs, self._given = fingerprint(self._given), None
        return Fingerprint(inputs=self._inputs, parameters=self._parameters)
