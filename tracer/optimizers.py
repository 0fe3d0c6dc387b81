"""Steps of optimizers: when they run, with what, over how many parameters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from .modules import class_name
from .running import caller_in, runs
from .session import Session
from .threads import Thread

_graph_task = torch._C._current_graph_task_id


def _hyper(group: dict[str, Any]) -> str:
    found: dict[str, Any] = {}
    for name, value in group.items():
        if name == "params":
            continue
        if isinstance(value, torch.Tensor):
            value = float(value) if value.numel() == 1 and value.device.type == "cpu" else None
        if isinstance(value, bool | int | float | str) or value is None:
            found[name] = value
        elif isinstance(value, tuple | list):
            found[name] = [v for v in value if isinstance(v, int | float | str)]
    return json.dumps(found)


def _state(optimizer: Any, parameter: Any) -> tuple[str, ...]:
    held = optimizer.state.get(parameter, {})
    return tuple(sorted(str(name) for name, value in held.items() if value is not None))


def _counts(states: dict[Any, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Count parameters and elements by the state that existed, given by parameter."""
    by_state: dict[tuple[str, ...], list[int]] = {}
    for parameter, state in states.items():
        counts = by_state.setdefault(state, [0, 0, 0])
        counts[0] += 1
        counts[1 if parameter.dim() <= 1 else 2] += parameter.numel()
    return [
        {
            "state": json.dumps(list(state)),
            "parameters": counts[0],
            "vector_elements": counts[1],
            "matrix_elements": counts[2],
        }
        for state, counts in by_state.items()
    ]


class OptimizerSteps:
    """Follows every optimizer's step through global hooks.

    Args:
        session: the recording.
        find_thread: returns the recorded thread, or None.
        begins: called before each step with the optimizer's id.
        stepped: called after each step, likewise, and with whether a backward pass runs it.
        label: returns the present label.
        broke: ends the recording after an exception of its own.
    """

    def __init__(self, session: Session, find_thread: Callable[[], Thread | None],
                 begins: Callable[[int], None], stepped: Callable[[int, bool], None],
                 label: Callable[[], str | None],
                 broke: Callable[[Exception], None]) -> None:  # fmt: skip
        self.rows: list[dict[str, Any]] = []
        self._session = session
        self._find_thread = find_thread
        self._begins = begins
        self._stepped = stepped
        self._label = label
        self._broke = broke
        self._handles: list[Any] = []
        self._pending: list[list[dict[str, Any]]] = []
        self._runs_in: list[FrameType | None] = []
        self._count = 0

    def install(self) -> None:
        """Set the hooks."""
        self._handles = [
            torch_optimizer.register_optimizer_step_pre_hook(self._before),
            torch_optimizer.register_optimizer_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def join(self, first: int) -> None:
        """Make one step of `first` and all later ones."""
        for row in self.rows:
            row["step"] = min(row["step"], first)

    def drop_ended(self, thread: Thread) -> None:
        """Forget steps that an exception has ended: PyTorch then calls no hook."""
        if thread.identity != threading.get_ident():
            return
        while self._runs_in and not runs(self._runs_in[-1]):
            del self._runs_in[-1]
            del self._pending[len(self._runs_in) :]
            thread.optimizing = max(0, thread.optimizing - 1)

    def note(self, optimizer: Any) -> None:
        """Enter a step that an optimizer would now take, without taking it."""
        self._before(optimizer, (), {})
        self._after(optimizer, (), {})

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        thread = self._find_thread()
        if thread is None:
            return
        if self._runs_in:
            self.drop_ended(thread)
        try:
            self._begun(thread, optimizer, args, kwargs)
        except Exception as error:
            self._broke(error)

    def _begun(self, thread: Thread, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._runs_in.append(caller_in(torch_optimizer.__dict__))
        thread.optimizing += 1
        if thread.optimizing == 1:
            thread.optimizes_in = _graph_task()
            self._begins(id(optimizer))
        if self._session.passive:
            self._pending.append([])
            return
        rows: list[dict[str, Any]] = []
        # A closure makes the gradients inside the step: what had none is looked at again after it.
        late = any(callable(a) for a in (*args[1:], kwargs.get("closure")))
        thread.quiet = True
        try:
            for index, group in enumerate(optimizer.param_groups):
                states = {p: _state(optimizer, p) for p in group["params"]}
                ready = {p: s for p, s in states.items() if p.grad is not None}
                rows.extend(self._rows(optimizer, index, group, ready))
                if late:
                    waiting = {p: s for p, s in states.items() if p.grad is None}
                    rows.append(self._row(optimizer, index, group) | {"waiting": waiting})
        finally:
            thread.quiet = False
        self._pending.append(rows)

    def _row(self, optimizer: Any, index: int, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "group": index,
            "first_seq": self._session.seq,
            "step": self._session.step,
            "label": self._label(),
            "class": class_name(optimizer),
            "hyper": _hyper(group),
        }

    def _rows(self, optimizer: Any, index: int, group: dict[str, Any],
              states: dict[Any, tuple[str, ...]]) -> list[dict[str, Any]]:  # fmt: skip
        if not states:
            return []
        row = self._row(optimizer, index, group)
        return [row | counts for counts in _counts(states)]

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        thread = self._find_thread()
        if thread is None or not self._pending:
            return
        try:
            self._ended(thread, optimizer)
        except Exception as error:
            self._broke(error)

    def _ended(self, thread: Thread, optimizer: Any) -> None:
        thread.optimizing = max(0, thread.optimizing - 1)
        self._runs_in.pop()
        done: list[dict[str, Any]] = []
        for row in self._pending.pop():
            waiting = row.pop("waiting", None)
            if waiting is None:
                done.append(row)
            else:
                made = {p: s for p, s in waiting.items() if p.grad is not None}
                done.extend(row | counts for counts in _counts(made))
        if done and self._pending:
            self._pending[-1].clear()  # a step that wraps another one does no work of its own
        ended = {"optimizer_step_id": self._count, "last_seq": self._session.seq - 1}
        self.rows.extend(row | ended for row in done)
        self._count += bool(done)
        if not self._pending:
            self._stepped(id(optimizer), thread.optimizes_in != -1)
