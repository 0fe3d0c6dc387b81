"""How a tensor lies in its storage, interned, with what reading its elements needs."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import torch

_NUMPY: dict[torch.dtype, Any] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
    torch.complex64: np.complex64,
    torch.complex128: np.complex128,
    torch.float16: np.uint16,
    torch.bfloat16: np.uint16,
}
for _name in ("uint16", "uint32", "uint64"):
    if hasattr(torch, _name):
        _NUMPY[getattr(torch, _name)] = getattr(np, _name)
for _name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"):
    if hasattr(torch, _name):
        _NUMPY[getattr(torch, _name)] = np.uint8


class _Kind:
    """What is fixed for a dtype.

    Attributes:
        numpy: the NumPy type that its elements are read as, None if they cannot be read.
        bits: name of a 16- or 8-bit float that is read as unsigned integers, else "".
    """

    __slots__ = ("bits", "itemsize", "name", "numpy")

    def __init__(self, dtype: torch.dtype) -> None:
        self.name = str(dtype).removeprefix("torch.")
        self.itemsize = dtype.itemsize
        self.numpy: Any = _NUMPY.get(dtype)
        small = dtype.is_floating_point and self.numpy in (np.uint8, np.uint16)
        self.bits = self.name if small else ""


_kind = cache(_Kind)


class Layout:
    """Shape, stride and dtype of strided tensors; equal ones are one object.

    Attributes:
        dense: the elements fill one run of the storage, in whatever order.
        repeats: how often each element of `reduced` stands in the tensor (expanded dimensions).
        distinct: elements without repeats.
        span: elements of the storage from its first to its last one.
        ctype: ctypes array over the run of a dense tensor, else over its span.
    """

    __slots__ = (
        "bits",
        "ctype",
        "dense",
        "distinct",
        "dtype",
        "dtype_name",
        "expanded_strides",
        "itemsize",
        "nbytes",
        "numel",
        "numpy",
        "readable",
        "reduced",
        "repeats",
        "shape",
        "span",
        "stride",
    )

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.stride, self.dtype = tuple(shape), tuple(stride), dtype
        kind = _kind(dtype)
        self.dtype_name, self.itemsize = kind.name, kind.itemsize
        self.numpy, self.bits = kind.numpy, kind.bits
        self.readable = kind.numpy is not None
        kept, self.repeats, self.numel = [], 1, 1
        for n, s in zip(self.shape, self.stride, strict=True):
            self.numel *= n
            if n != 1:
                if s:
                    kept.append((s, n))
                else:
                    self.repeats *= n
        self.distinct = self.numel // self.repeats if self.numel else 0
        self.nbytes = self.numel * self.itemsize
        self.dense = self.repeats == 1 and self.numel > 0 and _fills(kept)
        self.reduced = tuple(n for _, n in kept)
        self.expanded_strides = tuple(s * self.itemsize for s, _ in kept)
        span = 1 + sum((n - 1) * s for s, n in kept) if self.numel else 0
        self.span = span
        self.ctype = (ctypes.c_char * (span * self.itemsize)) if self.readable and span else None

    def flat(self, pointer: int) -> Any:
        """Return the elements at `pointer` as a flat NumPy array, without repeats.

        A dense tensor is not copied: the array is valid only while the storage is.

        Raises:
            ValueError: the pointer is null: the storage was given back.
        """
        if self.ctype is None:
            return np.empty(0, self.numpy)
        if not pointer:
            raise ValueError("there is no memory at a null pointer")
        memory: Any = self.ctype.from_address(pointer)
        span = np.frombuffer(memory, self.numpy)
        if self.dense:
            return span
        view = np.ndarray(self.reduced, self.numpy, span, 0, self.expanded_strides)
        return np.ascontiguousarray(view).reshape(-1)


def _fills(kept: list[tuple[int, int]]) -> bool:
    """Tell whether dimensions, (stride, size) each, fill one run of a storage."""
    expected = 1
    for stride, size in sorted(kept):
        if stride != expected:
            return False
        expected *= size
    return True
