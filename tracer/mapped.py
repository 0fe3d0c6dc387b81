"""Tensors that `torch.vmap` hides a dimension of: a module inside sees one entry at a time."""

from __future__ import annotations

from typing import Any

import torch

_functorch: Any = torch._C._functorch


def mapped_sizes(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the sizes of the hidden dimensions of a tensor, the outermost first."""
    sizes: list[int] = []
    while _functorch.is_functorch_wrapped_tensor(tensor):
        inner = _functorch.get_unwrapped(tensor)
        if _functorch.is_batchedtensor(tensor):
            sizes.insert(0, int(inner.shape[_functorch.maybe_get_bdim(tensor)]))
        tensor = inner
    return tuple(sizes)
