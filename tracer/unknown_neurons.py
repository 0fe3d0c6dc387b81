"""Modules that seem to be spiking neurons, of no library that the recorder knows: they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..schemas import SpikeClass
from .modules import ModuleCall, Modules
from .nested import tensors_in
from .neuron_libraries import library_of
from .neurons import Neurons
from .session import Session
from .values import Value

_BINARY, _CONSTANT = int(SpikeClass.BINARY), int(SpikeClass.CONSTANT)
_CALLS = 32
"""So many calls of a module are looked at: neurons are silent at first."""
_NAMED = 3


class UnknownNeurons:
    """Finds modules without weights that hand back zeros and ones and are given something else.

    Args:
        session: the recording.
        modules: the module tree.
        neurons: what is known of neurons.
    """

    def __init__(self, session: Session, modules: Modules, neurons: Neurons) -> None:
        self._session = session
        self._modules = modules
        self._neurons = neurons
        self._left: dict[int, int] = {}
        self._recurrent: dict[str, str] = {}
        self._open: list[tuple[int, type, tuple[str, ...], list[Any]]] = []

    def left(self, call: ModuleCall, module: nn.Module, given: Any, output: Any) -> None:
        """Look at a call that ends; `given`: its arguments, `output`: what it hands back."""
        number = call.info.number
        left = self._left.get(number)
        if left == 0:
            return
        if left is None:
            left = _CALLS if self._is_open(call, module) else 1
            if any(base.__name__ == "SpikingRNNCellBase" for base in type(module).__mro__):
                self._recurrent[call.info.path] = type(module).__qualname__
        self._left[number] = left - 1
        made = next(tensors_in(output), None)
        if left == 1 or made is None or not made.is_floating_point():
            return
        values = [self._session.value_of(tensor) for tensor in (made, *tensors_in(given))]
        if _spikes(values) is not False:
            self._open.append((number, type(module), tuple(_states(module)), values))
            if values[0].measured == 1:
                self._left[number] = 0

    def _is_open(self, call: ModuleCall, module: nn.Module) -> bool:
        """Tell whether a module may be a neuron: none is known around or in it, and no weight."""
        above: ModuleCall | None = call
        while above is not None:
            if above.info.neuron is not None:
                return False
            above = above.parent
        return _may_be_neuron(module, self._neurons)

    def told(self) -> Iterator[str]:
        """Yield what the user is told, a text for each class."""
        paths: dict[type, dict[str, None]] = {}
        states: dict[type, tuple[str, ...]] = {}
        found = {number for number, *_, values in self._open if _spikes(values)}
        kinds = {kind for number, kind, *_ in self._open if number in found}
        for number, kind, held, _ in self._open:
            if number in found and not self._is_inside(number, kinds):
                paths.setdefault(kind, {})[self._modules.infos[number].path] = None
                states.setdefault(kind, held)
        if self._recurrent:
            kinds_of_cells = ", ".join(sorted({*self._recurrent.values()}))
            yield (
                f"{_listed([*self._recurrent])} ({kinds_of_cells}): spikes come out, but "
                "recurrent layers are not known as neurons: they have no firing rate"
            )
        for kind, named in paths.items():
            rule = f"NeuronRule({kind.__name__}, kind='LIF', states={states[kind]!r})"
            yield (
                f"{_listed([*named])} ({kind.__module__}.{kind.__qualname__}): spikes come out, "
                f"but this is not known as a neuron. If it is one, record with neurons=[{rule}]"
            )

    def _is_inside(self, number: int, kinds: set[type]) -> bool:
        """Tell whether a module is a part of one of a class that was found."""
        parent = self._modules.infos[number].parent
        while parent is not None:
            info = self._modules.infos[parent]
            if info.kind in kinds:
                return True
            parent = info.parent
        return False


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def states_of_unknown(module: nn.Module, neurons: Neurons) -> Iterator[torch.Tensor]:
    """Yield the tensors that are held by modules which may be neurons of no known library."""
    for each in module.modules():
        if not type(each).__module__.startswith("torch."):
            names = [*_states(each)]
            if names and _may_be_neuron(each, neurons):
                yield from (getattr(each, name) for name in names)


def _may_be_neuron(module: nn.Module, neurons: Neurons) -> bool:
    """Tell whether a module may be a neuron of no known library: it has no weights in it."""
    return not any(
        neurons.kind(inner) is not None
        or library_of(type(inner)) is not None
        or any(p is not None and p.ndim > 1 for p in inner._parameters.values())
        for inner in module.modules()
    )


def _spikes(values: list[Any]) -> bool | None:
    """Tell whether spikes are made from what is none; None: a device is still measuring."""
    made, *given = values
    if any(type(v) is not Value or v.measured in (0, 2) for v in values):
        return False
    if any(v.measured == 3 for v in values):
        return None
    is_made = bool(made.bits & _BINARY) and not made.bits & _CONSTANT
    return is_made and not any(v.bits > 0 and v.bits & _BINARY for v in given)


def _states(module: nn.Module) -> Iterator[str]:
    """Yield the attributes of a module that hold tensors and are no parameters."""
    for held in (module.__dict__, module._buffers):
        for name, item in held.items():
            if isinstance(item, torch.Tensor) and item.ndim and name.isidentifier():
                yield name
