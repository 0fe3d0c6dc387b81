"""Checksums over tensors, so that two recordings can say whether they saw the same data.

Every element counts. Of a large tensor the sums of its columns are checked, as if it were a table
of integers of 8 bytes: one reading at the memory's pace, on the tensor's own device.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..schemas import Fingerprint
from .device_cells import unseen

_COLUMNS = 1021  # prime: no row of a weight is as long
_ROW = 8 * _COLUMNS


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
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    rows = flat.numel() // _ROW
    if rows > 1:
        total = zlib.crc32(_sums(flat[: rows * _ROW]), total)
        flat = flat[rows * _ROW :]
    rest: Any = flat.cpu().numpy()
    return zlib.crc32(rest, total)


def _sums(table: torch.Tensor) -> Any:
    """Return the sums of columns, modulo 2 to the 64, of whole rows of bytes."""
    if table.is_cpu:
        words = table.numpy().view(np.uint64).reshape(-1, _COLUMNS)
        return np.add.reduce(words, axis=0)
    return table.view(torch.int64).view(-1, _COLUMNS).sum(0).cpu().numpy()


def copies(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return copies of tensors where those are: to be read later, whatever becomes of them."""
    try:
        with unseen():
            return [tensor.detach().clone() for tensor in tensors]
    except Exception:  # nothing that could be read later either
        return []


def state_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the parameters and buffers of a model."""
    return [*model.parameters(), *model.buffers()]


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
