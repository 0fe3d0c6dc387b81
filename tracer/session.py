"""One recording as it runs: what is done for every dispatched call."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import torch

from ..schemas import SpikeClass
from .claims import Claims
from .columns import Rows
from .composites import Composites
from .descent import FIXED
from .handler import CALL_WIDTH, run
from .higher_order import HigherOrder, is_higher_order
from .measurers import choose_measurer
from .operands import Op, describe_op
from .pretended import SYMBOLIC, are_pretended, is_symbolic, is_traced
from .signatures import Signatures
from .statistics import Statistics
from .synapses_of_calls import Synapses
from .threads import BEFORE, RUNNING, Thread
from .values import OpaqueLayout, Value, Values

_PART_CELLS = (1 << 16) * CALL_WIDTH
_CPU = torch._C.DispatchKey.CPU
_CONSTANT = int(SpikeClass.CONSTANT)
_MOST_PARTS = 256
"""A whole is measured for a part's sake up to so many times its size: time steps, not data sets."""
_Tensor = torch.Tensor
_ALONE = nullcontext()


class Session:
    """The state of a recording and the handler of its calls.

    Args:
        statistics: "full", "synaptic" or "none".
        memory: follow when storages are let go.

    Attributes:
        gone: of each storage that was let go, the call that came next, and its number.
        roots: root calls so far.
        first: the first one of the present sample; they are numbered from 1.
        elsewhere: of root calls since then that go on with a sample before it, that sample.
        before: the one before of the module that the present one is of; 0: none.
        stepped: root calls so far at the ends of the last two steps that a sample did not end.
        look: called now and then, when the calls fill `look_at` cells; whoever is called sets it.
        broke: called with an exception that ends the recording.
        ordered: calls are numbered without a gap or a repeat so far, as flushes find.
        tied: the last one that read what an earlier one of its sample had computed.
        waiting: a device is to count values once the present call ends.
        device_failed: the error of a device that could not say what it had counted.
        device_note: what the user is told of how devices counted, "" nothing.
    """

    def __init__(self, statistics: str, *, memory: bool = False) -> None:
        self.statistics = statistics
        self.gone: list[tuple[int, int]] = []
        self.values = Values()
        if memory:
            self.values.let_go = self._note_gone
        self.signatures = Signatures()
        self.claims = Claims()
        self.composites = Composites()
        self.higher_order = HigherOrder()
        self.measurer = choose_measurer()
        self.synapses = Synapses()
        self.ops: dict[int, Op] = {}
        self.calls = Rows(CALL_WIDTH)
        self.operands = Rows(4)
        self.synaptic_rows: list[tuple[int, Any]] = []
        self.seq = 0
        self.step = 0
        self.sample = -1
        self.roots = 0
        self.first = 1
        self.elsewhere: dict[int, int] = {}
        self.stepped = (0, 0)
        self.before = 0
        self.tied = 0
        self.parts = 0
        self.ordered = True
        self.passive = True
        self.lock = threading.RLock()
        self.shared = torch.cuda.device_count() > 1  # an autograd thread for each device
        self.owner_of: Any = None
        self.spiking_calls = 0
        self.look: Any = None
        self.broke: Any = None
        self.part_cells = _PART_CELLS
        self.look_at = 0
        self.watch: Any = None
        self.devices: set[str] = set()
        self.opaque: dict[Any, OpaqueLayout] = {}
        self.device_measurer: Any = None
        self.waiting = False
        self.device_failed: Exception | None = None
        self.device_note = ""
        self.unread: dict[str, int] = {}

    def _note_gone(self, storage: int) -> None:
        self.gone.append((self.seq, storage))

    def dispatch(
        self, mode: Any, thread: Thread, func: Any, types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Run a call and note it."""
        if self.passive or thread.quiet:
            return func(*args, **kwargs)
        if types and _foreign(types):
            if not are_pretended(types):
                return NotImplemented
            if self._is_passed_over((*args, *kwargs.values())):
                return func(*args, **kwargs)
        op = self.ops.get(id(func))  # ops live for ever; hashing one takes longer
        if op is None:
            if is_higher_order(func):
                return self.higher_order.run(self, mode, thread, func, args, kwargs)
            try:
                op = self.ops[id(func)] = describe_op(func)
            except Exception as error:
                return self.recover(thread, error, func, args, kwargs)
        if op.special:
            if op.skipped:
                return func(*args, **kwargs)
            if op.composite is not None and _is_for(op.composite, args):
                return self.composites.run(mode, func, op, args, kwargs)
        with self.lock if self.shared else _ALONE:  # threads take turns: in the order of calls
            try:
                result = run(self, thread, func, op, args, kwargs)
                if op.inexact is not None and not _differentiated(args):
                    self.composites.doubt(op, result, lambda: self.seq)
                return result
            except BaseException as error:
                if thread.ran is RUNNING:  # the op's own
                    thread.ran = BEFORE
                    self.drop_waiting()
                    raise
                return self.recover(thread, error, func, args, kwargs)

    def recover(
        self, thread: Thread, error: BaseException, func: Any, args: Any, kwargs: Any
    ) -> Any:
        """Go on after an exception in the recorder, not in the op: the model sees none of it.

        An interrupt goes to the script: the op that it hit has handed nothing back, and is not
        recorded. Anything else ends the recording, and the op runs, if it has not.

        Raises:
            BaseException: the interrupt.
        """
        ran, thread.ran = thread.ran, BEFORE
        self.drop_waiting()
        self.calls.cut()
        self.operands.cut()
        while self.synaptic_rows and self.synaptic_rows[-1][0] >= self.seq:
            self.synaptic_rows.pop()
        cells = self.operands.flat
        while cells and cells[-self.operands.width] >= self.seq:
            del cells[-self.operands.width :]
        if not isinstance(error, Exception):
            raise error
        self.broke(error)
        return func(*args, **kwargs) if ran is BEFORE else ran

    def drop_waiting(self) -> None:
        """What a device was to count of a call that has failed is not counted."""
        if self.waiting:
            self.device_measurer.forget()

    def _is_passed_over(self, arguments: Any) -> bool:
        """Tell whether an op on FakeTensors is not recorded; name it if nobody else will."""
        if is_traced():
            return True
        symbolic = is_symbolic(arguments)
        if symbolic:
            hidden = self.higher_order.hidden
            hidden[SYMBOLIC] = hidden.get(SYMBOLIC, 0) + 1
        return symbolic

    def value_of(self, tensor: torch.Tensor) -> Any:
        """Return the value of a tensor, or the opaque layout of one without strided elements."""
        try:
            return self.values.of(tensor)
        except Exception:  # sparse, nested, functional, ...: nothing may stop a recording
            opaque = OpaqueLayout(tensor)
            self.unread[opaque.layout_name] = self.unread.get(opaque.layout_name, 0) + 1
            opaque = self.opaque.setdefault(opaque.key(), opaque)
            self.values.layout = opaque
            return opaque

    def is_fixed(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor holds what was computed from parameters and buffers alone."""
        try:
            return self.values.storage_of(tensor).data == FIXED
        except Exception:  # a tensor without a storage
            return False

    def measure(self, value: Value, tensor: torch.Tensor) -> None:
        """Measure a value while a tensor that holds it is at hand."""
        layout = value.layout
        if value.device != "cpu":
            self._measure_on_device(value, tensor)
            return
        try:
            found = self.measurer.measure_at(layout, tensor.data_ptr())
        except Exception:  # nothing may stop a recording
            value.measured = 2
            return
        if isinstance(found, int):  # no class: only the nonzero elements are told
            value.measured = 1
            value.bits = 0
            value.nonzero = found * layout.repeats
        else:
            self.keep(value, found)
            if found.bits & _CONSTANT and tensor._is_view():
                self._measure_whole(value, tensor)

    def _measure_whole(self, part: Value, tensor: torch.Tensor) -> None:
        """Measure of what a part is one, where its own elements say nothing: all of them equal."""
        if part.base is None and tensor._base is not None:
            layout = self.values.layout
            whole = self.value_of(tensor._base)
            self.values.layout = layout  # that of the tensor which is asked for at present
            if type(whole) is Value and whole.layout.span > part.layout.span:
                part.base = whole
        base = part.base
        if base is None or base.measured or base.version != base.storage.version:
            return
        if part.layout.span < base.layout.span <= _MOST_PARTS * part.layout.span:
            start = tensor.data_ptr() + (base.offset - part.offset) * base.layout.itemsize
            found = self.measurer.measure_at(base.layout, start)
            self.keep(base, Statistics(0, found) if type(found) is int else found)

    def keep(self, value: Value, found: Any) -> None:
        """Note what was measured of the elements without repeats."""
        value.told(found)
        times = value.layout.repeats
        if times != 1:
            value.nonzero *= times
            value.ones = None if value.ones is None else value.ones * times
            value.minus_ones = None if value.minus_ones is None else value.minus_ones * times

    def _measure_on_device(self, value: Value, tensor: torch.Tensor) -> None:
        if self.device_measurer is None:
            from .device_statistics import DeviceMeasurer

            self.device_measurer = DeviceMeasurer(self)
        self.device_measurer.measure(value, tensor)


def _is_for(composite: Any, args: Any) -> bool:
    """Tell whether a composite kernel is the one that runs: nested tensors have others."""
    tensors = [a for a in args if isinstance(a, _Tensor)]
    if composite is _CPU:
        return all(a.is_cpu for a in tensors)
    return not any(a.is_nested for a in tensors)


def _differentiated(args: Any) -> bool:
    """Return whether autograd follows an operand: it needs the vectors, recorded or not."""
    return torch.is_grad_enabled() and any(getattr(a, "requires_grad", False) for a in args)


def _foreign(types: Any) -> bool:
    """Tell whether a wrapper subclass takes part: it unwraps first, its parts are recorded."""
    return any(t.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl for t in types)


__all__ = ["CALL_WIDTH", "Session"]
