"""Following module calls through global hooks: who runs, with what, and what one sample is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as nn_module

from .modules import ModuleCall, ModuleInfo, Modules
from .nested import handed_back, tensors_in
from .neurons import Neurons
from .session import Session, _graph_task, _sequence_nr
from .threads import Thread
from .values import Value

_STATE, _INPUT, _ACTIVATION = 3, 4, 5


class _quiet:
    """What the recorder itself does in a hook is not recorded."""

    __slots__ = ("_thread",)

    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    def __enter__(self) -> None:
        self._thread.quiet = True

    def __exit__(self, *_: object) -> None:
        self._thread.quiet = False


class ModuleCalls:
    """Keeps the stack of module calls and turns ended ones into rows.

    Args:
        session: the recording.
        modules: the module tree.
        neurons: what is known of neurons.
        batch_dim: dimension of the batch in inputs of modules that do not tell.
        time_dim: dimension of time in them, None if they have none.
        find_thread: returns the thread that is recorded under the calling one, or None.
        root_entered: called at each root call that counts, with its arguments and whether it
            starts a new sample.
        root_left: called at the end of a recorded root call with its keyword arguments.
    """

    def __init__(self, session: Session, modules: Modules, neurons: Neurons, *,
                 batch_dim: int | None, time_dim: int | None,
                 find_thread: Callable[[], Thread | None],
                 root_entered: Callable[[nn.Module, Any, bool], None],
                 root_left: Callable[[Any], None]) -> None:  # fmt: skip
        self.session = session
        self.modules = modules
        self.neurons = neurons
        self.rows: list[dict[str, Any]] = []
        self.labels: list[str] = []
        self.hidden: dict[tuple[str, str], int] = {}
        self._batch_dim = batch_dim
        self._time_dim = time_dim
        self._find_thread = find_thread
        self._root_entered = root_entered
        self._root_left = root_left
        self._handles: list[Any] = []
        self._next = 0
        self._sample = -1
        self._epochs: dict[int, int] = {}
        self._live: set[int] = set()
        self.off = False
        self.waiting = False

    def install(self) -> None:
        """Set the hooks."""
        self._handles = [
            nn_module.register_module_forward_pre_hook(self._enter),
            nn_module.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.off:
            return
        thread = self._find_thread()
        if thread is None:
            self._hide(module)
            return
        session = self.session
        with session.lock, _quiet(thread):
            in_task = _graph_task() != -1
            parent = thread.stack[-1] if thread.stack else None
            if parent is None and not thread.passed and not in_task:
                self._root(module, args)
            if session.passive:
                self._pass(thread, module)
                return
            info = self.modules.find(module) or self.modules.adopt(
                module, parent.info if parent is not None else None
            )
            call = self._open(thread, module, info, parent, args, in_task)
            thread.stack.append(call)

    def _root(self, module: nn.Module, args: Any) -> None:
        session = self.session
        new_sample = self._starts_sample()
        if not session.passive:
            session.values.root_call()
        self._root_entered(module, args, new_sample)
        if new_sample and not session.passive:
            self._sample += 1

    def _pass(self, thread: Thread, module: nn.Module) -> None:
        """Follow a call that is not recorded: it may leave state in neurons, hold other calls."""
        above = thread.passed[-1] if thread.passed else None
        info = self.modules.find(module)
        if info is None and self.waiting:
            info = self.modules.adopt(module, None if above is None else self.modules.find(above))
        if info is not None and info.neuron is not None:
            self._live.add(info.number)
        if not thread.stack:
            thread.passed.append(module)

    def _open(self, thread: Thread, module: nn.Module, info: ModuleInfo, parent: ModuleCall | None,
              args: Any, in_task: bool) -> ModuleCall:  # fmt: skip
        session = self.session
        call = ModuleCall(self._next, info, parent)
        self._next += 1
        call.training = 1 if module.training else 0
        call.context = (info.number, call.number, call.training)
        call.in_task = in_task or (parent is not None and parent.in_task)
        call.stage = "recompute" if call.in_task else "forward"
        call.grad = torch.is_grad_enabled()
        call.first_seq = session.seq
        call.first_node = _sequence_nr()
        thread.newest = max(thread.newest, call.first_node - 1)  # nobody inside made those
        call.step, call.label, call.sample = session.step, session.label, max(self._sample, 0)
        call.thread = thread.number
        call.step_mode = getattr(module, "step_mode", None)
        kind = _INPUT if parent is None else _ACTIVATION
        read = info.neuron is not None or parent is None
        call.inputs = [self._described(t, kind, read) for t in tensors_in(args)]
        self._steps(call, module)
        call.state_before, call.epoch = None, None
        if info.neuron is not None:
            states = self.neurons.states(module)
            call.state_before = [self._described(t, _STATE, True) for t in states]
            if not states:
                self._epochs[info.number] = self._epochs.get(info.number, -1) + 1
            call.epoch = self._epochs.setdefault(info.number, 0)
            session.spiking_calls += 1
        return call

    def _leave(self, module: nn.Module, args: Any, *given: Any) -> None:
        if self.off:
            return
        # After an exception PyTorch calls global hooks without the keyword arguments.
        kwargs, output = given if len(given) == 2 else ({}, None)
        thread = self._find_thread()
        if thread is None:
            return
        passed = thread.passed
        if passed:
            if module in passed:
                del passed[len(passed) - 1 - passed[::-1].index(module) :]
            return
        with self.session.lock, _quiet(thread):
            stack = thread.stack
            place = len(stack) - 1
            while place >= 0 and stack[place].info.module() is not module:
                place -= 1
            if place < 0:
                return
            while len(stack) > place + 1:  # calls that ended by an exception unseen
                self._close(thread, stack.pop(), None, {}, None)
            self._close(thread, stack.pop(), module, kwargs, output)

    def _close(
        self, thread: Thread, call: ModuleCall, module: nn.Module | None, kwargs: Any, output: Any
    ) -> None:
        session = self.session
        info = call.info
        neuron = info.neuron is not None
        if kwargs and not session.passive:
            read = neuron or call.parent is None
            kind = _INPUT if call.parent is None else _ACTIVATION
            first = not call.inputs
            call.inputs += [self._described(t, kind, read) for t in tensors_in(kwargs)]
            if first and module is not None:
                self._steps(call, module)
        if call.parent is None and not session.passive:
            self._root_left(kwargs)
        read = neuron or call.parent is None
        outputs = (
            []
            if session.passive
            else [
                self._described(t, None, read, events=neuron and spikes == 0)
                for spikes, t in enumerate(handed_back(output))
            ]
        )
        states = self.neurons.states(module) if neuron and module is not None else []
        after = None
        if neuron:
            session.spiking_calls -= 1
            after = [] if session.passive else [self._described(t, _STATE, True) for t in states]
            (self._live.add if states else self._live.discard)(info.number)
        last_node = _sequence_nr()
        thread.newest = max(thread.newest, last_node - 1)
        session.claims.span(
            thread.number, call.first_node, last_node, info.number, call.number, call.training
        )
        why = self.modules.rows[info.number]["hides_work"]
        if why is not None:
            key = (info.path, why)
            self.hidden[key] = self.hidden.get(key, 0) + 1
        self.rows.append(
            {
                "module_call_id": call.number,
                "module_id": info.number,
                "parent_call_id": call.parent.number if call.parent is not None else None,
                "first_seq": call.first_seq,
                "last_seq": session.seq - 1,
                "first_node": call.first_node,
                "last_node": last_node,
                "thread": call.thread,
                "stage": call.stage,
                "label": self.labels[call.label] if 0 <= call.label < len(self.labels) else None,
                "step": call.step,
                "training": bool(call.training),
                "grad_enabled": call.grad,
                "step_mode": call.step_mode if isinstance(call.step_mode, str) else None,
                "batch": call.batch,
                "time_steps": call.time_steps,
                "inputs": call.inputs,
                "outputs": outputs,
                "state_before": call.state_before,
                "state_after": after,
                "state_epoch": call.epoch,
                "sample": call.sample,
            }
        )

    def _described(
        self, tensor: torch.Tensor, kind: int | None, read: bool, *, events: bool = False
    ) -> dict[str, Any]:
        session = self.session
        value = session.value_of(tensor)
        number = None
        if type(value) is Value:
            number = value.number
            if (
                kind is not None
                and value.kind == _ACTIVATION
                and (kind == _STATE or value.written_seq < 0)
            ):
                value.kind = kind
            if read and not value.measured and session.statistics != "none":
                session.measure(value, tensor)
            if events and value.measured == 3:
                session.device_measurer.claim(value)
            elif events and value.bits > 0:
                value.events = True
        shape = session.values.layout.shape
        return {
            "value_id": number,
            "shape": None if shape is None else [int(n) for n in shape],
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "requires_grad": bool(tensor.requires_grad),
        }

    def _steps(self, call: ModuleCall, module: nn.Module) -> None:
        call.batch = call.time_steps = None
        shape = tuple(call.inputs[0]["shape"] or ()) if call.inputs else ()
        told = self.neurons.steps(module, shape)
        if told is not None:
            call.batch, call.time_steps = told
            return
        parent = call.parent
        if parent is not None and parent.step_mode is None and _flattens(parent.info):
            call.batch, call.time_steps = parent.batch, parent.time_steps
            return
        if _flattens(call.info) and len(shape) > 1:
            call.batch, call.time_steps = shape[1], shape[0]
            return
        mode = call.info.in_tree_mode
        if mode == "m" and self._time_dim is None:
            return
        if self._batch_dim is not None and len(shape) > self._batch_dim:
            call.batch = shape[self._batch_dim]
        if self._time_dim is not None:
            call.time_steps = shape[self._time_dim] if len(shape) > self._time_dim else None
        elif mode == "s":
            call.time_steps = 1

    def _starts_sample(self) -> bool:
        """Tell whether a root call begins a new inference: no neuron carries state into it."""
        for number in list(self._live):
            module = self.modules.infos[number].module()
            if module is not None and self.neurons.states(module):
                return False
            self._live.discard(number)
        return True

    def _hide(self, module: nn.Module) -> None:
        info = self.modules.find(module)
        what = info.path if info is not None else type(module).__name__
        key = (what, f"ran in thread {threading.current_thread().name!r}, which is not recorded")
        self.hidden[key] = self.hidden.get(key, 0) + 1


def _flattens(info: ModuleInfo) -> bool:
    module = info.module()
    return module is not None and type(module).__name__ in (
        "SeqToANNContainer",
        "MultiStepContainer",
    )
