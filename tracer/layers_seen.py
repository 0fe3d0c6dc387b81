"""What layers inside a call of the model show of its batch, where that is a guess.

A layer is given one sample without a dimension of the batch, or sizes in front of a sample's own
dimensions: where there is one such size, that is how many samples it takes, or as many windows,
tokens or steps. What was computed from parameters and buffers alone shows nothing.
"""

from __future__ import annotations

from .input_dims import Shape

_MOST = 256
"""Pairs of a layer and a size that are kept of one call of the model."""


class LayersSeen:
    """What the layers inside a root call were given.

    Attributes:
        single: one was given a sample without a dimension of the batch.
    """

    __slots__ = ("_beside", "_calls", "single")

    def __init__(self) -> None:
        self.single = False
        self._calls: dict[tuple[int, int], int] = {}
        self._beside: set[int] = set()

    def add(self, layer: int, front: Shape) -> None:
        """Note a call.

        Args:
            layer: number of its path.
            front: sizes in front of the dimensions of a sample.
        """
        if len(front) == 1:
            key = (layer, front[0])
            if key in self._calls or len(self._calls) < _MOST:
                self._calls[key] = self._calls.get(key, 0) + 1
        elif front:
            self._beside.update(front)
        else:
            self.single = True

    @property
    def sizes(self) -> set[int]:
        """How many samples layers took, by the only size in front of a sample's dimensions."""
        return {size for _, size in self._calls}

    @property
    def all_single(self) -> bool:
        """Whether there are layers, and each was given one sample alone."""
        return self.single and not self._calls and not self._beside

    def loops(self, steps: int, batch: int) -> bool:
        """Tell whether a layer took a batch as often as there are steps, as a loop over them."""
        return any(n == batch and calls >= steps for (_, n), calls in self._calls.items())

    def contradicts(self, batch: int) -> bool:
        """Tell whether no layer was given a batch, parts of it or several in a row."""
        if not self._calls or batch in self._beside:
            return False
        sums: dict[int, int] = {}
        for (layer, n), calls in self._calls.items():
            sums[layer] = sums.get(layer, 0) + n * calls
        parts = (n > 0 and batch % n == 0 for n in self.sizes)
        return not any(parts) and not any(each % batch == 0 for each in sums.values())
