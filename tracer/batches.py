"""How many samples and time steps a module call takes, and where that is known from.

In this order: what the user said of the model's inputs; what modules tell (neurons, layers with a
step mode or `batch_first`, layers that were given a single sample); what the data shows; else a
guess, dimension 0 of the model's input, that what modules inside take confirms or corrects. A call
inside is compared with the call around it: an input of (T, B, ...) holds both, one of (B, ...) a
single step, one of (T B, ...) all steps in a row. Whatever fits none of these stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .columns import NULL
from .frames import GUESSED, OBSERVED, TOLD, UNKNOWN, Frame
from .input_dims import Dims, Shape, in_front
from .layers_seen import LayersSeen
from .module_rows import Described, ModuleRows
from .modules import ModuleCall
from .neuron_libraries import size
from .neurons import Neurons

BatchDim = int | None | Literal["auto"]
"""Dimension of the batch in the model's inputs: said, None: not to be guessed, "auto": not said."""


class Batches:
    """Finds batch and time steps of module calls.

    Args:
        neurons: what is known of neurons.
        rows: the calls that have ended.
        dims: dimensions of batch and time in the inputs of the model, as the user said.
        is_fixed: tells whether a tensor was computed from parameters and buffers alone.
        note: tells the user something.
    """

    def __init__(self, neurons: Neurons, rows: ModuleRows, dims: tuple[BatchDim, int | None],
                 is_fixed: Callable[[torch.Tensor], bool],
                 note: Callable[[str], None]) -> None:  # fmt: skip
        self._neurons = neurons
        self._rows = rows
        self._batch_dim, self._time_dim = dims
        self._is_fixed = is_fixed
        self._note = note
        self._said = isinstance(dims[0], int) or dims[1] is not None
        self._orders = [(1, 0)]
        if isinstance(dims[0], int) and dims[1] is not None:
            self._orders.insert(0, (dims[0], dims[1]))
        self._last: Frame | None = None
        self._single: set[int] = set()

    def read(self, call: ModuleCall, module: nn.Module, given: list[torch.Tensor]) -> None:
        """Set batch and time steps of a call that begins, and the frame of the calls inside.

        Args:
            call: its inputs are known.
            module: what is called.
            given: the tensors that it was given.
        """
        shape = _first_shape(call)
        parent = call.parent
        inner = call.in_task or call.continues
        around = parent.frame if parent is not None else self._last if inner else None
        outermost = parent is None and not inner
        if outermost:
            self._single.clear()
        found = self._told(call, module, shape, around, given)
        if outermost:
            found = self._outermost(call, found)
            call.seen = LayersSeen() if call.guessed and not self._said else None
        elif found is not None:
            found = self._as_said(call.root, found)
            if (
                call.info.neuron is not None
                or call.info.dims is not None
                or _has_time_in_front(found, shape)
            ):
                self._compare(call, found, shape)
        elif parent is not None and parent.step_mode is None and parent.info.flattens:
            found = Frame(parent.batch, parent.time_steps, parent.batch_from, parent.steps_from)
        else:
            found = UNKNOWN if around is None else self._inside(shape, around, module)
        _set(call, found)
        call.frame = around if found.batch is None else found
        if outermost:
            self._last = call.frame

    def left(self, outputs: list[tuple[int, object, bool]]) -> None:
        """Note what comes out of a call of a single sample: it has no dimension of the batch."""
        self._single.update(number for number, _, _ in outputs if number >= 0)

    def _told(
        self,
        call: ModuleCall,
        module: nn.Module,
        shape: Shape,
        around: Frame | None,
        given: list[torch.Tensor],
    ) -> Frame | None:
        """Return what a module itself tells of its input, None if it does not."""
        if not shape:
            return None
        info = call.info
        known = self._neurons.steps(module, shape) if info.tells else None
        dims = None
        if call.packed is not None:
            dims = Dims(call.packed)
        elif info.dims is not None and call.step_mode != "m":
            dims = info.dims(module, shape, call.inputs)
        single = dims is not None and dims.single
        seen = call.root.seen
        if info.dims is not None and call.parent is not None and (single or seen is not None):
            if not self._is_fixed(_first(given)):
                self._see(call, in_front(module, shape, dims))
            elif single:
                return UNKNOWN
        if single or (around is not None and around.single) or call.inputs[0][0] in self._single:
            return _of_one(None if known is None else known[1], around)
        if known is not None:
            return _told(*known)
        if dims is not None:
            return _among(dims, around)
        if info.flattens and len(shape) > 1:
            return _told(shape[1], shape[0])
        return None

    def _see(self, call: ModuleCall, front: Shape) -> None:
        """Note what a layer was given, as long as the batch of the model is a guess.

        Args:
            call: the layer's.
            front: sizes in front of the dimensions of a sample.
        """
        root = call.root
        if not root.guessed or front == (root.batch,):  # known, or nothing stands against it
            root.seen = None
        elif root.seen is not None:
            root.seen.add(call.info.number, front)

    def _outermost(self, call: ModuleCall, told: Frame | None) -> Frame:
        """Return what the input of the model holds."""
        found = self._guess(call) if told is None else told
        if self._said:
            found = self._by_word(call, _shapes(call), found)
        call.guessed = found.batch_from in (GUESSED, NULL)
        return found

    def _as_said(self, root: ModuleCall, told: Frame) -> Frame:
        """Return what a module inside tells, in samples of which the user said how many there are.

        Patches, windows or pairs that a model folds into the batch are parts of a sample; of a
        batch that it takes in parts, each holds a share of the time steps.
        """
        batch, steps = told.batch, told.steps
        if not isinstance(self._batch_dim, int) or not root.batch or not batch or told.single:
            return told
        if batch % root.batch == 0:
            return told._replace(batch=root.batch)
        if root.batch % batch == 0 and steps is not None and steps * batch % root.batch == 0:
            return told._replace(batch=root.batch, steps=steps * batch // root.batch)
        return told

    def _guess(self, call: ModuleCall) -> Frame:
        mode = call.info.in_tree_mode
        if self._batch_dim is None or mode == "m":
            return UNKNOWN
        batch = _common(call, 1 if self._time_dim == 0 else 0)
        if batch is None:
            return UNKNOWN
        return Frame(batch, 1, GUESSED, GUESSED) if mode == "s" else Frame(batch, None, GUESSED)

    def _by_word(self, call: ModuleCall, shapes: list[Shape], found: Frame) -> Frame:
        """Put what the user said of the model's input in place of what was found."""
        said = {"batch_dim": self._batch_dim, "time_dim": self._time_dim}
        dims = {name: dim for name, dim in said.items() if isinstance(dim, int)}
        fitting = (s for s in shapes if all(size(s, dim) is not None for dim in dims.values()))
        shape = next(fitting, shapes[0] if shapes else ())
        for name, dim in dims.items():
            if call.inputs and size(shape, dim) is None:
                self._note(
                    f"{call.info.path}: {name}={dim} is beyond the {len(shape)} dimensions of "
                    "the model's input: it stays unknown"
                )
        if isinstance(self._batch_dim, int):
            batch = size(shape, self._batch_dim)
            found = found._replace(batch=batch, batch_from=_source(batch, TOLD), single=False)
        if self._time_dim is not None:
            steps = size(shape, self._time_dim)
            found = found._replace(steps=steps, steps_from=_source(steps, TOLD))
        return found._replace(length=None)

    def _inside(self, shape: Shape, around: Frame, module: nn.Module | None) -> Frame:
        """Return what a shape holds of what the call around holds."""
        batch, steps = around.batch, around.steps
        if not shape or batch is None:
            return UNKNOWN
        # Plain convolutions and batch norms have channels there; two dimensions leave no features.
        if len(shape) > 2 and not isinstance(module, (_ConvNd, _NormBase)):
            if steps is not None:
                for batch_dim, time_dim in self._orders:
                    if size(shape, batch_dim) == batch and size(shape, time_dim) == steps:
                        return around
            if shape[:2] == (around.length, batch):
                return around
        if shape[0] == batch:
            if steps is None and around.length is None:
                return around
            return around._replace(steps=None if steps is None else 1, length=None)
        if steps is not None and shape[0] == steps * batch:
            return around
        return UNKNOWN

    def ended(self, root: ModuleCall, outputs: list[Described]) -> None:
        """Correct what is still a guess as a root call ends, by what the layers inside show.

        Args:
            root: the call.
            outputs: what it hands back.
        """
        seen, root.seen = root.seen, None
        if seen is None or not root.guessed:
            return
        right = self._shown(root, seen, [layout.shape for _, layout, _ in outputs if layout.shape])
        if right is not None:
            self._rows.settle(root.number, root.thread, right if right.single else UNKNOWN)
            _set(root, right)
            root.frame = self._last = right

    def _shown(self, root: ModuleCall, seen: LayersSeen, made: list[Shape]) -> Frame | None:
        """Return what the model's input holds by what its layers took; None: the guess stays.

        Args:
            root: the call of the model.
            seen: what its layers took.
            made: shapes of what it hands back.
        """
        batch, listed, given = root.batch, root.listed, _shapes(root)
        if not given:
            return None
        if listed in seen.sizes:
            return Frame(listed, None, OBSERVED)
        if seen.all_single and batch is None:
            return Frame(1, None, OBSERVED, single=True)
        if seen.all_single and listed is not None:
            return Frame(listed, None, GUESSED)
        main = _main(given)
        if not batch or batch == 1 or batch != main[0]:
            return None
        said = f"{root.info.path}: dimension 0 of the model's input {list(main)} is {batch}, but"
        ask = "if that is wrong, tell batch_dim and time_dim"
        ends, second = made[0][:2] if made else (), main[1] if len(main) > 1 else None
        if seen.all_single:
            if not ends or batch in (ends[0], len(made)):
                return None
            self._note(f"{said} its layers take one sample alone, which is believed; {ask}")
            return Frame(1, None, GUESSED, single=True)
        if second in seen.sizes:
            kept = ends[:1] == (batch,) and ends[1:] != (second,)
            loops = seen.loops(batch, second) or seen.contradicts(batch)
            if ends[:1] == (second,) or (loops and not kept):
                self._note(
                    f"{said} its layers take a batch of {second}, dimension 1, which is "
                    f"believed; {ask}"
                )
                return Frame(second, None, GUESSED)
        if seen.contradicts(batch):
            sizes = ", ".join(map(str, sorted(seen.sizes)[:4]))
            self._note(f"{said} none of its layers takes such a batch ({sizes}): a guess; {ask}")
        return None

    def _compare(self, call: ModuleCall, told: Frame, shape: Shape) -> None:
        """Let what a module tells confirm or correct what is guessed of the model's input."""
        root, given = call.root, _shapes(call.root)
        if not root.guessed or told.batch is None or not given:
            return
        if call.info.neuron is not None:
            right = self._by_neuron(root, told, given)
        else:
            right = _by_layer(call, told, given, shape)
            if right is None:
                return
        root.guessed = False
        if right is not None and right.batch == root.batch and not right.single:
            self._confirm(call)
        else:
            self._correct(call, UNKNOWN if right is None else right)

    def _by_neuron(self, root: ModuleCall, told: Frame, given: list[Shape]) -> Frame | None:
        """Return what the model's input holds by what a neuron takes; None: that is unknown."""
        batch, steps = told.batch, told.steps
        if batch == root.batch:
            return told
        if steps is not None and given[0][:2] == (steps, batch):
            return Frame(batch, steps, OBSERVED, OBSERVED)
        if root.batch is None:
            found = any(shape[0] == batch for shape in given)
            return Frame(batch, None, OBSERVED) if found else None
        self._note(
            f"{root.info.path}: dimension 0 of the model's input {list(given[0])} is {root.batch}, "
            f"but its neurons take a batch of {batch}, which is believed; if that is wrong, tell "
            "batch_dim and time_dim"
        )
        return None

    def _confirm(self, call: ModuleCall) -> None:
        """Note that what was guessed of the model's input, and compared with it, is right."""
        self._rows.settle(call.root.number, call.root.thread, None)
        above = call.parent
        while above is not None:
            above.batch_from, above.steps_from = map(_sure, (above.batch_from, above.steps_from))
            if (frame := above.frame) is not None:
                above.frame = frame._replace(
                    batch_from=_sure(frame.batch_from), steps_from=_sure(frame.steps_from)
                )
            above = above.parent
        self._last = call.root.frame

    def _correct(self, call: ModuleCall, right: Frame) -> None:
        """Set what the model's input holds; what was read by comparing with a guess is taken back.

        Args:
            call: the call that knew better.
            right: of the model's input.
        """
        root, above = call.root, call.parent
        self._rows.settle(root.number, root.thread, right if right.single else UNKNOWN)
        frame = None if right.batch is None else right
        while above is not None:
            if above is root:
                _set(above, right)
                above.frame = frame
            elif above.batch_from != TOLD:
                shapes = _shapes(above)
                _set(above, self._inside(shapes[0] if shapes else (), right, above.info.module()))
                above.frame = frame
            above = above.parent
        self._last = root.frame


def _first(given: list[torch.Tensor]) -> torch.Tensor:
    """Return the first tensor that has dimensions, else the first."""
    return next((tensor for tensor in given if tensor.dim()), given[0])


def _main(shapes: list[Shape]) -> Shape:
    """Return the largest of shapes: most dimensions, then most elements; the first of equals."""
    return max(shapes, key=lambda shape: (len(shape), prod(shape)))


def _has_time_in_front(told: Frame, shape: Shape) -> bool:
    """Tell whether a module says that its input is (time, batch, ...)."""
    return told.steps_from == TOLD and shape[:2] == (told.steps, told.batch)


def _first_shape(call: ModuleCall) -> Shape:
    """Return the shape of the first input that has dimensions; () if none has."""
    for _, layout, _ in call.inputs:
        if layout.shape:
            shape: Shape = layout.shape
            return shape
    return ()


def _shapes(call: ModuleCall) -> list[Shape]:
    """Return the shapes of the inputs that have dimensions."""
    return [layout.shape for _, layout, _ in call.inputs if layout.shape]


def _common(call: ModuleCall, dim: int) -> int | None:
    """Return the size of a dimension that the inputs have in common, None if they disagree.

    Masks do not count, nor, beside others, inputs of one dimension (lengths, positions, steps) and
    those that are the same for the whole batch: (1, S) beside (B, S).
    """
    shapes = [
        layout.shape for _, layout, _ in call.inputs if layout.shape and layout.dtype_name != "bool"
    ]
    shapes = [shape for shape in shapes if len(shape) > 1] or shapes
    shapes = [one for one in shapes if not any(_is_shared(one, each, dim) for each in shapes)]
    found = {size(shape, dim) for shape in shapes} - {None}
    return found.pop() if len(found) == 1 else None


def _is_shared(one: Shape, other: Shape, dim: int) -> bool:
    """Tell whether an input has a single entry along a dimension, for all of those of another."""
    if len(one) != len(other) or size(one, dim) != 1 or size(other, dim) == 1:
        return False
    return one[:dim] == other[:dim] and one[dim + 1 :] == other[dim + 1 :]


def _set(call: ModuleCall, found: Frame) -> None:
    call.batch, call.time_steps = found.batch, found.steps
    call.batch_from, call.steps_from = found.batch_from, found.steps_from


def _source(number: int | None, source: int) -> int:
    return NULL if number is None else source


def _sure(source: int) -> int:
    return OBSERVED if source == GUESSED else source


def _told(batch: int | None, steps: int | None) -> Frame:
    return Frame(batch, steps, _source(batch, TOLD), _source(steps, TOLD))


def _of_one(steps: int | None, around: Frame | None) -> Frame:
    """Return what an input without a dimension of the batch holds.

    Args:
        steps: time steps that the module tells of, if it does.
        around: what the call around holds.
    """
    batch_from = TOLD if around is None or not around.single else around.batch_from
    if steps is None and around is not None and around.steps is not None:
        return Frame(1, 1, batch_from, around.steps_from, single=True)
    return Frame(1, steps, batch_from, _source(steps, TOLD), single=True)


def _among(dims: Dims, around: Frame | None) -> Frame:
    """Return what a layer tells of its input, in the terms of the call around it."""
    if dims.batch is None:
        return UNKNOWN
    if around is None or around.batch is None or around.steps is None:
        return Frame(dims.batch, None, TOLD, length=dims.length)
    if dims.batch == around.batch * around.steps:
        return around._replace(batch_from=TOLD, length=None)
    if dims.batch != around.batch:
        return Frame(dims.batch, None, TOLD, length=dims.length)
    steps = around.steps if dims.length == around.steps else 1
    return around._replace(steps=steps, batch_from=TOLD, length=None)


def _by_layer(call: ModuleCall, told: Frame, given: list[Shape], shape: Shape) -> Frame | None:
    """Return what the model's input holds by what a layer takes; None: the layer does not show it.

    Args:
        call: the layer's.
        told: what it takes.
        given: shapes of the model's inputs.
        shape: of the layer's input.
    """
    root, first = call.root, _main(given)
    steps, source = root.time_steps, _source(root.time_steps, OBSERVED)
    if told.single:
        # The whole input went in; of a loop over samples or time each call takes a part.
        number = call.inputs[0][0]
        others = (n for n, layout, _ in root.inputs if len(layout.shape or ()) < len(first))
        if (root.listed or 1) > 1 or (number >= 0 and number in others):
            return None
        whole = prod(shape) == prod(first)
        whole = whole or (len(first) <= len(shape) and first[0] == shape[0])
        return Frame(1, steps, OBSERVED, source, single=True) if whole else None
    if told.batch == root.batch:
        return told
    fronts = [each[:2] for each in given]
    if _has_time_in_front(told, shape) and shape[:2] in fronts:
        return Frame(told.batch, told.steps, OBSERVED, OBSERVED)
    if told.length is not None and (told.length, told.batch) in fronts:
        return Frame(told.batch, steps, OBSERVED, source, length=told.length)
    if root.batch is None and told.length is None and any(s[0] == told.batch for s in given):
        return Frame(told.batch, steps, OBSERVED, source)
    return None
