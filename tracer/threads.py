"""What is particular to a recorded thread, and to which stage and module its calls belong."""

from __future__ import annotations

import threading
from typing import Any

import torch

from .claims import Claims
from .columns import NULL
from .gradients import recomputes

FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = range(4)
OUTSIDE = (NULL, NULL, NULL)
BEFORE, RUNNING = object(), object()
_ACCUMULATE = (1 << 64) - 1
_current_node = torch._C._current_autograd_node
_graph_task = torch._C._current_graph_task_id

Place = tuple[int, int, int]
"""(module, module call, training) as columns; OUTSIDE where there is no module."""


class Thread:
    """A thread that is recorded.

    Attributes:
        number: 0 is the thread that opened the recording.
        identity: what Python calls it.
        ran: how far the call has come that is at work: BEFORE its op runs, while it is RUNNING,
            then its result.
        stack: module calls that run.
        passed: modules whose calls run unrecorded, with what runs them.
        newest: highest autograd number that it has shown.
        optimizing: optimizer steps that run.
        optimizes_in: number of the backward pass that the outermost of them runs in, -1 for none.
        quiet: the recorder itself is at work.
        higher: higher-order operators that run.
        root: number of the root call that runs, or ran last.
        label: number of the label that holds.
    """

    __slots__ = (
        "higher", "identity", "label", "newest", "number", "optimizes_in", "optimizing", "passed",
        "quiet", "ran", "root", "stack",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.identity = threading.get_ident()
        self.ran: Any = BEFORE
        self.stack: list[Any] = []
        self.passed: list[Any] = []
        self.newest = -1
        self.optimizing = 0
        self.optimizes_in = -1
        self.quiet = False
        self.higher = 0
        self.root = 0
        self.label = NULL


class Threads:
    """The threads that are recorded: the one that opened the recording, and those that join."""

    def __init__(self) -> None:
        self.main = Thread(0)
        self._joined = {self.main.identity: self.main}
        self._next = 1

    def find(self) -> Thread | None:
        """Return the calling thread, if it is recorded."""
        found = self._joined.get(threading.get_ident())
        if found is None and _graph_task() != -1:
            return self.main  # a device thread of the autograd engine
        return found

    def join(self) -> Thread | None:
        """Take the calling thread in; return None if it was in before."""
        thread = Thread(self._next)
        if thread.identity in self._joined:
            return None
        self._next += 1
        self._joined[thread.identity] = thread
        return thread

    def part(self, thread: Thread) -> None:
        """Let a thread that had joined go."""
        self._joined.pop(thread.identity, None)

    def all(self) -> list[Thread]:
        """Return the threads that are in."""
        return list(self._joined.values())


def in_backward(thread: Thread, claims: Claims, owner_of: Any) -> tuple[int, Place, int]:
    """Return stage, place and forward call of what runs now, inside a backward pass.

    Args:
        thread: the thread that runs it.
        claims: which call made which autograd number.
        owner_of: returns the number of the module that owns a parameter, or None.
    """
    if thread.optimizing and thread.optimizes_in == _graph_task() and not torch.is_grad_enabled():
        return OPTIMIZER, OUTSIDE, NULL
    node = _current_node()
    name = node.name() if node is not None else ""
    stack = thread.stack
    if stack and stack[-1].in_task:
        return RECOMPUTE, stack[-1].context, NULL
    stage = RECOMPUTE if recomputes(name) else BACKWARD
    if stage == RECOMPUTE and (place := claims.repeated()) is not None:
        return stage, place, NULL
    if node is None:
        return stage, OUTSIDE, NULL
    number = node._sequence_nr()
    if number == _ACCUMULATE:
        owner = owner_of(node.variable) if hasattr(node, "variable") else None
        return stage, OUTSIDE if owner is None else (owner, NULL, NULL), NULL
    claim = claims.find(number, name)
    if claim is not None:
        return stage, claim[1:4], claim[0]
    place = claims.enclosing(number)
    if place is None and number < claims.begun:
        claims.cut = True
    return stage, place or OUTSIDE, NULL
