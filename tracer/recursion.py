"""Room on Python's stack for what recording puts there.

Global hooks make PyTorch call each module through one more function, and the recorder works at the
end of that: modules nested deeply would meet the limit of recursion that the plain run keeps.
"""

from __future__ import annotations

import sys
from contextlib import suppress

_OWN = 200
"""Calls deep that a hook, a handler and a flush may go at most, with room."""


class Room:
    """Raises the limit of recursion while a recording runs."""

    def __init__(self) -> None:
        self._limits: tuple[int, int] | None = None

    def make(self) -> None:
        """Raise it: a nested module takes three calls or more without a recorder, then one more."""
        limit = sys.getrecursionlimit()
        self._limits = limit, limit + limit // 3 + _OWN
        sys.setrecursionlimit(self._limits[1])

    def give_back(self) -> None:
        """Put it back, unless the script has set its own or the stack is too deep just now."""
        limits, self._limits = self._limits, None
        if limits is not None and sys.getrecursionlimit() == limits[1]:
            with suppress(RecursionError):
                sys.setrecursionlimit(limits[0])
