"""Integers that a device computes and the host reads at a flush, all of a block in one copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

BLOCK = 1 << 18
"""Cells of a block: 2 MiB."""
_ALIGNED = 8


@contextmanager
def unseen() -> Iterator[None]:
    """Let no dispatch mode, autograd or inference mode see what is computed inside."""
    with torch.inference_mode(False), torch.no_grad(), torch._C._DisableTorchDispatch():
        yield


class Run(NamedTuple):
    """Cells beside each other.

    Attributes:
        cells: all of which they are some.
        first: number of the first one.
        size: how many.
        address: of the first one, in the device's memory.
    """

    cells: Cells
    first: int
    size: int
    address: int

    def tensor(self) -> torch.Tensor:
        """Return them as a tensor."""
        return self.cells.view(self.first, self.size)

    def read(self, collected: dict[Cells, Any]) -> Any:
        """Return what they held when all cells were collected."""
        return collected[self.cells][self.first : self.first + self.size]


class Cells:
    """Cells of 64 bits for one stream of one device, handed out in runs of zeros.

    Args:
        device: where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[torch.Tensor] = []
        self._used = BLOCK
        self._start = 0

    def take(self, count: int) -> Run:
        """Return a run of `count` cells; all are 0."""
        wide = count + -count % _ALIGNED
        if self._used + wide > BLOCK:
            with unseen():
                block = torch.zeros(BLOCK, dtype=torch.int64, device=self._device)
            self._blocks.append(block)
            self._start, self._used = block.data_ptr(), 0
        place = self._used
        self._used += wide
        first = (len(self._blocks) - 1) * BLOCK + place
        return Run(self, first, count, self._start + 8 * place)

    def view(self, first: int, count: int) -> torch.Tensor:
        """Return `count` cells as a tensor."""
        block, place = divmod(first, BLOCK)
        return self._blocks[block][place : place + count]

    def collect(self) -> Any:
        """Return all cells as one array on the host, once the device has filled them; start anew.

        The only place that waits for the device.
        """
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        read = [np.array(block.cpu().numpy()) for block in self._blocks]
        self._blocks = self._blocks[-1:]
        for block in self._blocks:  # the last block serves again
            self._start = block.zero_().data_ptr()
        self._used = 0 if self._blocks else BLOCK
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # other streams may be the next to count
        return np.concatenate(read) if read else np.empty(0, np.int64)
