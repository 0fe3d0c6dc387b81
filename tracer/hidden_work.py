"""Naming work that never reaches the dispatcher: replays of CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch


class GraphReplays:
    """Counts the replays of CUDA graphs while a recording runs.

    Args:
        hidden: calls by (what, why); counted up.
    """

    def __init__(self, hidden: dict[tuple[str, str], int]) -> None:
        self._hidden = hidden
        self._original: Any = None

    def install(self) -> None:
        """Watch `torch.cuda.CUDAGraph.replay`."""
        graph: Any = torch.cuda.CUDAGraph
        self._original = original = graph.replay
        hidden = self._hidden

        def replay(self: Any) -> Any:
            key = ("torch.cuda.CUDAGraph", "replays kernels outside the dispatcher")
            hidden[key] = hidden.get(key, 0) + 1
            return original(self)

        graph.replay = replay

    def remove(self) -> None:
        """Put the method back."""
        if self._original is not None:
            graph: Any = torch.cuda.CUDAGraph
            graph.replay = self._original
            self._original = None
