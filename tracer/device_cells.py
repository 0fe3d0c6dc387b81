"""Integers that a device computes and the host reads at a flush, all of a block in one copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

BLOCK = 1 << 18
"""Cells of a block: 2 MiB."""


@contextmanager
def unseen() -> Iterator[None]:
    """Let no dispatch mode, autograd or inference mode see what is computed inside."""
    with torch.inference_mode(False), torch.no_grad(), torch._C._DisableTorchDispatch():
        yield


class Cells:
    """Cells of 64 bits on one device, handed out in runs.

    Args:
        device: where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[torch.Tensor] = []
        self._used = BLOCK

    def take(self, count: int) -> tuple[torch.Tensor, int]:
        """Return a run of `count` int64 cells and the number of its first one."""
        if self._used + count > BLOCK:
            self._blocks.append(torch.zeros(BLOCK, dtype=torch.int64, device=self._device))
            self._used = 0
        first = self._used
        self._used += count
        return self._blocks[-1][first : first + count], (len(self._blocks) - 1) * BLOCK + first

    def collect(self) -> Any:
        """Return all cells as one array on the host, once the device has filled them; start anew.

        The only place that waits for the device.
        """
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        blocks = [block.cpu().numpy() for block in self._blocks]
        # The last block serves again: its cells are written before they are read.
        self._blocks = self._blocks[-1:]
        self._used = 0 if self._blocks else BLOCK
        return np.concatenate(blocks) if blocks else np.empty(0, np.int64)
