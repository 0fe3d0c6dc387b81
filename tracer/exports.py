"""Leaving alone what traces a model to export it: `torch.jit.trace` and the old ONNX export.

What they write down is what reaches PyTorch's tracer. A dispatch mode runs ops below it, so that a
traced result looks like a constant; and a recorder has nothing to count: the model runs for show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import torch
import torch.jit._trace

_KEY = ("torch.jit.trace", "runs a model to export it: what it runs is not recorded")


def _places() -> Iterator[tuple[Any, str]]:
    """Yield the functions that trace, or check what was traced, where PyTorch looks for them."""
    yield torch.jit, "trace"
    yield torch.jit, "trace_module"
    yield torch.jit, "_get_trace_graph"
    yield torch.jit._trace, "_get_trace_graph"
    yield torch.jit._trace, "_check_trace"
    for owner in (torch._C, torch._C.ScriptModule):
        for name in ("graph_by_tracing", "method_from_trace", "function_from_trace"):
            yield owner, f"_create_{name}"
            yield owner, f"_create_{name}_with_dict"


class Exports:
    """Keeps a recording out of traced runs.

    Args:
        hidden: calls by (what, why); counted up.
        aside: returns a context in which nothing is recorded and the mode is away; it tells
            whether something was recorded until then.
    """

    def __init__(
        self,
        hidden: dict[tuple[str, str], int],
        aside: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        self._hidden = hidden
        self._aside = aside
        self._originals: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """Watch the functions that trace."""
        for owner, name in _places():
            original = getattr(owner, name, None)
            if original is not None:
                self._originals.append((owner, name, original))
                setattr(owner, name, self._watched(original))

    def _watched(self, trace: Any) -> Any:
        @wraps(trace)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with self._aside() as recorded:
                if recorded:
                    self._hidden[_KEY] = self._hidden.get(_KEY, 0) + 1
                return trace(*args, **kwargs)

        return traced

    def remove(self) -> None:
        """Put the functions back."""
        for owner, name, original in reversed(self._originals):
            setattr(owner, name, original)
        self._originals.clear()
