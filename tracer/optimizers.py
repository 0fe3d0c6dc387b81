"""Steps of optimizers: when they run, with what, over how many parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from .modules import class_name
from .session import Session, Thread


def _hyper(group: dict[str, Any]) -> str:
    found = {}
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


class OptimizerSteps:
    """Follows every optimizer's step through global hooks.

    Args:
        session: the recording.
        find_thread: returns the recorded thread, or None.
        stepped: called after each step.
        label: returns the present label.
    """

    def __init__(self, session: Session, find_thread: Callable[[], Thread | None],
                 stepped: Callable[[], None], label: Callable[[], str | None]) -> None:  # fmt: skip
        self.rows: list[dict[str, Any]] = []
        self._session = session
        self._find_thread = find_thread
        self._stepped = stepped
        self._label = label
        self._handles: list[Any] = []
        self._pending: list[list[dict[str, Any]]] = []
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

    def note(self, optimizer: Any) -> None:
        """Enter a step that an optimizer would now take, without taking it."""
        self._before(optimizer, (), {})
        self._after(optimizer, (), {})

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        thread = self._find_thread()
        if thread is None:
            return
        thread.optimizing += 1
        if self._session.passive:
            self._pending.append([])
            return
        rows = []
        thread.quiet = True
        try:
            for index, group in enumerate(optimizer.param_groups):
                rows.extend(self._rows(optimizer, index, group))
        finally:
            thread.quiet = False
        self._pending.append(rows)
        self._count += 1

    def _rows(self, optimizer: Any, index: int, group: dict[str, Any]) -> list[dict[str, Any]]:
        by_state: dict[tuple[str, ...], list[int]] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            held = optimizer.state.get(parameter, {})
            state = tuple(sorted(str(name) for name, value in held.items() if value is not None))
            counts = by_state.setdefault(state, [0, 0, 0])
            counts[0] += 1
            counts[1 if parameter.dim() <= 1 else 2] += parameter.numel()
        return [
            {
                "optimizer_step_id": self._count,
                "group": index,
                "first_seq": self._session.seq,
                "step": self._session.step,
                "label": self._label(),
                "class": class_name(optimizer),
                "hyper": _hyper(group),
                "state": json.dumps(list(state)),
                "parameters": counts[0],
                "vector_elements": counts[1],
                "matrix_elements": counts[2],
            }
            for state, counts in by_state.items()
        ]

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        thread = self._find_thread()
        if thread is None or not self._pending:
            return
        thread.optimizing = max(0, thread.optimizing - 1)
        for row in self._pending.pop():
            row["last_seq"] = self._session.seq - 1
            self.rows.append(row)
        self._stepped()
