"""How many samples and time steps a module call takes, read off the shape of its input.

A module that tells (a neuron, a layer with a step mode) is believed. Where none does, the input of
the model has them in the dimensions that the user named, and a call inside is compared with the
call around it: an input of (T, B, ...) holds both, one of (B, ...) a single step, one of (T B, ...)
all steps in a row. Whatever fits none of these stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .module_rows import ModuleRows
from .modules import ModuleCall, Modules
from .neurons import Neurons, size

Frame = tuple[int | None, int | None]
"""(batch, time steps); None: unknown."""

_UNKNOWN: Frame = (None, None)


class Batches:
    """Finds batch and time steps of module calls.

    Args:
        modules: the module tree.
        neurons: what is known of neurons.
        rows: the calls that have ended.
        dims: dimensions of batch and time in the inputs of the model; None: there is none.
        note: tells the user something.
    """

    def __init__(self, modules: Modules, neurons: Neurons, rows: ModuleRows, dims: Frame,
                 note: Callable[[str], None]) -> None:  # fmt: skip
        self._modules = modules
        self._neurons = neurons
        self._rows = rows
        self._dims = dims
        self._note = note
        self._told_by_user = dims[1] is not None or dims[0] not in (0, None)
        self._orders = [(1, 0)]
        if dims[0] is not None and dims[1] is not None:
            self._orders.insert(0, (dims[0], dims[1]))
        self._last: Frame | None = None

    def read(self, call: ModuleCall, module: nn.Module) -> None:
        """Set batch and time steps of a call that begins, and the frame of the calls inside."""
        shape = tuple(call.inputs[0][1].shape or ()) if call.inputs else ()
        parent = call.parent
        inner = call.in_task or call.continues
        around = parent.frame if parent is not None else self._last if inner else None
        told = self._neurons.steps(module, shape) if call.info.tells else None
        if told is not None:
            found = told
            if call.info.neuron is not None:
                self._check(call, *told)
        elif parent is not None and parent.step_mode is None and parent.info.flattens:
            found = (parent.batch, parent.time_steps)
        elif call.info.flattens and len(shape) > 1:
            found = (shape[1], shape[0])
        elif parent is None and not inner:
            found = self._of_the_model(call, shape)
        else:
            found = _UNKNOWN if around is None else self._inside(shape, around, module)
        call.batch, call.time_steps = found
        call.frame = around if found[0] is None else found
        if parent is None and not inner:
            self._last = call.frame

    def _of_the_model(self, call: ModuleCall, shape: tuple[int, ...]) -> Frame:
        batch_dim, time_dim = self._dims
        mode = call.info.in_tree_mode
        if mode == "m" and time_dim is None:
            return _UNKNOWN
        if self._told_by_user and call.inputs:
            for name, dim in (("batch_dim", batch_dim), ("time_dim", time_dim)):
                if dim is not None and size(shape, dim) is None:
                    self._note(
                        f"{call.info.path}: {name}={dim} is beyond the {len(shape)} dimensions of "
                        "the model's input: it stays unknown"
                    )
        batch = None if batch_dim is None else size(shape, batch_dim)
        if time_dim is not None:
            return batch, size(shape, time_dim)
        call.guessed = batch is not None
        return batch, 1 if mode == "s" else None

    def _inside(self, shape: tuple[int, ...], around: Frame, module: nn.Module) -> Frame:
        """Return what a shape holds of what the call around holds."""
        batch, steps = around
        if not shape or batch is None:
            return _UNKNOWN
        # Plain convolutions and batch norms have channels there; two dimensions leave no features.
        if steps is not None and len(shape) > 2 and not isinstance(module, (_ConvNd, _NormBase)):
            for batch_dim, time_dim in self._orders:
                if size(shape, batch_dim) == batch and size(shape, time_dim) == steps:
                    return batch, steps
        if shape[0] == batch:
            return batch, None if steps is None else 1
        if steps is not None and shape[0] == steps * batch:
            return batch, steps
        return _UNKNOWN

    def _check(self, call: ModuleCall, batch: int | None, steps: int | None) -> None:
        """Compare what a neuron takes with what was guessed of the model's input."""
        root = call.root
        if not root.guessed or batch is None:
            return
        root.guessed = False
        guess = root.batch
        if batch == guess:
            return
        self._forget(call)
        shape = list(root.inputs[0][1].shape)
        if steps is not None and steps > 1 and shape[:2] == [steps, batch]:
            root.batch, root.time_steps = root.frame = batch, steps
        else:
            self._note(
                f"{root.info.path}: the model's input {shape} was taken for a batch of {guess}, "
                f"its neurons take {batch}: the batch stays unknown; tell batch_dim and time_dim"
            )
        self._last = root.frame

    def _forget(self, call: ModuleCall) -> None:
        """Take back all that was read by comparing with a root call."""
        root, above = call.root, call.parent
        while above is not None:
            if above is root or not above.info.tells:
                above.batch = above.time_steps = above.frame = None
            above = above.parent
        telling = {info.number for info in self._modules.infos if info.tells}
        self._rows.forget_batch(root.number, telling)
