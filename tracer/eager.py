"""Keeping torch.compile eager while a recording runs.

Compiled code would not be seen. PyTorch passes over what it meets while a mode is on, but marks it
for good and refuses what was to be compiled whole (`fullgraph=True`); so the compiler is told to be
eager, as `torch.compiler.set_stance("force_eager")` would, and only when somebody loads it. It
still traces the functions that flex_attention, cond and their like are given: those need it, run
what was traced op by op, and are seen.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from torch._higher_order_ops import utils as operators

_COMPILER = "torch._dynamo.eval_frame"


def traces_for_an_operator() -> bool:
    """Tell whether a higher-order operator is having its functions traced, or runs them traced."""
    asked = getattr(operators, "_in_hop_compile", None)
    if asked is not None:
        return bool(asked())
    config = getattr(sys.modules.get("torch._dynamo"), "config", None)  # set meanwhile by 2.9
    return config is not None and config.allow_empty_graphs and config.capture_scalar_outputs


def can_be_eager() -> bool:
    """Tell whether a compiler that is loaded can be told to be eager: what it compiles is seen."""
    return hasattr(sys.modules.get(_COMPILER), "_set_stance")


class _Stance:
    """What the compiler is told; it asks at every call of a compiled function."""

    backend = None
    skip_guard_eval_unsafe = False

    @property
    def stance(self) -> str:
        return "default" if traces_for_an_operator() else "force_eager"


class Eager:
    """Tells the compiler to be eager, at once or when it is loaded."""

    def __init__(self) -> None:
        self._compiler: Any = None
        self._before: Any = None

    def start(self) -> None:
        """Be eager from here on."""
        compiler = sys.modules.get(_COMPILER)
        if compiler is None:
            sys.meta_path.insert(0, self)
            return
        try:
            self._before = compiler._set_stance(_Stance())
            self._compiler = compiler
        except (AttributeError, RuntimeError):  # an old one, or inside a compiled function
            return

    def stop(self) -> None:
        """Be as before."""
        if sys.meta_path and self in sys.meta_path:  # None as the interpreter ends
            sys.meta_path.remove(self)
        if self._compiler is not None:
            self._compiler._set_stance(self._before)
            self._compiler = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find no module, but when the compiler is imported, have `start` called after it."""
        if name != _COMPILER:
            return None
        sys.meta_path.remove(self)
        found: Any = importlib.util.find_spec(name)
        execute = found.loader.exec_module

        def execute_and_start(module: Any) -> None:
            execute(module)
            self.start()

        found.loader.exec_module = execute_and_start
        return found
