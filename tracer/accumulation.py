"""Gradients that a warm-up, or the last step, left to an optimizer that has yet to step.

As long as no optimizer has stepped, each pass with its backward pass may be a step (a loop may
update by hand, or never). Where gradients are accumulated, that is known when an optimizer steps
with the same gradients: they are added to in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer


class Accumulation:
    """Follows the first step of an optimizer, and no further one.

    Args:
        parameters: those of the modules that are known; of their gradients no value is read.
        tell: called with the class of an optimizer that steps with gradients that they have now.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], tell: Callable[[str], None]) -> None:
        grads = (parameter.grad for parameter in parameters)
        self._grads = {id(grad): weakref.ref(grad) for grad in grads if grad is not None}
        self._tell = tell
        self._handle: Any = None
        if self._grads:
            self._handle = torch_optimizer.register_optimizer_step_pre_hook(self._before)

    def remove(self) -> None:
        """Take the hook away."""
        self._grads.clear()
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        grads, self._grads = self._grads, {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                known = grads.get(id(parameter.grad))
                if known is not None and known() is parameter.grad:
                    self._tell(type(optimizer).__name__)
                    return
