"""Whether a call inside a backward pass is a forward run again."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils import checkpoint

_top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
"""Returns the hooks on saved tensors that are in force; None: PyTorch is too old for it."""
_CHECKPOINTS = ("_checkpoint_hook.", "_recomputation_hook.")
"""Whose hooks save tensors while checkpointed code runs, first and again."""


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


def checkpointed() -> Any:
    """Return what tells the run of checkpointed code in which tensors are saved now, else None.

    It is the same in the forward pass and as the code is recomputed. Reentrant checkpoints have
    an autograd node of their own instead.
    """
    hooks = _top_hooks(True) if _top_hooks is not None else None
    if not isinstance(hooks, tuple) or not hooks:
        return None
    packs = getattr(hooks[0], "__wrapped__", hooks[0])
    if not getattr(packs, "__qualname__", "").startswith(_CHECKPOINTS):
        return None
    code, cells = getattr(packs, "__code__", None), getattr(packs, "__closure__", None)
    held = dict(zip(getattr(code, "co_freevars", ()), cells or (), strict=False))
    if "frame" in held:
        return held["frame"].cell_contents
    found = held.get("target_frame_ref")
    return None if found is None else found.cell_contents()
