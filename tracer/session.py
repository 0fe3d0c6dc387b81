"""One recording as it runs: what is done for every dispatched call."""

from __future__ import annotations

import threading
from typing import Any

import torch

from ..schemas import SpikeClass
from .claims import Claim, Claims
from .columns import NULL, Rows
from .composites import Composites, within_autocast
from .gradients import recomputes
from .layouts import Layout
from .operands import Op, describe_op
from .signatures import Signatures
from .statistics import Measurer
from .synapses_of_calls import Synapses
from .values import OpaqueLayout, Value, Values

FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = range(4)
_ACCUMULATE = (1 << 64) - 1
_GRADIENT = 2
CALL_WIDTH = 15
_PART_CELLS = (1 << 16) * CALL_WIDTH
_OUTSIDE = (NULL, NULL, NULL)
_THREE_NULLS = [NULL] * 3
_NONE: Any = ()

_graph_task = torch._C._current_graph_task_id
_sequence_nr = torch._C._autograd._get_sequence_nr
_current_node = torch._C._current_autograd_node
_grad_enabled = torch.is_grad_enabled
_within_autocast = within_autocast
_CPU = torch._C.DispatchKey.CPU
_Tensor = torch.Tensor
_ABSENT = (None, None, None)


class Thread:
    """What is particular to a thread that is recorded."""

    __slots__ = ("newest", "number", "optimizing", "passed", "quiet", "stack")

    def __init__(self, number: int) -> None:
        self.number = number
        self.stack: list[Any] = []
        self.passed: list[Any] = []  # modules whose calls run unrecorded
        self.newest = -1
        self.optimizing = 0
        self.quiet = False


class Session:
    """The state of a recording and the handler of its calls.

    Args:
        statistics: "full", "synaptic" or "none"; "auto" decides by the device of each storage.
    """

    def __init__(self, statistics: str) -> None:
        self.statistics = statistics
        self.values = Values()
        self.signatures = Signatures()
        self.claims = Claims()
        self.composites = Composites()
        self.measurer = Measurer()
        self.synapses = Synapses()
        self.ops: dict[Any, Op] = {}
        self.calls = Rows(CALL_WIDTH)
        self.operands = Rows(4)
        self.synaptic_rows: list[tuple[int, Any]] = []
        self.seq = 0
        self.step = 0
        self.label = NULL
        self.passive = True
        self.lock = threading.RLock()
        self.shared = torch.cuda.device_count() > 1  # an autograd thread for each device
        self.owner_of: Any = None
        self.spiking_calls = 0
        self.on_full: Any = None
        self.watch: Any = None
        self.devices: set[str] = set()
        self.opaque: dict[Any, OpaqueLayout] = {}
        self.device_measurer: Any = None
        self.unread: dict[str, int] = {}
        self.parts = 0

    def dispatch(
        self, mode: Any, thread: Thread, func: Any, types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Run a call and note it."""
        if self.passive or thread.quiet:
            return func(*args, **kwargs)
        if types and _foreign(types):
            return NotImplemented
        op = self.ops.get(id(func))  # ops live for ever; hashing one takes longer
        if op is None:
            op = self.ops[id(func)] = describe_op(func)
        if op.skipped:
            return func(*args, **kwargs)
        if op.composite is not None and (op.composite is not _CPU or _on_cpu(args)):
            return self.composites.run(mode, func, op, args, kwargs)
        if op.inexact is not None:
            self.composites.doubt(op)
        if self.shared:
            with self.lock:  # threads take turns: the order of calls is that of their numbers
                return self._run(thread, func, op, args, kwargs)
        return self._run(thread, func, op, args, kwargs)

    def _run(self, thread: Thread, func: Any, op: Op, args: Any, kwargs: Any) -> Any:
        grad = _grad_enabled()
        if _graph_task() != -1:
            stage, context, forward = self._backward_context(thread)
        else:
            forward = NULL
            stack = thread.stack
            if stack:
                context = stack[-1].context
                stage = FORWARD
            else:
                context = _OUTSIDE
                # Optimizers run without grad; what runs with it is a closure's.
                stage = OPTIMIZER if thread.optimizing and not grad else FORWARD
        if grad:
            number = _sequence_nr() - 1
            if number > thread.newest:
                thread.newest = number
                claim = Claim(self.seq, *context, op.packet, thread.number)
                self.claims.note(thread.number, number, claim)
        level = self.statistics
        measure = stage != OPTIMIZER and (level == "full" or (level == "synaptic" and op.measured))
        ins, listed, numbers = self._operands(op, args, kwargs)
        others = self._others(op, args, kwargs) if op.others else _NONE
        writes = op.written_slots
        if writes and op.unsaid_if_training and not self._training(op, others):
            writes = _NONE
        keys: list[Any] = [op]
        for value, tensor, layout in ins:
            keys.append(layout)
            if value is not None:
                keys.append(tensor.requires_grad)
                if type(value) is Value:
                    keys.append(value.storage.device)
                    if measure and not value.measured and not op.is_view:
                        if op.reads_written or not writes or value is not ins[0][0]:
                            self.measure(value, tensor)
        synaptic = None
        if op.synaptic and measure:
            synaptic = self.synapses.before(self, op, ins, others)
        if _within_autocast() and not op.is_view:
            result = self.composites.call(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        seq = self.seq
        self.seq = seq + 1
        if writes:
            self._note_writes(op, writes, args, kwargs, seq)
        outs = self._results(op, result, seq, stage, measure, ins)
        for value, tensor, layout in outs:
            keys.append(layout)
            if value is not None:
                keys.append(tensor.requires_grad)
                if type(value) is Value:
                    keys.append(value.storage.device)
        keys += others
        if numbers:
            keys += numbers
        key = tuple(keys)
        try:
            signature = self.signatures.known.get(key)
        except TypeError:  # an argument that cannot be hashed
            key = tuple(k if _hashable(k) else str(k) for k in key)
            signature = self.signatures.known.get(key)
        if signature is None:
            signature = self._sign(key, op, ins, listed, outs, others, numbers)
        if synaptic is not None:
            self.synaptic_rows.append((seq, synaptic))
        self._note(seq, signature, stage, thread.number, context, forward, grad, ins, outs)
        if self.watch is not None:
            self.watch(seq, context[0], func, args, kwargs, result)
        return result

    def _backward_context(self, thread: Thread) -> tuple[int, tuple[int, int, int], int]:
        node = _current_node()
        stack = thread.stack
        name = node.name() if node is not None else ""
        if stack and stack[-1].in_task:
            top = stack[-1]
            return RECOMPUTE, (top.info.number, top.number, top.training), NULL
        stage = RECOMPUTE if recomputes(name) else BACKWARD
        if node is None:
            return stage, (NULL, NULL, NULL), NULL
        number = node._sequence_nr()
        if number == _ACCUMULATE:
            owner = self.owner_of(node.variable) if hasattr(node, "variable") else None
            return stage, (NULL if owner is None else owner, NULL, NULL), NULL
        claim = self.claims.find(number, name)
        if claim is not None:
            return stage, (claim.module, claim.module_call, claim.training), claim.seq
        enclosing = self.claims.enclosing(number)
        return stage, enclosing or (NULL, NULL, NULL), NULL

    def _operands(self, op: Op, args: Any, kwargs: Any) -> tuple[list[Any], Any, Any]:
        """Return [(value, tensor, layout)] by slot, lists' lengths, and numbers."""
        ins: list[Any] = []
        listed = None
        numbers = None
        count = len(args)
        values = self.values
        of = values.of
        for slot in op.slots:
            index = slot.index
            a = args[index] if index < count else kwargs.get(slot.name)
            if isinstance(a, _Tensor):
                try:
                    ins.append((of(a), a, values.layout))
                except Exception:  # no strided elements
                    ins.append((self.value_of(a), a, values.layout))
            elif a is None:
                if slot.is_list:
                    listed = listed or {}
                    listed[slot.name] = 0
                else:
                    ins.append(_ABSENT)
            elif slot.is_list:
                listed = listed or {}
                listed[slot.name] = len(a)
                for element in a:
                    ins.append(
                        (self.value_of(element), element, values.layout)
                        if isinstance(element, _Tensor)
                        else _ABSENT
                    )
            else:
                ins.append(_ABSENT)
                numbers = numbers or []
                numbers.append((slot.name, a))
        return ins, listed, numbers

    @staticmethod
    def _others(op: Op, args: Any, kwargs: Any) -> list[Any]:
        count = len(args)
        found = []
        for index, name, _, default in op.others:
            a = args[index] if index < count else (kwargs.get(name, default) if kwargs else default)
            if type(a) is list:
                a = tuple(a)
            elif isinstance(a, torch.Generator):
                a = None
            found.append(a)
        return found

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

    def measure(self, value: Value, tensor: torch.Tensor) -> None:
        """Measure a value while a tensor that holds it is at hand."""
        layout = value.layout
        storage = value.storage
        if storage.device != "cpu":
            self._measure_on_device(value, tensor)
            return
        try:
            found = self.measurer.measure(layout.flat(tensor.data_ptr()), layout.bits)
        except Exception:  # nothing may stop a recording
            value.measured = 2
            return
        if found[0] or layout.repeats != 1:
            self.keep(value, found)
        else:
            value.measured = 1
            value.bits = 0
            value.nonzero = found[1]

    def keep(self, value: Value, found: Any) -> None:
        """Note what was measured."""
        times = value.layout.repeats
        value.measured = 1
        value.bits, nonzero, ones, minus, value.low, value.high = found
        value.nonzero = nonzero * times
        if value.bits:
            value.ones = None if ones is None else ones * times
            value.minus_ones = None if minus is None else minus * times
        else:
            value.low = value.high = None

    def _measure_on_device(self, value: Value, tensor: torch.Tensor) -> None:
        if self.device_measurer is None:
            from .device_statistics import DeviceMeasurer

            self.device_measurer = DeviceMeasurer(self)
        self.device_measurer.measure(value, tensor)

    @staticmethod
    def _training(op: Op, others: list[Any]) -> bool:
        for (_, name, _, _), value in zip(op.others, others, strict=True):
            if name == "training":
                return bool(value)
        return True

    def _note_writes(self, op: Op, writes: Any, args: Any, kwargs: Any, seq: int) -> None:
        count = len(args)
        counted = 0 if op.unsaid_if_training else 1
        for slot in writes:
            a = args[slot.index] if slot.index < count else kwargs.get(slot.name)
            for tensor in a if slot.is_list and a is not None else (a,):
                if isinstance(tensor, _Tensor):
                    try:
                        storage = self.values.storage_of(tensor)
                    except Exception:  # no storage to speak of
                        continue
                    self.values.wrote(storage, seq, counted)

    def _results(
        self, op: Op, result: Any, seq: int, stage: int, measure: bool, ins: list[Any]
    ) -> list[Any]:
        """Return [(value or opaque or None, tensor, layout)] of the results; measure new ones."""
        if isinstance(result, _Tensor):
            return [self._result(op, result, seq, stage, measure, ins)]
        if not isinstance(result, tuple | list):
            return []
        outs: list[Any] = []
        for item in result:
            for tensor in item if isinstance(item, list | tuple) else (item,):
                if isinstance(tensor, _Tensor):
                    outs.append(self._result(op, tensor, seq, stage, measure, ins))
                else:
                    outs.append(_ABSENT)
        return outs

    def _result(
        self, op: Op, tensor: Any, seq: int, stage: int, measure: bool, ins: list[Any]
    ) -> Any:
        values = self.values
        before = values.storages_seen
        try:
            value = values.of(tensor)
        except Exception:  # no strided elements
            return (self.value_of(tensor), tensor, values.layout)
        layout = values.layout
        if values.storages_seen != before:
            storage = value.storage
            if not op.hollow:  # what holds nothing yet is filled by somebody unseen, perhaps
                storage.written_seq = value.written_seq = seq
            if stage == BACKWARD:
                storage.kind = value.kind = _GRADIENT
            if storage.device != "cpu":
                self.devices.add(storage.device)
        if not op.is_view:
            if op.events or layout.dtype is torch.bool:
                value.events = True
            elif op.carries and not value.events:
                value.events = _carried(op, ins)
            if measure and not value.measured and not op.hollow:
                self.measure(value, tensor)
        return (value, tensor, layout)

    def _sign(
        self,
        key: Any,
        op: Op,
        ins: list[Any],
        listed: Any,
        outs: list[Any],
        others: list[Any],
        numbers: Any,
    ) -> int:
        names: list[tuple[str, int | None]] = []
        for slot in op.slots:
            if slot.is_list and listed is not None and slot.name in listed:
                names.extend((slot.name, index) for index in range(listed[slot.name]))
            else:
                names.append((slot.name, None))
        operands = [
            (name, index, _layout_key(*operand))
            for (name, index), operand in zip(names, ins, strict=True)
        ]
        results = [_layout_key(*result) for result in outs]
        return self.signatures.add(key, op, operands, results, [*others, *(numbers or ())])

    def _note(
        self,
        seq: int,
        signature: int,
        stage: int,
        thread: int,
        context: Any,
        forward: int,
        grad: bool,
        ins: list[Any],
        outs: list[Any],
    ) -> None:
        ids = [v.number if type(v) is Value else NULL for v, _, _ in ins]
        ids += _THREE_NULLS
        out = outs[0][0] if outs else None
        module, call, training = context
        calls = self.calls
        calls.append(
            (seq, signature, stage, self.label, self.step, thread, module, call, forward, grad,
             training, ids[0], ids[1], ids[2], out.number if type(out) is Value else NULL)
        )  # fmt: skip
        if len(ins) > 3:
            for slot in range(3, len(ins)):
                if ids[slot] != NULL:
                    self.operands.append((seq, 0, slot, ids[slot]))
        if len(outs) > 1:
            for slot in range(1, len(outs)):
                value = outs[slot][0]
                if type(value) is Value:
                    self.operands.append((seq, 1, slot, value.number))
        if len(calls.flat) >= _PART_CELLS and not self.spiking_calls:
            self.on_full()


def _carried(op: Op, ins: list[Any]) -> bool:
    known = [value.events for value, _, _ in ins if type(value) is Value]
    if op.packet == "aten.copy_":
        known = known[1:]
    if not known:
        return False
    return all(known) if op.needs_all_events else known[0]


def _on_cpu(args: Any) -> bool:
    return all(a.is_cpu for a in args if isinstance(a, _Tensor))


def _layout_key(value: Any, tensor: Any, layout: Any) -> Any:
    if value is None:
        return None
    if type(value) is Value:
        return (layout, value.storage.device, bool(tensor.requires_grad))
    return (layout, str(tensor.device), bool(tensor.requires_grad))


def _hashable(thing: Any) -> bool:
    try:
        hash(thing)
    except TypeError:
        return False
    return True


def _foreign(types: Any) -> bool:
    """Tell whether a wrapper subclass takes part: it unwraps first, its parts are recorded."""
    return any(t.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl for t in types)


EVENTS = int(SpikeClass.EVENTS)
__all__ = ["BACKWARD", "EVENTS", "FORWARD", "OPTIMIZER", "RECOMPUTE", "Layout", "Session", "Thread"]
