"""Checksums over tensors, so that two recordings can say whether they saw the same data."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import torch

from .device_cells import unseen


def fingerprint(tensors: Iterable[torch.Tensor]) -> str | None:
    """Return a checksum over dtypes, shapes and elements; None if a tensor cannot be read."""
    total = 0
    seen = False
    for tensor in tensors:
        seen = True
        try:
            flat = tensor.detach().to("cpu").contiguous().view(-1)
            total = zlib.crc32(f"{flat.dtype}{tuple(tensor.shape)}".encode(), total)
            if flat.numel():
                elements: Any = flat.view(torch.uint8).numpy()
                total = zlib.crc32(elements, total)
        except Exception:  # sparse, meta, quantized: no elements to read
            return None
    return f"crc32:{total:08x}" if seen else None


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
