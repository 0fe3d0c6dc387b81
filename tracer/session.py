"""One recording as it runs: what is done for every dispatched call."""

from __future__ import annotations

import threading
from typing import Any

import torch

from ..schemas import SpikeClass
from .claims import Claims
from .columns import NULL, Rows
from .composites import Composites, within_autocast
from .operands import ABSENT, Op, describe_op, other_arguments
from .signatures import Signatures
from .statistics import Measurer
from .synapses_of_calls import Synapses
from .threads import BACKWARD, FORWARD, OPTIMIZER, OUTSIDE, RECOMPUTE, Thread, in_backward
from .values import OpaqueLayout, Value, Values

_GRADIENT = 2
CALL_WIDTH = 15
_PART_CELLS = (1 << 16) * CALL_WIDTH
EVENTS = int(SpikeClass.EVENTS)

_graph_task = torch._C._current_graph_task_id
_sequence_nr = torch._C._autograd._get_sequence_nr
_grad_enabled = torch.is_grad_enabled
_CPU = torch._C.DispatchKey.CPU
_Tensor = torch.Tensor


class Session:
    """The state of a recording and the handler of its calls.

    Args:
        statistics: "full", "synaptic" or "none".
    """

    def __init__(self, statistics: str) -> None:
        self.statistics = statistics
        self.values = Values()
        self.signatures = Signatures()
        self.claims = Claims()
        self.composites = Composites()
        self.measurer = Measurer()
        self.synapses = Synapses()
        self.ops: dict[int, Op] = {}
        self.calls = Rows(CALL_WIDTH)
        self.operands = Rows(4)
        self.synaptic_rows: list[tuple[int, Any]] = []
        self.seq = 0
        self.step = 0
        self.label = NULL
        self.parts = 0
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
        if op.special:
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
        """Run a call and note it; written out at length, for it is what recording costs."""
        grad = _grad_enabled()
        forward = NULL
        if _graph_task() != -1:
            stage, context, forward = in_backward(thread, self.claims, self.owner_of)
        elif thread.stack:
            stage, context = FORWARD, thread.stack[-1].context
        else:
            # Optimizers run without grad; what runs with it is a closure's.
            stage, context = OPTIMIZER if thread.optimizing and not grad else FORWARD, OUTSIDE
        seq = self.seq
        if grad:
            number = _sequence_nr() - 1
            if number > thread.newest:
                thread.newest = number
                self.claims.note(number, (seq, *context, op.packet, thread.number))
        level = self.statistics
        measure = stage != OPTIMIZER and (level == "full" or (level == "synaptic" and op.measured))
        reads = measure and not op.is_view
        spare = op.overwrites
        key: list[Any] = [op]
        ins: list[Any] = []
        flags = 1
        values = self.values
        of = values.of
        for kind, a in zip(op.plan, args, strict=False):
            if not kind:
                key.append(tuple(a) if type(a) is list else a)
            elif isinstance(a, _Tensor):
                try:
                    value = of(a)
                except Exception:  # no strided elements
                    value = self.value_of(a)
                layout = values.layout
                ins.append((value, a, layout))
                key.append(layout)
                flags += flags + a.requires_grad
                if value.device != "cpu":
                    key.append(value.device)
                if reads and not value.measured and not spare:
                    self.measure(value, a)
                spare = False
            elif kind == 2 and a is not None:
                flags = self._listed(a, ins, key, flags, reads and not spare)
                spare = False
            else:
                key.append(a)
                if kind == 1:
                    ins.append(ABSENT)
        if kwargs:
            flags = self._named(op, len(args), kwargs, ins, key, flags, reads)
        else:
            ins += op.absent[len(args)]
        synaptic = None
        if op.synaptic and measure:
            synaptic = self.synapses.before(self, op, ins, other_arguments(op, args, kwargs))
        if within_autocast() and not op.is_view:
            result = self.composites.call(func, args, kwargs)
        else:
            result = op.call(*args, **kwargs)
        self.seq = seq + 1
        if op.writes:
            self._note_writes(op, args, kwargs, seq)
        outs: Any = ()
        if isinstance(result, _Tensor):
            before = values.storages_seen
            try:
                value = of(result)
            except Exception:  # no strided elements
                value = self.value_of(result)
            layout = values.layout
            if values.storages_seen != before:
                self._adopt(value, op, seq, stage)
            if not op.is_view and value.measured != 2:
                if op.events or layout.dtype is torch.bool:
                    value.events = True
                elif op.carries and not value.events:
                    value.events = _carried(op, ins)
                if measure and not value.measured and not op.hollow:
                    found = None if op.derive is None else op.derive(ins, args, kwargs, layout)
                    if found is None:
                        self.measure(value, result)
                    else:
                        value.told(found)
            key.append(layout)
            flags += flags + result.requires_grad
            if value.device != "cpu":
                key.append(value.device)
            out = value.number
        elif isinstance(result, tuple | list):
            outs, flags = self._results(op, result, seq, stage, measure, ins, key, flags)
            out = outs[0][0].number if outs and outs[0][0] is not None else NULL
        else:
            out = NULL
        key.append(flags)
        try:
            signature = self.signatures.known.get(tuple(key))
        except TypeError:  # an argument that cannot be hashed
            key = [k if _hashable(k) else str(k) for k in key]
            signature = self.signatures.known.get(tuple(key))
        if signature is None:
            made = [(value, result, layout)] if isinstance(result, _Tensor) else outs
            signature = self.signatures.add(tuple(key), op, args, kwargs, ins, made)
        if synaptic is not None:
            self.synaptic_rows.append((seq, synaptic))
        ids = [NULL if value is None else value.number for value, _, _ in ins]
        count = len(ids)
        if count < 3:
            ids += (NULL, NULL, NULL)
        calls = self.calls
        calls.append(
            (seq, signature, stage, self.label, self.step, thread.number, context[0], context[1],
             forward, grad, context[2], ids[0], ids[1], ids[2], out)
        )  # fmt: skip
        if count > 3 or len(outs) > 1:
            self._note_more(seq, ids, outs)
        if len(calls.flat) >= _PART_CELLS and not self.spiking_calls:
            self.on_full()
        if self.watch is not None:
            self.watch(seq, context[0], func, args, kwargs, result)
        return result

    def _listed(self, listed: Any, ins: list[Any], key: list[Any], flags: int, reads: bool) -> int:
        """Add the elements of a list of tensors to operands and key; return the flags."""
        key.append(len(listed))
        for element in listed:
            if isinstance(element, _Tensor):
                value = self.value_of(element)
                layout = self.values.layout
                ins.append((value, element, layout))
                key.append(layout)
                key.append(value.device)
                flags += flags + element.requires_grad
                if reads and not value.measured:
                    self.measure(value, element)
            else:
                ins.append(ABSENT)
                key.append(None)
        return flags

    def _named(self, op: Op, count: int, kwargs: Any, ins: list[Any], key: list[Any], flags: int,
               reads: bool) -> int:  # fmt: skip
        """Add keyword arguments to operands and key; return the flags."""
        for slot in op.slots:
            if slot.index < count:
                continue
            a = kwargs.get(slot.name)
            read = reads and (op.reads_written or slot.name not in op.writes)
            if isinstance(a, _Tensor):
                flags = self._listed((a,), ins, key, flags, read)
            elif slot.is_list and a is not None:
                flags = self._listed(a, ins, key, flags, read)
            elif not slot.is_list:
                ins.append(ABSENT)
                key.append(a)
        names = op.slot_names
        for name, a in kwargs.items():
            if name not in names and type(a) is not torch.Generator:
                key.append((name, tuple(a) if type(a) is list else a))
        return flags

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
        if value.device != "cpu":
            self._measure_on_device(value, tensor)
            return
        try:
            found = self.measurer.measure(layout.flat(tensor.data_ptr()), layout.bits)
        except Exception:  # nothing may stop a recording
            value.measured = 2
            return
        if type(found) is int:  # no class: only the nonzero elements are told
            value.measured = 1
            value.bits = 0
            value.nonzero = found * layout.repeats
        else:
            self.keep(value, found)

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

    def _note_writes(self, op: Op, args: Any, kwargs: Any, seq: int) -> None:
        if op.unsaid_if_training and not _training(op, args, kwargs):
            return
        count = len(args)
        counted = 0 if op.unsaid_if_training else 1
        for slot in op.written_slots:
            a = args[slot.index] if slot.index < count else kwargs.get(slot.name)
            for tensor in a if slot.is_list and a is not None else (a,):
                if isinstance(tensor, _Tensor):
                    try:
                        storage = self.values.storage_of(tensor)
                    except Exception:  # no storage to speak of
                        continue
                    self.values.wrote(storage, seq, counted)

    def _results(
        self, op: Op, result: Any, seq: int, stage: int, measure: bool, ins: list[Any],
        key: list[Any], flags: int,
    ) -> tuple[list[Any], int]:  # fmt: skip
        """Return [(value, tensor, layout)] of several results, and the flags; measure new ones."""
        outs: list[Any] = []
        for item in result:
            for tensor in item if isinstance(item, list | tuple) else (item,):
                if not isinstance(tensor, _Tensor):
                    outs.append(ABSENT)
                    key.append(None)
                    continue
                before = self.values.storages_seen
                value = self.value_of(tensor)
                layout = self.values.layout
                if self.values.storages_seen != before:
                    self._adopt(value, op, seq, stage)
                if not op.is_view and value.measured != 2:
                    if op.events or layout.dtype is torch.bool:
                        value.events = True
                    elif op.carries and not value.events:
                        value.events = _carried(op, ins)
                    if measure and not value.measured and not op.hollow:
                        self.measure(value, tensor)
                outs.append((value, tensor, layout))
                key.append(layout)
                key.append(value.device)
                flags += flags + tensor.requires_grad
        return outs, flags

    def _adopt(self, value: Any, op: Op, seq: int, stage: int) -> None:
        """Note who made the storage of a result."""
        if type(value) is not Value:
            return
        storage = value.storage
        if not op.hollow:  # what holds nothing yet is filled by somebody unseen, perhaps
            storage.written_seq = value.written_seq = seq
        if stage == BACKWARD:
            storage.kind = value.kind = _GRADIENT
        if value.device != "cpu":
            self.devices.add(value.device)

    def _note_more(self, seq: int, ids: list[int], outs: Any) -> None:
        """Note the operands past the third and the results past the first."""
        for slot in range(3, len(ids)):
            if ids[slot] != NULL:
                self.operands.append((seq, 0, slot, ids[slot]))
        for slot in range(1, len(outs)):
            value = outs[slot][0]
            if value is not None and value.number != NULL:
                self.operands.append((seq, 1, slot, value.number))


def _training(op: Op, args: Any, kwargs: Any) -> bool:
    for index, name, _, default in op.others:
        if name == "training":
            return bool(args[index] if index < len(args) else kwargs.get(name, default))
    return True


def _carried(op: Op, ins: list[Any]) -> bool:
    known = [value.events for value, _, _ in ins if type(value) is Value]
    if op.packet == "aten.copy_":
        known = known[1:]
    if not known:
        return False
    return all(known) if op.needs_all_events else known[0]


def _on_cpu(args: Any) -> bool:
    return all(a.is_cpu for a in args if isinstance(a, _Tensor))


def _hashable(thing: Any) -> bool:
    try:
        hash(thing)
    except TypeError:
        return False
    return True


def _foreign(types: Any) -> bool:
    """Tell whether a wrapper subclass takes part: it unwraps first, its parts are recorded."""
    return any(t.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl for t in types)


__all__ = ["BACKWARD", "EVENTS", "FORWARD", "OPTIMIZER", "RECOMPUTE", "Session", "Thread"]
