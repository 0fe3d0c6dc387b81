"""Which calls of the model belong to one sample: to one inference.

A root call begins a new sample unless a neuron carries state into it, or one of its inputs came
out of an earlier root call of the same sample: directly, or through ops outside every module.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch

from .modules import ModuleCall, Modules
from .neurons import Neurons
from .session import Session

_MOST = 4096


class Samples:
    """Counts samples.

    Args:
        session: the recording; its `sample` is kept.
        modules: the module tree.
        neurons: what is known of neurons.

    Attributes:
        carried: calls of the model over which neurons of several steps carried their state.
    """

    def __init__(self, session: Session, modules: Modules, neurons: Neurons) -> None:
        self.carried = 0
        self._session = session
        self._modules = modules
        self._neurons = neurons
        self._live: set[int] = set()
        self._made: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._given: set[int] = set()
        self._steps: dict[int, int] = {}
        self._carrying = False

    def given(self, tensors: list[torch.Tensor]) -> bool:
        """Tell whether a root call is given what came out of an earlier one of its sample."""
        self._given = set(map(id, tensors))
        return any(self._is_made(t) or self._came(t) for t in tensors)

    def _is_made(self, tensor: torch.Tensor) -> bool:
        made, version = self._made.get(id(tensor), (None, 0))
        return made is not None and made() is tensor and _version(tensor) == version

    def _came(self, tensor: torch.Tensor) -> bool:
        session = self._session
        if session.sample < 0:
            return False
        try:
            storage = session.values.storages.get(tensor.untyped_storage()._cdata)
        except Exception:  # a tensor without a storage
            return False
        return storage is not None and storage.sample == session.sample

    def carries_state(self) -> bool:
        """Tell whether a neuron carries state into a root call that begins."""
        for number in list(self._live):
            module = self._modules.infos[number].module()
            if module is not None and self._neurons.states(module):
                return True
            self._live.discard(number)
        return False

    def begin(self) -> None:
        """Begin a new sample."""
        self._session.sample += 1
        self._made.clear()

    def has_state(self, number: int, *, live: bool = True) -> None:
        """Note whether a neuron has state after a call."""
        (self._live.add if live else self._live.discard)(number)

    def made(self, tensors: Iterable[torch.Tensor]) -> None:
        """Note what comes out of a root call, recorded or not."""
        if len(self._made) > _MOST:
            self._made = {k: made for k, made in self._made.items() if made[0]() is not None}
        for tensor in tensors:
            if id(tensor) not in self._given:
                self._made[id(tensor)] = (weakref.ref(tensor), _version(tensor))

    def left(self, call: ModuleCall, tensors: Iterable[torch.Tensor]) -> None:
        """Note the end of a recorded root call and what comes out of it."""
        tensors = list(tensors)
        self.made(tensors)
        storages = self._session.values.storages
        for tensor in tensors:
            try:
                storage = storages.get(tensor.untyped_storage()._cdata)
            except Exception:  # a tensor without a storage
                continue
            # What was there before and not written, a weight or the input, came from elsewhere.
            if storage is not None and (
                storage.written_seq >= call.first_seq or storage.number >= call.first_storage
            ):
                storage.sample = self._session.sample
        self._count_carried(call)

    def ran(self, call: ModuleCall, has_state: bool) -> None:
        """Note a call of a neuron as it begins."""
        known = call.root.ran.setdefault(call.info.number, (has_state, 0))
        call.root.ran[call.info.number] = (known[0], known[1] + (call.time_steps or 1))

    def _count_carried(self, call: ModuleCall) -> None:
        """Count a call into which all neurons carry the state of a call of several steps.

        A loop over steps calls the model, and each neuron, once a step: it is meant to carry.
        """
        ran = call.ran
        carried = bool(ran) and not call.continues
        for number, (had_state, _) in ran.items():
            carried = carried and had_state and self._steps.get(number, 0) > 1
        if carried:
            self.carried += 1 if self._carrying else 2
        self._carrying = carried
        self._steps.update({number: steps for number, (_, steps) in ran.items()})


def _version(tensor: torch.Tensor) -> int:
    try:
        return int(tensor._version)
    except Exception:  # of inference mode
        return 0
