"""What is done for every dispatched call: its operands, statistics, signature and row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .columns import NULL
from .descent import descend
from .operands import ABSENT, Op, other_arguments, spelled
from .provenance import carried
from .threads import BACKWARD, BEFORE, FORWARD, OPTIMIZER, OUTSIDE, RUNNING, Thread, in_backward
from .values import Value

if TYPE_CHECKING:
    from .session import Session

_GRADIENT = 2
CALL_WIDTH = 15
"""Cells of a row of calls."""

_graph_task = torch._C._current_graph_task_id
_sequence_nr = torch._C._autograd._get_sequence_nr
_grad_enabled = torch.is_grad_enabled
_enter_autocast = torch.autocast_increment_nesting
_leave_autocast = torch.autocast_decrement_nesting
_Tensor = torch.Tensor


def run(session: Session, thread: Thread, func: Any, op: Op, args: Any, kwargs: Any) -> Any:
    """Run a call and note it; written out at length, for it is what recording costs.

    An exception may come anywhere. What it leaves half done `Session.recover` takes back.
    """
    grad = _grad_enabled()
    forward = NULL
    if _graph_task() != -1:
        stage, context, forward = in_backward(thread, session.claims, session.owner_of)
    elif thread.stack:
        stage, context = FORWARD, thread.stack[-1].context
    else:
        # Optimizers run without grad; what runs with it is a closure's.
        stage, context = OPTIMIZER if thread.optimizing and not grad else FORWARD, OUTSIDE
    seq = session.seq
    if grad:
        number = _sequence_nr() - 1
        if number > thread.newest:
            thread.newest = number
            session.claims.note(number, (seq, *context, op.packet, thread.number))
            session.claims.enter(context)
    level = session.statistics
    measure = stage != OPTIMIZER and (level == "full" or (level == "synaptic" and op.measured))
    reads = measure and not op.is_view
    made_too = measure and (level == "full" or stage == FORWARD)
    spare = op.overwrites
    key: list[Any] = [op]
    ins: list[Any] = []
    ids: list[int] = []
    flags = 1
    values = session.values
    of = values.of
    for kind, a in zip(op.plan, args, strict=False):
        if not kind:
            key.append(tuple(a) if type(a) is list else a)
        elif isinstance(a, _Tensor):
            try:
                value = of(a)
            except Exception:  # no strided elements
                value = session.value_of(a)
            layout = values.layout
            ins.append((value, a, layout))
            ids.append(value.number)
            key.append(layout)
            flags += flags + a.requires_grad
            if value.device != "cpu":
                key.append(value.device)
            if reads and not value.measured and not spare:
                session.measure(value, a)
            spare = False
        elif kind == 2 and a is not None:
            flags = _listed(session, a, ins, key, flags, reads and not spare)
            ids += [NULL if v is None else v.number for v, _, _ in ins[len(ids) :]]
            spare = False
        else:
            key.append(a)
            if kind == 1:
                ins.append(ABSENT)
                ids.append(NULL)
    if kwargs:
        flags = _named(session, op, len(args), kwargs, ins, key, flags, reads)
        ids += [NULL if v is None else v.number for v, _, _ in ins[len(ids) :]]
    elif len(args) < op.width:
        ins += op.absent[len(args)]
        ids += [NULL] * (len(ins) - len(ids))
    synaptic = None
    if op.synaptic and measure:
        others = other_arguments(op, args, kwargs)
        synaptic = session.synapses.before(session, op, ins, others, forward=stage == FORWARD)
    if session.waiting and op.writes:  # a device counts what is read before it is written over
        session.device_measurer.launch()
    autocast = False
    if not op.is_view:
        _enter_autocast()
        autocast = _leave_autocast() > 0  # a context is open, on or off, for any device
    thread.ran = RUNNING
    if autocast:
        result = session.composites.call(func, args, kwargs)
    else:
        result = op.call(*args, **kwargs)
    thread.ran = result
    if op.writes:
        _note_writes(session, op, args, kwargs, seq)
    outs: Any = ()
    if isinstance(result, _Tensor):
        before = values.storages_seen
        try:
            value = of(result)
        except Exception:  # no strided elements
            value = session.value_of(result)
        layout = values.layout
        if values.storages_seen != before:
            _adopt(session, value, op, seq, stage)
        if op.is_view:
            if value.base is None and ins and value is not ins[0][0]:
                _part(value, ins[0][0])
        elif value.measured != 2:
            if op.events:
                value.events = True
            if made_too and not value.measured and not op.hollow:
                found = None if op.derive is None else op.derive(ins, args, kwargs, layout)
                if found is None:
                    session.measure(value, result)
                else:
                    value.told(found)
            if op.carries and not value.events:
                value.events = carried(op, ins, args, kwargs, value)
        key.append(layout)
        flags += flags + result.requires_grad
        if value.device != "cpu":
            key.append(value.device)
        out = value.number
    elif isinstance(result, tuple | list):
        outs, flags = _results(session, op, result, seq, stage, made_too, ins, key, flags)
        out = outs[0][0].number if outs and outs[0][0] is not None else NULL
    else:
        out = NULL
    key.append(flags)
    try:
        signature = session.signatures.known.get(tuple(key))
    except TypeError:  # an argument that cannot be hashed
        key = [*map(spelled, key)]
        signature = session.signatures.known.get(tuple(key))
    if session.waiting:
        session.device_measurer.launch()
    if not stage and not op.is_view:
        made = [(value, result, layout)] if isinstance(result, _Tensor) else outs
        if not made and op.writes and op.written_slots[0].is_list:
            made = ins[: len(args[0])]
        descend(session, thread.root if thread.stack else 0, op, ins, made)
    if signature is None:
        made = [(value, result, layout)] if isinstance(result, _Tensor) else outs
        signature = session.signatures.add(tuple(key), op, args, kwargs, ins, made)
    if synaptic is not None:
        session.synaptic_rows.append((seq, synaptic))
    count = len(ids)
    if count < 3:
        ids += (NULL, NULL, NULL)
    if count > 3 or len(outs) > 1:
        _note_more(session, seq, ids, outs)
    calls = session.calls
    row = (seq, signature, stage, thread.label, session.step, thread.number, context[0],
           context[1], forward, grad, context[2], ids[0], ids[1], ids[2], out)  # fmt: skip
    session.seq = seq + 1  # no interrupt comes between this and the next line
    calls.append(row)
    if len(calls.flat) >= session.look_at and not session.spiking_calls:
        session.look()
    if session.watch is not None:
        thread.ran = RUNNING
        session.watch(seq, context[0], func, args, kwargs, result)
    thread.ran = BEFORE
    return result


def _listed(
    session: Session, listed: Any, ins: list[Any], key: list[Any], flags: int, reads: bool
) -> int:
    """Add the elements of a list of tensors to operands and key; return the flags."""
    key.append(len(listed))
    for element in listed:
        if isinstance(element, _Tensor):
            value = session.value_of(element)
            layout = session.values.layout
            ins.append((value, element, layout))
            key.append(layout)
            key.append(value.device)
            flags += flags + element.requires_grad
            if reads and not value.measured:
                session.measure(value, element)
        else:
            ins.append(ABSENT)
            key.append(None)
    return flags


def _named(
    session: Session,
    op: Op,
    count: int,
    kwargs: Any,
    ins: list[Any],
    key: list[Any],
    flags: int,
    reads: bool,
) -> int:
    """Add keyword arguments to operands and key; return the flags."""
    for slot in op.slots:
        if slot.index < count:
            continue
        a = kwargs.get(slot.name)
        read = reads and (op.reads_written or slot.name not in op.writes)
        if isinstance(a, _Tensor):
            flags = _listed(session, (a,), ins, key, flags, read)
        elif slot.is_list and a is not None:
            flags = _listed(session, a, ins, key, flags, read)
        elif not slot.is_list:
            ins.append(ABSENT)
            key.append(a)
    names = op.slot_names
    for name, a in kwargs.items():
        if name not in names and type(a) is not torch.Generator:
            key.append((name, tuple(a) if type(a) is list else a))
    return flags


def _note_writes(session: Session, op: Op, args: Any, kwargs: Any, seq: int) -> None:
    if op.unsaid_if_training and not _training(op, args, kwargs):
        return
    count = len(args)
    counted = 0 if op.unsaid_if_training else 1
    for slot in op.written_slots:
        a = args[slot.index] if slot.index < count else kwargs.get(slot.name)
        for tensor in a if slot.is_list and a is not None else (a,):
            if isinstance(tensor, _Tensor):
                try:
                    storage = session.values.storage_of(tensor)
                except Exception:  # no storage to speak of
                    continue
                session.values.wrote(storage, seq, counted)


def _results(
    session: Session, op: Op, result: Any, seq: int, stage: int, measure: bool, ins: list[Any],
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
            before = session.values.storages_seen
            value = session.value_of(tensor)
            layout = session.values.layout
            if session.values.storages_seen != before:
                _adopt(session, value, op, seq, stage)
            if op.is_view:
                if value.base is None and ins and value is not ins[0][0]:
                    _part(value, ins[0][0])
            elif value.measured != 2:
                if measure and not value.measured and not op.hollow:
                    session.measure(value, tensor)
                if op.carries and not outs and not value.events:
                    value.events = carried(op, ins, (), {}, value)
            outs.append((value, tensor, layout))
            key.append(layout)
            key.append(value.device)
            flags += flags + tensor.requires_grad
    return outs, flags


def _adopt(session: Session, value: Any, op: Op, seq: int, stage: int) -> None:
    """Note who made the storage of a result."""
    if type(value) is not Value:
        return
    storage = value.storage
    if not op.hollow:  # what holds nothing yet is filled by somebody unseen, perhaps
        storage.written_seq = value.written_seq = seq
    if stage == BACKWARD:
        storage.kind = value.kind = _GRADIENT
    if value.device != "cpu":
        session.devices.add(value.device)


def _note_more(session: Session, seq: int, ids: list[int], outs: Any) -> None:
    """Note the operands past the third and the results past the first."""
    for slot in range(3, len(ids)):
        if ids[slot] != NULL:
            session.operands.append((seq, 0, slot, ids[slot]))
    for slot in range(1, len(outs)):
        value = outs[slot][0]
        if value is not None and value.number != NULL:
            session.operands.append((seq, 1, slot, value.number))


def _training(op: Op, args: Any, kwargs: Any) -> bool:
    for index, name, _, default in op.others:
        if name == "training":
            return bool(args[index] if index < len(args) else kwargs.get(name, default))
    return True


def _part(value: Any, whole: Any) -> None:
    """Note of which value a view is a part, where the largest of the storage does not hold it."""
    if type(whole) is Value and type(value) is Value and whole.storage is value.storage:
        if whole.layout.span > value.layout.span and whole.layout.dtype is value.layout.dtype:
            value.base = whole if whole.base is None else whole.base
        value.events = value.events or whole.events
