"""The module tree and the calls of its modules."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .module_rows import Described
from .neurons import Neurons

_PARAMETER, _BUFFER = 0, 1
_ATTRIBUTES = (
    "kernel_size", "stride", "padding", "dilation", "groups", "transposed", "output_padding",
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_groups",
    "normalized_shape", "eps", "momentum", "affine", "track_running_stats", "num_embeddings",
    "embedding_dim", "hidden_size", "input_size", "num_layers", "bidirectional", "batch_first",
    "output_size", "ceil_mode", "p", "inplace", "v_threshold", "v_reset", "tau", "decay_input",
    "detach_reset", "step_mode", "backend", "store_v_seq", "beta", "threshold", "reset_mechanism",
)  # fmt: skip


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold, or None."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return (
            value if value == value and value not in (float("inf"), float("-inf")) else str(value)
        )
    if isinstance(value, tuple | list) and all(isinstance(v, int | float | str) for v in value):
        return list(value)
    if isinstance(value, torch.Tensor) and value.numel() == 1 and value.device.type == "cpu":
        return float(value.detach())
    return None


def attributes_of(module: nn.Module) -> str:
    """Return the attributes that analyzers use, as JSON."""
    found = {}
    for name in _ATTRIBUTES:
        value = getattr(module, name, None)
        if value is not None and not callable(value):
            plain = _plain(value)
            if plain is not None:
                found[name] = plain
    if hasattr(module, "v_reset") and module.v_reset is None:
        found["v_reset"] = None
    return json.dumps(found)


def _describe(tensors: Any) -> list[dict[str, Any]]:
    rows = []
    for name, tensor in tensors:
        if tensor is None:
            continue
        try:
            shape, numel = [int(n) for n in tensor.shape], int(tensor.numel())
        except Exception:  # uninitialized (lazy) parameters have no shape yet
            shape, numel = [], 0
        rows.append(
            {
                "name": name,
                "shape": shape,
                "dtype": str(tensor.dtype).removeprefix("torch."),
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
    """What is fixed for a module while it is recorded.

    Attributes:
        flattens: it joins time and batch for the modules inside.
        hides: why the dispatcher does not see its work, or None.
        tells: it may know batch and time steps.
    """

    __slots__ = (
        "flattens", "hides", "in_tree_mode", "kind", "module", "neuron", "number", "parent", "path",
        "root", "tells",
    )  # fmt: skip

    def __init__(
        self, number: int, parent: int | None, path: str, module: nn.Module, neuron: str | None
    ) -> None:
        self.number = number
        self.parent = parent
        self.path = path
        self.module = weakref.ref(module)
        self.kind = type(module)
        self.neuron = neuron
        self.root = number
        self.in_tree_mode: str | None = None
        self.hides: str | None = None
        self.tells = False
        self.flattens = type(module).__name__ in ("SeqToANNContainer", "MultiStepContainer")


class ModuleCall:
    """A module call that runs.

    Attributes:
        root: the call that all this is inside of; itself if it is none.
        frame: (batch, time steps) that calls inside are compared with; None: unknown.

    Of root calls alone:
        continues: an input came out of an earlier root call of the same sample.
        guessed: its batch was guessed: no neuron has confirmed it yet.
        keywords: keyword arguments were seen as it began.
        ran: by neuron, whether it carried state of an earlier root call of the sample as it first
            began, and the time steps that it ran.
    """

    __slots__ = (
        "batch", "context", "continues", "first_node", "first_seq",
        "frame", "grad", "guessed", "in_task", "info", "inputs", "keywords", "label", "number",
        "parent", "ran", "root", "sample", "stage", "state_before", "step", "step_mode", "thread",
        "time_steps", "training",
    )  # fmt: skip

    batch: int | None
    context: tuple[int, int, int]
    continues: bool
    first_node: int
    first_seq: int
    frame: tuple[int | None, int | None] | None
    grad: bool
    guessed: bool
    in_task: bool
    inputs: list[Described]
    keywords: bool
    label: int
    ran: dict[int, tuple[bool, int]]
    root: ModuleCall
    sample: int
    stage: int
    state_before: list[Described] | None
    step: int
    step_mode: Any
    thread: int
    time_steps: int | None
    training: int

    def __init__(self, number: int, info: ModuleInfo, parent: ModuleCall | None) -> None:
        self.number = number
        self.info = info
        self.parent = parent


class Modules:
    """The modules seen, as rows of the `modules` table and by identity."""

    def __init__(self, neurons: Neurons, mark: Callable[[torch.Tensor, int], None]) -> None:
        self._neurons = neurons
        self._mark = mark
        self._known: dict[int, ModuleInfo] = {}
        self.infos: list[ModuleInfo] = []
        self.rows: list[dict[str, Any]] = []
        self._owners: dict[int, tuple[Any, int]] = {}
        self._roots: dict[str, int] = {}
        self._row_of: dict[int, int] = {}

    def find(self, module: nn.Module) -> ModuleInfo | None:
        """Return what is known of a module."""
        info = self._known.get(id(module))
        return info if info is not None and info.module() is module else None

    def adopt(self, module: nn.Module, parent: ModuleInfo | None = None) -> ModuleInfo:
        """Enter a module and everything below it."""
        name = type(module).__name__
        if parent is None:
            seen = self._roots[name] = self._roots.get(name, 0) + 1
            path = name if seen == 1 else f"{name}#{seen}"
        else:
            path = f"{parent.path}.{name}"
        first = self._enter(module, parent.number if parent else None, path)
        if parent is not None:
            first.root = parent.root
        infos = {"": first}
        for child_name, child in module.named_modules():
            if child_name == "" or self.find(child) is not None:
                continue
            above = child_name.rpartition(".")[0]
            while above not in infos:
                above = above.rpartition(".")[0]
            info = self._enter(child, infos[above].number, f"{path}.{child_name}")
            info.root = first.root
            infos[child_name] = info
        modes = {getattr(m, "step_mode", None) for m in module.modules()} - {None}
        mode = "m" if "m" in modes else "s" if modes else None
        for info in infos.values():
            info.in_tree_mode = mode
        return first

    def _enter(self, module: nn.Module, parent: int | None, path: str) -> ModuleInfo:
        info = ModuleInfo(len(self.infos), parent, path, module, self._neurons.kind(module))
        self._known[id(module)] = info
        self.infos.append(info)
        info.hides = self._neurons.hides_work(module)
        info.tells = self._neurons.tells(module)
        own = list(module._parameters.items())
        for _, parameter in own:
            if parameter is not None:
                self._owners[id(parameter)] = (weakref.ref(parameter), info.number)
                self._mark(parameter, _PARAMETER)
        for buffer in module._buffers.values():
            if buffer is not None:
                self._mark(buffer, _BUFFER)
        self.rows.append(
            {
                "module_id": info.number,
                "parent_id": parent,
                "path": path,
                "class": class_name(module),
                "attributes": attributes_of(module),
                "parameters": _describe(own),
                "buffers": _describe(module._buffers.items()),
                "neuron": info.neuron,
                "hides_work": info.hides,
            }
        )
        return info

    def tree(self) -> list[tuple[int | None, str, type[nn.Module]]]:
        """Return (number of the parent, path, class) of the modules, by number."""
        return [(info.parent, info.path, info.kind) for info in self.infos]

    def owner(self, parameter: torch.Tensor) -> int | None:
        """Return the number of the module that owns a parameter."""
        entry = self._owners.get(id(parameter))
        return entry[1] if entry is not None and entry[0]() is parameter else None
