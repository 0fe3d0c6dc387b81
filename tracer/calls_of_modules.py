"""Following module calls through global hooks: who runs, with what, and what one sample is."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.modules import module as nn_module

from ..schemas import NON_SPIKING
from .attributes import attribute
from .batches import BatchDim, Batches
from .columns import NULL
from .descent import KEPT, TIED
from .eager import traces_for_an_operator
from .module_rows import Described, ModuleRows
from .modules import ModuleCall, ModuleInfo, Modules
from .nested import handed_back, listed, packed_batch, tensors_in
from .neurons import Neurons
from .running import caller_in, runs
from .samples import Samples, within_a_sample
from .session import Session
from .steps import Steps
from .threads import OUTSIDE, Thread, in_backward
from .undecided import Undecided
from .unknown_neurons import UnknownNeurons, states_of_unknown
from .values import Value

_STATE, _INPUT, _ACTIVATION = 3, 4, 5
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_MOST_OPENINGS = 8
"""Samples that may turn out to be parts of the one before them."""


class _Opening(NamedTuple):
    """How a sample began: where, and the first root call and the step of the one before it."""

    mark: Undecided
    first: int
    step: int


_graph_task = torch._C._current_graph_task_id
_sequence_nr = torch._C._autograd._get_sequence_nr


class ModuleCalls:
    """Keeps the stack of module calls and turns ended ones into rows.

    Args:
        session: the recording.
        modules: the module tree.
        neurons: what is known of neurons.
        dims: dimensions of batch and time in the inputs of the model, as the user said.
        find_thread: returns the thread that is recorded under the calling one, or None.
        root_entered: called at each root call, with its module, the tensors that it is given and
            whether it starts a new sample, None if that is not known yet.
        note: tells the user something.
        broke: ends the recording after an exception of its own.
    """

    def __init__(self, session: Session, modules: Modules, neurons: Neurons, *,
                 dims: tuple[BatchDim, int | None], find_thread: Callable[[], Thread | None],
                 root_entered: Callable[[nn.Module, list[torch.Tensor], bool | None], None],
                 note: Callable[[str], None],
                 broke: Callable[[Exception], None]) -> None:  # fmt: skip
        self.session = session
        self.modules = modules
        self.neurons = neurons
        self.rows = ModuleRows()
        self.samples = Samples(session)
        self.unknown = UnknownNeurons(session, modules, neurons)
        self.hidden: dict[tuple[str, str], int] = {}
        self._batches = Batches(neurons, self.rows, dims, session.is_fixed, note)
        self._find_thread = find_thread
        self._root_entered = root_entered
        self._note = note
        self._broke = broke
        self.steps: Steps
        self._handles: list[Any] = []
        self._next = 0
        self._opened = 0
        self._undecided: Undecided | None = None
        self._opened_by: deque[_Opening] = deque(maxlen=_MOST_OPENINGS)
        self._waits: Undecided | None = None
        self._waits_for_state = False
        self._waited = 0
        self._leading = False
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
        if self.off or torch.compiler.is_compiling():
            return
        thread = self._find_thread()
        if thread is None:
            self._hide(module)
            return
        frame = caller_in(nn_module.__dict__)
        thread.quiet = True  # what the recorder itself does in a hook is not recorded
        try:
            if self.session.shared:
                with self.session.lock:
                    self._entered(thread, module, args, frame)
            else:
                self._entered(thread, module, args, frame)
        except Exception as error:
            self._broke(error)
        finally:
            thread.quiet = False

    def drop_ended(self, thread: Thread) -> None:
        """Close calls that have ended unseen: an interrupt out of a module runs no hooks."""
        if thread.identity != threading.get_ident():
            return  # the autograd engine's thread works for it: its own calls are not to be seen
        stack, passed = thread.stack, thread.passed
        while stack and (stack[-1].written or not runs(stack[-1].runs_in)):
            if not stack[-1].written:
                self._close(thread, stack[-1], None, {}, None)
            stack.pop()
        while passed and not runs(passed[-1][1]):
            passed.pop()
        if not stack and not self.session.shared:
            self.session.spiking_calls = 0

    def lost(self, threads: Iterable[Thread]) -> int:
        """Return how many calls have begun and neither run now nor have a row."""
        running = sum(not call.written for thread in threads for call in thread.stack)
        return self._opened - running - self.rows.total

    def _entered(
        self, thread: Thread, module: nn.Module, args: Any, frame: FrameType | None
    ) -> None:
        if thread.stack or thread.passed:
            self.drop_ended(thread)
        parent = thread.stack[-1] if thread.stack else None
        info = self.modules.called(module, None if parent is None else parent.info)
        in_task = _graph_task() != -1
        if not in_task:
            self.session.claims.enter(OUTSIDE if parent is None else parent.context)
        if info is None and isinstance(module, GraphModule):
            # Not a module of the model: a function traced for a higher-order operator.
            if in_task or thread.higher or traces_for_an_operator():
                return
        keywords, continues = None, False
        if parent is None and not thread.passed and not in_task:
            # PyTorch tells global hooks of keyword arguments only as a call ends, when a model
            # may have written them.
            keywords = None if frame is None else frame.f_locals.get("kwargs")
            keywords = keywords if isinstance(keywords, dict) else None
            objects = self.waiting  # no op tells that an object's tensors are read
            given = (
                each for part in (args, keywords) for each in tensors_in(part, objects=objects)
            )
            continues = self._root(thread, module, [*given])
        if self.session.passive:
            self._pass(thread, module, frame)
            return
        if info is None:
            info = self.modules.adopt(module, parent.info if parent is not None else None)
        elif parent is None and in_task:
            info = self._again(thread, module, info)
        call = ModuleCall(self._next, info, parent)
        self._next += 1
        call.runs_in = frame
        call.in_task = in_task or (parent is not None and parent.in_task)
        if parent is None:
            call.root, call.continues, call.guessed, call.ran = call, continues, False, {}
            call.keywords, call.keeps = keywords is not None, False
            call.seen, call.listed = None, listed((*args, *(keywords or {}).values()))
        else:
            call.root, call.continues, call.keywords = parent.root, False, False
        call.packed = None
        if parent is None or isinstance(module, nn.RNNBase):
            call.packed = packed_batch((*args, *(keywords or {}).values()))
        self._open(thread, module, call, [*tensors_in(args), *tensors_in(keywords)])
        stack = thread.stack
        self._opened += 1  # no interrupt comes between this and the next line
        stack.append(call)

    def _again(self, thread: Thread, module: nn.Module, info: ModuleInfo) -> ModuleInfo:
        """Return the path of a call that runs in a backward pass: that of the one it repeats."""
        _, place, _ = in_backward(thread, self.session.claims, self.modules.owner)
        return info if place[0] < 0 else self.modules.called_again(module, place[0], info)

    def _root(self, thread: Thread, module: nn.Module, given: list[torch.Tensor]) -> bool:
        """Begin a root call; tell whether it is given what an earlier one of its sample made."""
        session, samples = self.session, self.samples
        if session.passive and not self.waiting:
            return False
        self.settle()
        session.roots += 1
        thread.root = session.roots
        samples.called(module)
        new: bool | None
        if session.passive:
            new = samples.entered_unseen(module, given, self._states(module))
        else:
            new = samples.entered(given)
            session.values.root_call()
        self._root_entered(module, given, new)
        self._wait_on()
        if session.passive:
            return False
        if samples.takes_up(given):
            self._note(within_a_sample("the warm-up", module))
        if new is None:
            self._undecided = Undecided(session, self.rows, thread)
        else:
            samples.settle(thread.root, new=new or session.sample < 0)
            if new:
                self._opened_by.clear()  # it was said, or is the first: nothing goes before it
        return new is False

    def settle(self, *, new: bool | None = None, leads: bool = False) -> None:
        """Decide whether the root call that is undecided begins a new sample.

        Args:
            new: what is known of it as it ends; None: by what it has read so far.
            leads: it keeps no state, and may lead to one that does and continues a sample.
        """
        mark, self._undecided = self._undecided, None
        if mark is None:
            return
        session = self.session
        if new is None:
            new = not self.samples.has_read(mark.root)
        before = (session.first, session.step)
        sample = self.samples.settle(mark.root, new=new)
        if sample != session.sample:
            new = False
            mark.move_to_sample(self.rows, sample)
        if new and self.steps.over:
            if leads or self.steps.leads:
                self._waits = self._waits or mark
                self._waits_for_state = leads
            else:
                mark.drop(session, self.rows)
        if not (new and self._waits is not None):
            self.steps.root_settled(new_sample=new)
        if new and not self.off:
            self._leading = leads
            mark.move(session, self.rows)
            self._opened_by.append(_Opening(mark, *before))

    @property
    def leading(self) -> bool:
        """A sample has begun that may turn out to be part of the one before it."""
        return self._leading or (self._undecided is not None and self.samples.kept)

    def end_waiting(self) -> None:
        """End the recording, if what follows a last sample turned out to belong to a new one."""
        mark = self._waits
        self.wait_no_more()
        if mark is not None:
            self._undecided = None
            mark.drop(self.session, self.rows)
            self.steps.finish()

    def wait_no_more(self) -> None:
        """Keep what follows a last sample, whether it turns out to belong to it or not."""
        self._waits, self._waits_for_state, self._waited = None, False, 0

    def decide(self, *, belongs: bool) -> None:
        """Decide on what follows a last sample; state alone tells where it may lead to state."""
        if belongs and not self._waits_for_state:
            self.wait_no_more()
        else:
            self.end_waiting()

    def _wait_on(self) -> None:
        """Decide on what follows a last sample as a root call begins, if that call tells."""
        steps = self.steps
        if self._waits is not None and not self._waits_for_state:
            self._waited += 1
            if steps.stays or not steps.leads or self._waited >= _MOST_OPENINGS:
                self.decide(belongs=steps.stays)

    def _pass(self, thread: Thread, module: nn.Module, frame: FrameType | None) -> None:
        """Follow a call that is not recorded: it may leave state in neurons, hold other calls."""
        above = thread.passed[-1][0] if thread.passed else None
        info = self.modules.find(module)
        if info is None and self.waiting:
            info = self.modules.adopt(module, None if above is None else self.modules.find(above))
        if not thread.stack:
            thread.passed.append((module, frame))

    def _open(
        self, thread: Thread, module: nn.Module, call: ModuleCall, given: list[torch.Tensor]
    ) -> None:
        session, info = self.session, call.info
        call.training = 1 if attribute(module, "training") else 0
        call.context = (info.number, call.number, call.training)
        call.stage = 1 if call.in_task else 0
        call.grad = torch.is_grad_enabled()
        call.first_seq = session.seq
        call.first_node = node = _sequence_nr()
        if node > thread.newest:
            thread.newest = node - 1  # nobody inside made those
        call.step, call.label, call.sample = session.step, thread.label, max(session.sample, 0)
        if call.parent is not None:
            call.sample = call.root.sample
        call.thread = thread.number
        call.step_mode = attribute(module, "step_mode") if info.tells else None
        if info.neuron is not None or isinstance(module, _RECURRENT):
            call.root.keeps = True
        read = info.neuron is not None or _is_root(call)
        kind = _INPUT if _is_root(call) else _ACTIVATION
        call.inputs = [self._described(t, kind, read) for t in given]
        self._batches.read(call, module, given)
        call.state_before = None
        states: list[torch.Tensor] = []
        if info.neuron is not None:
            states = self.neurons.states(module)
            call.state_before = [self._described(t, _STATE, True) for t in states]
            call.spiking = True
            session.spiking_calls += 1
            self.samples.ran(call, states)
        if session.waiting:
            session.device_measurer.launch()
        if info.hides is not None:
            self.samples.hidden(call, [*given, *states])

    def _leave(self, module: nn.Module, args: Any, *given: Any) -> None:
        if self.off or torch.compiler.is_compiling():
            return
        # After an exception PyTorch calls global hooks without the keyword arguments.
        raised = len(given) != 2
        kwargs, output = ({}, None) if raised else given
        thread = self._find_thread()
        if thread is None:
            return
        thread.quiet = True
        try:
            if thread.passed:
                self._passed(thread, module, (args, kwargs), output)
            elif self.session.shared:
                with self.session.lock:
                    self._left(thread, module, args, kwargs, output, raised)
            else:
                self._left(thread, module, args, kwargs, output, raised)
        except Exception as error:
            self._broke(error)
        finally:
            thread.quiet = False

    def _passed(self, thread: Thread, module: nn.Module, given: Any, output: Any) -> None:
        """A call that was not recorded has ended."""
        passed = thread.passed
        places = [place for place, (held, _) in enumerate(passed) if held is module]
        if places:
            del passed[places[-1] :]
            if self.waiting and not passed:
                given = [*tensors_in(given[0]), *tensors_in(given[1])]
                made = [*tensors_in(output, objects=True)]
                self.samples.left_unseen(module, given, made, self._states(module))

    def _states(self, module: nn.Module) -> list[torch.Tensor]:
        """Return the states of the neurons in a module, and of what may be one."""
        states = [state for each in module.modules() for state in self.neurons.states(each)]
        return [*states, *states_of_unknown(module, self.neurons)]

    def _left(self, thread: Thread, module: nn.Module, args: Any, kwargs: Any, output: Any,
              raised: bool) -> None:  # fmt: skip
        stack = thread.stack
        place = len(stack) - 1
        while place >= 0 and stack[place].info.module() is not module:
            place -= 1
        if place < 0:
            return
        while len(stack) > place + 1:  # calls that ended by an exception unseen
            if not stack[-1].written:
                self._close(thread, stack[-1], None, {}, None)
            stack.pop()
        if not stack[-1].written:
            if not self.session.passive:
                self.unknown.left(stack[-1], module, (args, kwargs), output)
            self._close(thread, stack[-1], module, kwargs, output, raised=raised)
        stack.pop()

    def _close(
        self, thread: Thread, call: ModuleCall, module: nn.Module | None, kwargs: Any, output: Any,
        *, raised: bool = True,
    ) -> None:  # fmt: skip
        session = self.session
        info = call.info
        root, neuron = _is_root(call), info.neuron is not None
        outputs: list[Described] = []
        if not session.passive:
            if kwargs and not call.keywords:
                self._keywords(call, module, kwargs)
            made = handed_back(output)
            fires = neuron and info.neuron != NON_SPIKING
            outputs = [
                self._described(t, None, neuron or root, events=fires and place == 0)
                for place, t in enumerate(made)
            ]
            if info.hides is not None:
                state = self.neurons.states(module) if neuron and module is not None else []
                self.samples.unseen(call, [*made, *state])
            if root:
                self._root_left(call, thread, made)
                if not raised:
                    self._batches.ended(call, outputs)
            if call.frame is not None and call.frame.single:
                self._batches.left(outputs)
        after = self._after(call, module) if neuron else None
        if session.waiting:
            session.device_measurer.launch()
        if self.off:
            return
        last_node = _sequence_nr()
        if last_node > thread.newest:
            thread.newest = last_node - 1
        if last_node > call.first_node:
            session.claims.span(thread.number, call.first_node, last_node, call.context)
        if info.hides is not None:
            key = (info.path, info.hides)
            self.hidden[key] = self.hidden.get(key, 0) + 1
        self.rows.append(
            call,
            (call.number, info.number, NULL if call.parent is None else call.parent.number,
             call.first_seq, session.seq - 1, call.first_node, last_node, call.thread, call.stage,
             call.label, call.step, call.training, call.grad, self.rows.mode_code(call.step_mode),
             _cell(call.batch), _cell(call.time_steps), call.batch_from, call.steps_from,
             call.sample, raised),
            call.inputs, outputs, call.state_before, after,
        )  # fmt: skip
        call.runs_in = None

    def _root_left(self, call: ModuleCall, thread: Thread, made: list[torch.Tensor]) -> None:
        """Note the end of a root call."""
        samples = self.samples
        ties = samples.ties(thread.root, made)
        if call.keeps and ties & KEPT and samples.takes_up_state:
            if (kept := call.info.module()) is not None:
                self._note(within_a_sample("the warm-up", kept))
        opened = self._opened_since_before() if call.keeps and ties & KEPT else []
        if not opened:
            ties &= TIED
        if self._waits_for_state and not opened and (call.keeps or not ties):
            self.end_waiting()
            return
        if self._undecided is not None:
            self.settle(new=not ties, leads=samples.kept and not call.keeps)
            call.step = self.session.step
            call.sample = self.session.elsewhere.get(thread.root, self.session.sample)
        if opened:
            self._put_before(opened)
        if call.keeps:
            samples.kept, self._leading = True, False
        if thread.root not in self.session.elsewhere:
            samples.made(made)
        samples.count_carried(call, tied=bool(ties))

    def _opened_since_before(self) -> list[_Opening]:
        """Return how the samples began since the module of a root call was called before.

        None of them, if that sample or what follows is no longer in memory.
        """
        session, opened = self.session, self._opened_by
        later = [each for each in opened if each.mark.root > session.before]
        if not later or later[0].first > session.before:
            return []
        return later if later[0].mark.is_in_memory(session) else []

    def _put_before(self, opened: list[_Opening]) -> None:
        """Put samples, with the root call that ends, into the one before them, whose state it has.

        A loop over time may call an encoder, or layer by layer, before it comes to what has state:
        these root calls began a sample each, which turns out to be none.
        """
        session, first = self.session, opened[0]
        session.sample -= len(opened)
        session.first = first.first
        self.samples.put_together()
        step = self.steps.rejoined(first.step, len(opened) - (self._waits is not None))
        first.mark.put_before(session, self.rows, step=step)
        for _ in opened:
            self._opened_by.pop()
        self.wait_no_more()

    def _keywords(self, call: ModuleCall, module: nn.Module | None, kwargs: Any) -> None:
        """Add what was passed in by keyword to a call's inputs: hooks learn of it at the end."""
        first = not call.inputs
        read = call.info.neuron is not None or _is_root(call)
        kind = _INPUT if _is_root(call) else _ACTIVATION
        given = [*tensors_in(kwargs)]
        call.inputs += [self._described(t, kind, read) for t in given]
        if first and module is not None:
            if isinstance(module, nn.RNNBase):
                call.packed = packed_batch(kwargs.values())
            self._batches.read(call, module, given)

    def _after(self, call: ModuleCall, module: nn.Module | None) -> list[Described]:
        """Return the states of a neuron at the end of its call."""
        info = call.info
        if call.spiking:
            call.spiking = False
            self.session.spiking_calls -= 1
        states = self.neurons.states(module) if module is not None else []
        if module is not None:
            for name in self.neurons.lacking(module):
                self._note(f"NeuronRule({type(module).__name__}): {info.path} has no {name!r}")
        return [] if self.session.passive else [self._described(t, _STATE, True) for t in states]

    def _described(
        self, tensor: torch.Tensor, kind: int | None, read: bool, *, events: bool = False
    ) -> Described:
        session = self.session
        value = session.value_of(tensor)
        layout = session.values.layout
        if type(value) is Value:
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
        return (value.number, layout, tensor.requires_grad)

    def _hide(self, module: nn.Module) -> None:
        info = self.modules.find(module)
        what = info.path if info is not None else type(module).__name__
        key = (what, f"ran in thread {threading.current_thread().name!r}, which is not recorded")
        self.hidden[key] = self.hidden.get(key, 0) + 1


def _is_root(call: ModuleCall) -> bool:
    """Tell whether a call is one of the model; what a backward pass repeats is none."""
    return call.parent is None and not call.in_task


def _cell(number: int | None) -> int:
    return NULL if number is None else int(number)
