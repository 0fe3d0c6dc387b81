"""Operators that take functions (flex_attention, cond, while_loop, ...), run part by part.

PyTorch hands such an operator to the mode whole. Its eager kernel is Python code that calls other
ops: with the mode on they are recorded like any others. Some kernels refuse to run where a mode is
on, although nothing in them depends on it: those are run with their question answered no.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_map

from .threads import Thread

_EAGER = torch._C.DispatchKey.CompositeExplicitAutograd
_ASKS = "_get_current_dispatch_mode"


def is_higher_order(func: Any) -> bool:
    """Tell whether an operator takes functions."""
    return isinstance(func, HigherOrderOperator)


class HigherOrder:
    """Runs higher-order operators.

    Attributes:
        hidden: calls by (what, why); those that had to run unseen are counted there.
    """

    def __init__(self) -> None:
        self.hidden: dict[tuple[str, str], int] = {}

    def run(self, session: Any, mode: Any, thread: Thread, func: Any, args: Any,
            kwargs: Any) -> Any:  # fmt: skip
        """Run `func` with `mode` on; without it if it has no kernel that bears one."""
        kernel = getattr(func, "py_kernels", {}).get(_EAGER)
        before = session.seq
        thread.higher += 1
        try:
            if callable(kernel):
                return _seen(kernel, mode, args, kwargs)
        except AssertionError:  # perhaps about the mode, deeper inside
            if session.seq != before:
                raise
        finally:
            thread.higher -= 1
        key = (f"torch.ops.higher_order.{func.name()}", "ran unseen: no kernel of it bears a mode")
        self.hidden[key] = self.hidden.get(key, 0) + 1
        return func(*args, **kwargs)


def _seen(kernel: Any, mode: Any, args: Any, kwargs: Any) -> Any:
    """Run a kernel so that `mode` sees what it calls."""
    if _asks(kernel):
        blind = _blind(kernel)
        if blind is None:  # then at least the functions that it is given
            return kernel(*_watched(mode, args), **_watched(mode, kwargs))
        kernel = blind
    with mode:
        return kernel(*args, **kwargs)


def _asks(kernel: Any) -> bool:
    """Tell whether a kernel asks for the current mode."""
    code = getattr(kernel, "__code__", None)
    return code is not None and _ASKS in (*code.co_names, *code.co_varnames)


def _blind(kernel: Any) -> Any:
    """Return a kernel that finds no mode, None if what it asks cannot be exchanged."""
    if isinstance(kernel, MethodType) or _ASKS not in kernel.__globals__:
        return None
    scope = {**kernel.__globals__, _ASKS: lambda: None}
    found = FunctionType(kernel.__code__, scope, kernel.__name__, kernel.__defaults__,
                         kernel.__closure__)  # fmt: skip
    found.__kwdefaults__ = kernel.__kwdefaults__
    return found


def _watched(mode: Any, arguments: Any) -> Any:
    """Return arguments whose functions run with `mode` on."""

    def watched(function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return function(*args, **kwargs)

        return run if callable(function) else function

    return tree_map(watched, arguments)
