"""Which forward call an autograd node came from."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any
from weakref import WeakKeyDictionary

from .gradients import checkpointed

_KEEP = 2_000_000


Claim = tuple[int, int, int, int, str, int]
"""A forward call that first showed an autograd sequence number: seq, module, module call, training,
packet, thread."""


class Claims:
    """Autograd sequence numbers and who made them, over all threads.

    A number belongs to the first call that sees it new: ops that make no node read an earlier
    one's.

    Attributes:
        begun: the first number after the warm-up; 0: there was none.
        cut: a backward pass ran through nodes that the warm-up had made.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.cut = False
        self._claims: dict[int, Claim | list[Claim]] = {}
        self._spans: dict[int, tuple[list[int], list[tuple[int, int, int, int]]]] = {}
        self._checkpoints: WeakKeyDictionary[Any, tuple[int, int, int]] = WeakKeyDictionary()

    def note(self, number: int, claim: Claim) -> None:
        """Claim a number, new in its thread, for a call."""
        known = self._claims.get(number)
        if known is None:
            self._claims[number] = claim
            if len(self._claims) > _KEEP:
                for old in list(self._claims)[: _KEEP // 2]:
                    del self._claims[old]
        elif isinstance(known, list):
            known.append(claim)
        else:
            self._claims[number] = [known, claim]

    def find(self, number: int, node_name: str) -> Claim | None:
        """Return the call that made the node, None if nobody or several may have.

        A Function's node (`SquareBackward`, without a digit) is made before its forward runs: no
        call made it, whatever call saw its number first.
        """
        if node_name.endswith("Backward") or "CppNode" in node_name:
            return None
        known = self._claims.get(number)
        if not isinstance(known, list):
            return known
        stem = _stem(node_name)
        fitting = [claim for claim in known if _stem(claim[4].split(".")[1]) == stem]
        return fitting[0] if len(fitting) == 1 else None

    def span(self, thread: int, first: int, last: int, place: tuple[int, int, int]) -> None:
        """Note the numbers [first, last) that were given out during a module call, as it ends.

        Args:
            thread: its thread.
            first: the first number.
            last: one past the last number, larger than the first.
            place: (module, module call, training).
        """
        ends, spans = self._spans.setdefault(thread, ([], []))
        ends.append(last)
        spans.append((first, *place))
        if len(ends) > 200_000:
            del ends[:100_000], spans[:100_000]

    def enter(self, place: tuple[int, int, int]) -> None:
        """Note where checkpointed code runs, if it has just begun.

        Args:
            place: (module, module call, training) of what runs now, before it calls another module.
        """
        code = checkpointed()
        if code is not None:
            self._checkpoints.setdefault(code, place)

    def repeated(self) -> tuple[int, int, int] | None:
        """Return the (module, module call, training) that runs the code that is recomputed now."""
        code = checkpointed()
        return None if code is None else self._checkpoints.get(code)

    def enclosing(self, number: int) -> tuple[int, int, int] | None:
        """Return (module, module call, training) of the innermost call that holds a number."""
        found = None
        for ends, spans in self._spans.values():
            for index in range(bisect_right(ends, number), len(spans)):
                first, module, call, training = spans[index]
                if first <= number:
                    if found is not None:
                        return None  # two threads claim it
                    found = (module, call, training)
                    break
        return found


def _stem(name: str) -> str:
    """Reduce `ConvolutionBackward0` and `convolution` to the same word."""
    stem = name.rstrip("0123456789").removesuffix("Backward")
    return "".join(c for c in stem.lower() if c.isalpha())
