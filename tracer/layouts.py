"""How a tensor lies in its storage, interned, with what reading its elements needs."""

from __future__ import annotations

import ctypes
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

_OPAQUE_NAMES = ("qint8", "quint8", "qint32", "quint4x2", "quint2x4")


class Layout:
    """Shape, stride and dtype of strided tensors; equal ones are one object.

    Attributes:
        dense: the elements fill one run of the storage, in whatever order.
        distinct: elements without repeats.
        repeats: how often each element of `reduced` stands in the tensor (expanded dimensions).
        ctype: ctypes array over the run of a dense tensor, else over its span.
    """

    __slots__ = (
        "bits",
        "contiguous",
        "ctype",
        "dense",
        "distinct",
        "dtype",
        "dtype_name",
        "expanded_strides",
        "itemsize",
        "name",
        "nbytes",
        "numel",
        "numpy",
        "readable",
        "reduced",
        "repeats",
        "shape",
        "stride",
    )

    def __init__(self, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.stride, self.dtype = tuple(shape), tuple(stride), dtype
        self.dtype_name = str(dtype).removeprefix("torch.")
        self.itemsize = dtype.itemsize
        self.numel = int(np.prod(self.shape, dtype=object)) if self.shape else 1
        self.nbytes = self.numel * self.itemsize
        kept = [(n, s) for n, s in zip(self.shape, self.stride, strict=True) if n != 1 and s != 0]
        self.repeats = 1
        for n, s in zip(self.shape, self.stride, strict=True):
            if s == 0 and n > 1:
                self.repeats *= n
        self.distinct = self.numel // self.repeats if self.numel else 0
        expected = 1
        self.dense = self.repeats == 1 and self.numel > 0
        for n, s in sorted(kept, key=lambda pair: pair[1]):
            self.dense = self.dense and s == expected
            expected *= n
        span = 1 + sum((n - 1) * s for n, s in kept) if self.numel else 0
        self.reduced = tuple(n for n, _ in kept)
        self.expanded_strides = tuple(s * self.itemsize for _, s in kept)
        self.numpy: Any = _NUMPY.get(dtype)
        self.readable = self.numpy is not None and self.dtype_name not in _OPAQUE_NAMES
        self.bits = (
            ""
            if self.numpy is None
            else (
                self.dtype_name
                if self.dtype.is_floating_point and np.dtype(self.numpy).kind == "u"
                else ""
            )
        )
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
