"""The modules that a call runs inside of, from the innermost one up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from ..tracer import Recorder


class Lineage:
    """Paths and classes of modules and of those above them, while a recording runs.

    Args:
        recorder: the recording; modules are added to it as it goes on.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tree: list[tuple[int | None, str, type[nn.Module]]] = []
        self._lines: dict[int, list[tuple[str, type[nn.Module]]]] = {}

    def of(self, module: int) -> list[tuple[str, type[nn.Module]]]:
        """Return (path, class) of a module and those above it; nothing for a negative number."""
        if module < 0:
            return []
        line = self._lines.get(module)
        if line is None:
            if module >= len(self._tree):
                self._tree = self._recorder.module_tree()
            line = []
            number: int | None = module
            while number is not None:
                number, path, kind = self._tree[number]
                line.append((path, kind))
            self._lines[module] = line
        return line

    def inside(self, kinds: Iterable[type[nn.Module]]) -> list[int]:
        """Return the numbers of all modules that are of these classes or below one that is."""
        classes = tuple(kinds)
        modules = range(len(self._recorder.module_tree())) if classes else ()
        return [m for m in modules if any(issubclass(kind, classes) for _, kind in self.of(m))]
