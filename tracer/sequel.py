"""What comes after a recording of so many steps: does the next call go on with its last sample?

A step that an optimizer or the user ends may end within a sample (truncated backpropagation through
time), and that is not known before the next call of the model. No op is seen by then, so that call
is asked what it and its neurons are given, and what state its neurons find as they are called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as nn_module

from .modules import COMPILED
from .nested import tensors_in
from .neurons import Neurons
from .running import caller_in
from .samples import Samples

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Sequel:
    """Follows the first call of a model after the last step, and no further one.

    Args:
        samples: those of the recording; their storages are known still.
        neurons: what is known of neurons.
        tell: called with the module that goes on with the last sample, once.
    """

    def __init__(self, samples: Samples, neurons: Neurons,
                 tell: Callable[[nn.Module], None]) -> None:  # fmt: skip
        self._samples = samples
        self._neurons = neurons
        self._tell = tell
        self._thread = threading.get_ident()
        self._root: nn.Module | None = None
        self._off = False
        self._handles: list[Any] = []

    def install(self) -> None:
        """Set the hooks."""
        self._handles = [
            nn_module.register_module_forward_pre_hook(self._enter),
            nn_module.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks away."""
        self._off, self._root = True, None
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self._off or torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        if torch._C._current_graph_task_id() != -1:
            return  # a checkpoint repeats a call
        if type(module).__name__ == COMPILED:
            self.remove()  # it may be compiled now, which is not to see hooks
            return
        try:
            frame = caller_in(nn_module.__dict__)
            keywords = None if frame is None else frame.f_locals.get("kwargs")
            if self._goes_on(module, [*tensors_in(args), *tensors_in(keywords)]):
                self._off = True
                self._tell(module)
        except Exception:  # nothing may stop the model
            self._off = True

    def _goes_on(self, module: nn.Module, given: list[torch.Tensor]) -> bool:
        root, self._root = self._root is None, self._root or module
        asked: Iterable[torch.Tensor] = ()
        neuron = self._neurons.kind(module) is not None
        if neuron or isinstance(module, _RECURRENT):
            # A neuron that is given its state has no use for the one that it still holds.
            asked = given if len(given) > 1 or not neuron else self._neurons.states(module)
        if root and any(True for _ in module.parameters()):  # else it is a loss or a metric
            asked = [*asked, *given]
        return self._samples.holds(asked)

    def _leave(self, module: nn.Module, args: Any, *given: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if module is self._root:
            self._off, self._root = True, None
            if len(given) == 2:  # PyTorch goes through its hooks where the call has raised
                self.remove()
