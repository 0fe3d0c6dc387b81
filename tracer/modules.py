"""The module tree and the calls of its modules."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from types import FrameType
from typing import Any

import torch
from torch import nn

from .attributes import attribute, attributes
from .frames import Frame
from .holders import attribute_of, child_of, path_below
from .input_dims import Reader, reader_of
from .layers_seen import LayersSeen
from .module_rows import Described
from .neurons import Neurons
from .text import json_of

COMPILED = "OptimizedModule"
"""The class of what `torch.compile` makes of a module."""
_PARAMETER, _BUFFER = 0, 1
_MOST_FURTHER = 100_000
_ATTRIBUTES = (
    "kernel_size", "stride", "padding", "dilation", "groups", "transposed", "output_padding",
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_groups",
    "normalized_shape", "eps", "momentum", "affine", "track_running_stats", "num_embeddings",
    "embedding_dim", "hidden_size", "input_size", "num_layers", "bidirectional", "batch_first",
    "output_size", "ceil_mode", "p", "inplace", "v_threshold", "v_reset", "tau", "decay_input",
    "detach_reset", "step_mode", "backend", "store_v_seq", "beta", "threshold", "reset_mechanism",
)  # fmt: skip


_PLACES = {name: place for place, name in enumerate(_ATTRIBUTES)}
_ASKED = frozenset(_ATTRIBUTES)
_PLAIN = frozenset({bool, int, str, type(None)})
"""What most attributes are: to ask for the very type is faster than `isinstance`."""


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold, or None."""
    if type(value) in _PLAIN or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple | list):
        plain = _PLAIN.issuperset(map(type, value)) and None not in value
        if plain or all(isinstance(v, int | float | str) for v in value):
            return list(value)
    if isinstance(value, torch.Tensor):
        return _number(value)
    return None


def _number(tensor: torch.Tensor) -> float | None:
    """Return the one element of a tensor on the CPU; None for any other."""
    try:
        if tensor.numel() == 1 and tensor.device.type == "cpu":
            return float(tensor.detach())
    except Exception:  # nested, fake, complex
        pass
    return None


def attributes_of(module: nn.Module) -> str:
    """Return the attributes that analyzers use, as JSON."""
    given = attributes(module, _ASKED)
    found = {}
    for name in sorted(given, key=_PLACES.__getitem__):
        if (value := _plain(given[name])) is not None:
            found[name] = value
    if given.get("v_reset", "none") is None:
        found["v_reset"] = None
    return json_of(found)


@cache
def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _describe(tensors: Any) -> list[dict[str, Any]]:
    rows = []
    for name, tensor in tensors:
        if tensor is None:
            continue
        try:
            shape, numel = [*map(int, tensor.shape)], int(tensor.numel())
        except Exception:  # uninitialized (lazy) parameters have no shape yet
            shape, numel = [], 0
        rows.append(
            {
                "name": name,
                "shape": shape,
                "dtype": _dtype_name(tensor.dtype),
                "numel": numel,
                "bytes": numel * tensor.dtype.itemsize,
                "requires_grad": bool(tensor.requires_grad),
            }
        )
    return rows


def class_name(thing: Any) -> str:
    """Return the class of a thing with its package."""
    cls = type(thing)
    return f"{cls.__module__}.{cls.__qualname__}"


class ModuleInfo:
    """What is fixed for a path of a module while it is recorded.

    Attributes:
        number: its row of the `modules` table.
        first: number of the first path of the module; its own if it is that one.
        called: paths of the modules that were called from this one, by their identity.
        inner: paths one attribute below this one, by the attribute.
        flattens: it joins time and batch for the modules inside.
        hides: why the dispatcher does not see its work, or None.
        tells: it may know batch and time steps.
        dims: what reads the batch off its input as its class defines it, or None.
        ran_as: of first paths: number of the path by which the module was first called.
    """

    __slots__ = (
        "called", "dims", "first", "flattens", "hides", "in_tree_mode", "inner", "kind", "module",
        "neuron", "number", "parent", "path", "ran_as", "tells",
    )  # fmt: skip

    def __init__(
        self, number: int, parent: int | None, path: str, module: nn.Module, neuron: str | None
    ) -> None:
        self.number = self.first = number
        self.parent = parent
        self.path = path
        self.module = weakref.ref(module)
        self.kind = type(module)
        self.neuron = neuron
        self.called: dict[int, ModuleInfo] = {}
        self.inner: dict[str, ModuleInfo] = {}
        self.in_tree_mode: str | None = None
        self.hides: str | None = None
        self.tells = False
        self.dims: Reader | None = None
        self.ran_as: int | None = None
        self.flattens = type(module).__name__ in ("SeqToANNContainer", "MultiStepContainer")


class ModuleCall:
    """A module call that runs.

    Attributes:
        root: the call that all this is inside of; itself if it is none.
        frame: what calls inside are compared with; None: unknown.
        batch_from: where the batch is known from, a code of `batches.SOURCES`.
        steps_from: where the time steps are known from.
        runs_in: the Python function call that runs it; None once it has ended, or unknown.
        spiking: it is a neuron's, and counted among those that run.
        packed: sequences in the packed one that it was given; None: it was given none.
        written: its row is there.

    Of root calls alone:
        continues: an input came out of an earlier root call of the same sample.
        guessed: its batch is a guess or unknown: what modules inside tell decides it.
        keywords: keyword arguments were seen as it began.
        keeps: a neuron or a recurrent layer ran in it, which have state.
        listed: tensors in the list that the first one it was given is in; None: it is in none.
        seen: what the layers inside show of its batch; None: it is no guess.
        ran: by neuron, whether it carried state of an earlier root call of the sample as it first
            began, and the time steps that it ran.
    """

    __slots__ = (
        "batch", "batch_from", "context", "continues", "first_node", "first_seq",
        "frame", "grad", "guessed", "in_task", "info", "inputs", "keeps", "keywords", "label",
        "listed", "number", "packed", "parent", "ran", "root", "runs_in", "sample", "seen",
        "spiking", "stage", "state_before", "step", "step_mode", "steps_from", "thread",
        "time_steps", "training", "written",
    )  # fmt: skip

    batch: int | None
    batch_from: int
    context: tuple[int, int, int]
    continues: bool
    first_node: int
    first_seq: int
    frame: Frame | None
    grad: bool
    guessed: bool
    in_task: bool
    inputs: list[Described]
    keeps: bool
    keywords: bool
    label: int
    listed: int | None
    packed: int | None
    ran: dict[int, tuple[bool, int]]
    root: ModuleCall
    runs_in: FrameType | None
    sample: int
    seen: LayersSeen | None
    stage: int
    state_before: list[Described] | None
    step: int
    step_mode: Any
    steps_from: int
    thread: int
    time_steps: int | None
    training: int

    def __init__(self, number: int, info: ModuleInfo, parent: ModuleCall | None) -> None:
        self.number = number
        self.info = info
        self.parent = parent
        self.spiking = self.written = False


class Modules:
    """The modules seen, as rows of the `modules` table and by identity.

    A call belongs to the path by which its module was called: a module that several callers share
    has a row under each of them, named by the attribute that the caller holds it by, else by its
    class. The first path is there from the start, further ones when they are first called.
    """

    def __init__(self, neurons: Neurons, mark: Callable[[torch.Tensor, int], None]) -> None:
        self._neurons = neurons
        self._mark = mark
        self._known: dict[int, ModuleInfo] = {}
        self.infos: list[ModuleInfo] = []
        self.rows: list[dict[str, Any]] = []
        self._owners: dict[int, tuple[Any, int, int]] = {}
        self._tensors = 0
        self._roots: dict[str, int] = {}
        self._further = 0

    def find(self, module: nn.Module) -> ModuleInfo | None:
        """Return the first path of a module; None if it is not known."""
        info = self._known.get(id(module))
        return info if info is not None and info.module() is module else None

    def called(self, module: nn.Module, caller: ModuleInfo | None) -> ModuleInfo | None:
        """Return the path by which a module is called; None if the module is not known."""
        if caller is None:
            info = self.find(module)
        else:
            info = caller.called.get(id(module))
            if info is not None and info.module() is module:
                return info
            first = self.find(module)
            info = None if first is None else self._path_of(module, first, caller)
            if info is not None:
                caller.called[id(module)] = info
        if info is not None and (first := self.infos[info.first]).ran_as is None:
            first.ran_as = info.number
        return info

    def called_again(self, module: nn.Module, inside: int, first: ModuleInfo) -> ModuleInfo:
        """Return the path of a call that a backward pass repeats.

        Args:
            module: what is called.
            inside: number of the path in which the forward call ran that is repeated.
            first: the first path of the module.
        """
        for info in self._line(self.infos[inside]):
            for found in (info, info.called.get(id(module))):
                if found is not None and found.module() is module:
                    return found
        return first

    def adopt(self, module: nn.Module, parent: ModuleInfo | None = None) -> ModuleInfo:
        """Enter a module and everything below it.

        Args:
            module: it is not known yet.
            parent: path of its caller; None: it is called by nobody.
        """
        if parent is None:
            name = type(module).__name__
            seen = self._roots[name] = self._roots.get(name, 0) + 1
            name = name if seen == 1 else f"{name}#{seen}"
        else:
            name = _held_as(parent.module(), module)
        first = self._row(module, parent, name)
        infos = {"": first}
        children = dict(module.named_modules())
        for child_name, child in children.items():
            if child_name == "" or self.find(child) is not None:
                continue
            above = child_name.rpartition(".")[0]
            while above not in infos:
                above = above.rpartition(".")[0]
            name = child_name[len(above) + 1 :] if above else child_name
            infos[child_name] = self._row(child, infos[above], name)
        modes = {attribute(m, "step_mode") for m in children.values()} - {None}
        mode = "m" if "m" in modes else "s" if modes else None
        for info in infos.values():
            info.in_tree_mode = mode
        return first

    def _path_of(self, module: nn.Module, first: ModuleInfo, caller: ModuleInfo) -> ModuleInfo:
        """Return the path of a known module below its caller's; enter it if it is new."""
        if self._lists_only(first, caller):
            return first
        if (known := self._recursion(module, caller)) is not None:
            return known
        holder = caller.module()
        info = caller
        for name, child in () if holder is None else path_below(holder, module):
            info = self._row(child, info, name, self.find(child))
        return (
            self._row(module, caller, _held_as(holder, module), first) if info is caller else info
        )

    def _lists_only(self, info: ModuleInfo, caller: ModuleInfo) -> bool:
        """Tell whether a path is the caller's own child, or held in its lists and dicts."""
        while info.parent is not None and info.parent != caller.number:
            info = self.infos[info.parent]
            if not issubclass(info.kind, nn.ModuleList | nn.ModuleDict):
                return False
        return info.parent == caller.number

    def _recursion(self, module: nn.Module, caller: ModuleInfo) -> ModuleInfo | None:
        """Return the path of a module that is called inside a call of its own, if it may serve.

        It may where every module around the caller is around it too: nothing is added by another.
        """
        line = list(self._line(caller))
        place = next((k for k, info in enumerate(line) if info.module() is module), None)
        if place is None:
            return None
        around = {info.first for info in line[place:]}
        return line[place] if around.issuperset(info.first for info in line) else None

    def _line(self, info: ModuleInfo) -> Iterator[ModuleInfo]:
        """Yield a path and those above it."""
        yield info
        while info.parent is not None:
            info = self.infos[info.parent]
            yield info

    def _row(
        self, module: nn.Module, parent: ModuleInfo | None, name: str,
        first: ModuleInfo | None = None,
    ) -> ModuleInfo:  # fmt: skip
        """Return the path of a module by its parent and name: a known one or a new row.

        Args:
            module: the module.
            parent: the path above.
            name: its own name there.
            first: the first path of the module; None: this is it.
        """
        known = None if parent is None else parent.inner.get(name)
        if known is not None and known.module() is module:
            return known
        if first is None and known is not None and self._replaces(known, module):
            known.module = weakref.ref(module)
            self._known[id(module)] = known
            self._own(module, known.number)
            return known
        if self._further >= _MOST_FURTHER and first is not None:
            return first
        path = name if parent is None else f"{parent.path}.{name}"
        number = None if parent is None else parent.number
        if first is None:
            info = self._enter(module, number, path)
        else:
            info = self._enter_again(module, number, path, first)
        if parent is not None:
            parent.inner[name] = info
        return info

    def _replaces(self, known: ModuleInfo, module: nn.Module) -> bool:
        """Tell whether a module is like one that is gone: what each call makes anew has one row."""
        return (
            known.module() is None
            and known.kind is type(module)
            and known.first == known.number
            and all(self.rows[known.number][k] == v for k, v in _described(module).items())
        )

    def _enter_again(
        self, module: nn.Module, parent: int | None, path: str, first: ModuleInfo
    ) -> ModuleInfo:
        """Enter a further path of a module."""
        self._further += 1
        info = ModuleInfo(len(self.infos), parent, path, module, first.neuron)
        info.first = first.number
        for name in ("dims", "hides", "in_tree_mode", "tells"):
            setattr(info, name, getattr(first, name))
        self.infos.append(info)
        where = {"module_id": info.number, "parent_id": parent, "path": path}
        self.rows.append({**self.rows[first.number], **where, "same_as": first.number})
        return info

    def _enter(self, module: nn.Module, parent: int | None, path: str) -> ModuleInfo:
        info = ModuleInfo(len(self.infos), parent, path, module, self._neurons.kind(module))
        self._known[id(module)] = info
        self.infos.append(info)
        info.hides = self._neurons.hides_work(module)
        info.tells = self._neurons.tells(module)
        info.dims = reader_of(module)
        numbers = self._own(module, info.number)
        self.rows.append(
            {
                "module_id": info.number,
                "parent_id": parent,
                "path": path,
                **_described(module),
                "neuron": info.neuron,
                "hides_work": info.hides,
                "same_as": None,
                "parameter_ids": numbers,
            }
        )
        return info

    def _own(self, module: nn.Module, number: int) -> list[int]:
        """Note whose the parameters of a module are, and what kind of values it holds.

        Returns:
            The numbers of its parameters: the same for the same tensor, whoever holds it.
        """
        numbers = []
        for parameter in module._parameters.values():
            if parameter is not None:
                known = self._owners.get(id(parameter))
                if known is None or known[0]() is not parameter:
                    known = (weakref.ref(parameter), number, self._tensors)
                    self._tensors += 1
                self._owners[id(parameter)] = (known[0], number, known[2])
                numbers.append(known[2])
                self._mark(parameter, _PARAMETER)
        for buffer in module._buffers.values():
            if buffer is not None:
                self._mark(buffer, _BUFFER)
        return numbers

    def tree(self) -> list[tuple[int | None, str, type[nn.Module]]]:
        """Return (number of the parent, path, class) of the modules, by number."""
        return [(info.parent, info.path, info.kind) for info in self.infos]

    @property
    def has_compiled(self) -> bool:
        """Whether `torch.compile` has made one of the modules."""
        return any(info.kind.__name__ == COMPILED for info in self.infos)

    def parameters(self) -> Iterator[torch.Tensor]:
        """Yield the parameters of the modules seen so far."""
        for known in [*self._owners.values()]:
            if (parameter := known[0]()) is not None:
                yield parameter

    def owner(self, parameter: torch.Tensor) -> int | None:
        """Return the number of the module that owns a parameter: of its path that ran first."""
        entry = self._owners.get(id(parameter))
        if entry is None or entry[0]() is not parameter:
            return None
        ran_as = self.infos[entry[1]].ran_as
        return entry[1] if ran_as is None else ran_as


def _held_as(holder: nn.Module | None, module: nn.Module) -> str:
    """Return how a caller holds a module: the attribute, else the module's class."""
    name = None
    if holder is not None:
        name = child_of(holder, module) or attribute_of(holder, module)
    return name or type(module).__name__


def _described(module: nn.Module) -> dict[str, Any]:
    """Return what a row of `modules` says of the module itself."""
    return {
        "class": class_name(module),
        "attributes": attributes_of(module),
        "parameters": _describe(module._parameters.items()),
        "buffers": _describe(module._buffers.items()),
    }
