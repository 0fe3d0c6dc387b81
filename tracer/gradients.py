"""Whether a call inside a backward pass is a forward run again."""

from __future__ import annotations

import torch

_top_hooks = torch._C._autograd._top_saved_tensors_default_hooks


def recomputes(node_name: str) -> bool:
    """Tell whether activation checkpointing recomputes at this moment.

    Args:
        node_name: name of the autograd node that runs.
    """
    if node_name == "CheckpointFunctionBackward":
        return True
    hooks = _top_hooks(True)
    if hooks is None:
        return False
    owner = getattr(type(hooks), "__qualname__", "")
    first = hooks[0] if isinstance(hooks, tuple) and hooks else hooks
    name = getattr(first, "__qualname__", "")
    return "_recomputation_hook" in name or "_recomputation_hook" in owner
