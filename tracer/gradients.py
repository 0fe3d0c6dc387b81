"""Whether a call inside a backward pass is a forward run again."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils import checkpoint

_top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
"""Returns the hooks on saved tensors that are in force; None: PyTorch is too old for it."""


def recomputes(node_name: str) -> bool:
    """Tell whether activation checkpointing recomputes at this moment.

    Args:
        node_name: name of the autograd node that runs.
    """
    if node_name == "CheckpointFunctionBackward":
        return True
    if _top_hooks is None:
        return _called_by_checkpoint()
    hooks = _top_hooks(True)
    if hooks is None:
        return False
    owner = getattr(type(hooks), "__qualname__", "")
    first = hooks[0] if isinstance(hooks, tuple) and hooks else hooks
    name = getattr(first, "__qualname__", "")
    return "_recomputation_hook" in name or "_recomputation_hook" in owner


def _called_by_checkpoint() -> bool:
    """Tell whether the nearest of checkpointing and a backward pass around is checkpointing."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_globals is checkpoint.__dict__:
            return True
        if frame.f_globals.get("__name__", "").startswith("torch.autograd"):
            return False
        frame = frame.f_back
    return False
