"""Turning what a session has gathered into the tables of the trace."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas import STAGES, VALUE_KINDS, SpikeClass
from ..schemas.arrow import SCHEMAS
from .columns import NULL, column, words
from .module_rows import ModuleRows
from .session import CALL_WIDTH, Session
from .values import Value

_EVENTS = int(SpikeClass.EVENTS)
_SLOT_COLUMNS = ("in0", "in1", "in2", "out0")
_SYNAPTIC = ("x_fanout", "grad_fanout", "overlap", "zero_pairs", "active_outputs",
             "active_sites")  # fmt: skip
_LISTS = ("active_patches", "tile_rows")


_OPTIONAL = {"ones": "ones", "minus_ones": "minus_ones", "min": "low", "max": "high"}


def _cells(numbers: list[int]) -> Any:
    """Return numbers as an array.

    What is asked of many values is asked in a comprehension each: Python looks slots up there at
    once, and `attrgetter` does not.
    """
    return np.fromiter(numbers, np.int64, len(numbers))


class Facts:
    """Class bits and nonzero counts of values by number, for the rows of one flush."""

    def __init__(self, values: list[Value]) -> None:
        numbers = _cells([value.number for value in values])
        bits = _cells([value.bits for value in values])
        events = _cells([value.events for value in values])
        nonzero = _cells([value.nonzero for value in values])
        known = _cells([value.measured for value in values]) == 1
        order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[order]
        self._bits = np.where(known, bits | (events * _EVENTS), NULL)[order]
        self._nonzero = np.where(known, nonzero, NULL)[order]

    def of(self, numbers: Any) -> tuple[Any, Any]:
        """Return (class bits, nonzero) of value numbers; NULL where there is none."""
        if not len(self._numbers):
            empty = np.full(len(numbers), NULL, np.int64)
            return empty, empty
        places = np.searchsorted(self._numbers, numbers)
        places[places == len(self._numbers)] = 0
        hit = self._numbers[places] == numbers
        return np.where(hit, self._bits[places], NULL), np.where(hit, self._nonzero[places], NULL)


def live_values(session: Session) -> list[Value]:
    """Return every value that rows since the last flush may name, once each."""
    if not session.values.written:  # then all that there ever were are fresh
        return [*session.values.fresh]
    found = dict.fromkeys(session.values.fresh)
    found.update(dict.fromkeys(session.values.retired))
    for storage in session.values.storages.values():
        found.update(dict.fromkeys(storage.values()))
    return list(found)


def calls_table(session: Session, rows: Any, facts: Facts, labels: list[str]) -> pa.Table:
    """Return the `calls` rows of a flush."""
    schema = SCHEMAS["calls"]
    columns: dict[str, pa.Array] = {}
    names = ("seq", "signature_id", "stage", "label", "step", "thread", "module_id",
             "module_call_id", "forward_seq", "grad_enabled", "training")  # fmt: skip
    for index, name in enumerate(names):
        cells = rows[:, index]
        if name == "stage":
            columns[name] = words(cells, list(STAGES))
        elif name == "label":
            columns[name] = words(cells, labels)
        elif name in ("grad_enabled", "training"):
            columns[name] = pa.array(cells == 1, mask=cells == NULL)
        else:
            columns[name] = column(cells, schema.field(name).type)
    for offset, slot in enumerate(_SLOT_COLUMNS, start=len(names)):
        numbers = rows[:, offset]
        bits, nonzero = facts.of(numbers)
        columns[f"{slot}_value"] = column(numbers, pa.int64())
        columns[f"{slot}_class"] = column(bits, pa.int16())
        columns[f"{slot}_nonzero"] = column(nonzero, pa.int64())
    columns.update(_synaptic_columns(rows[:, 0], session.synaptic_rows))
    columns["let_go"] = _let_go_column(rows[:, 0], session.gone)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _synaptic_columns(seqs: Any, synaptic: list[tuple[int, Any]]) -> dict[str, pa.Array]:
    synaptic = [row for row in synaptic if len(seqs) and row[0] <= seqs[-1]]
    places = np.searchsorted(seqs, np.array([seq for seq, _ in synaptic], np.int64))
    columns: dict[str, pa.Array] = {}
    for name in _SYNAPTIC:
        cells = np.full(len(seqs), NULL, np.int64)
        told = [getattr(row, name) for _, row in synaptic]
        cells[places] = _cells([NULL if number is None else number for number in told])
        columns[name] = column(cells, pa.int64())
    for name in _LISTS:
        lists: list[Any] = [None] * len(seqs)
        for place, (_, row) in zip(places, synaptic, strict=True):
            lists[place] = getattr(row, name)
        columns[name] = pa.array(lists, pa.list_(pa.int64()))
    return columns


def _let_go_column(seqs: Any, gone: list[tuple[int, int]]) -> pa.Array:
    lists: list[list[int] | None] = [None] * len(seqs)
    first, last = (seqs[0], seqs[-1]) if len(seqs) else (0, -1)
    for seq, storage in gone:
        if first <= seq <= last:
            place = int(np.searchsorted(seqs, seq))
            lists[place] = [*(lists[place] or ()), storage]
    return pa.array(lists, pa.list_(pa.int64()))


def operands_table(rows: Any, facts: Facts) -> pa.Table:
    """Return the `call_operands` rows of a flush."""
    bits, nonzero = facts.of(rows[:, 3])
    return pa.table(
        {
            "seq": column(rows[:, 0], pa.int64()),
            "role": words(rows[:, 1], ["in", "out"]),
            "slot": column(rows[:, 2], pa.int32()),
            "value_id": column(rows[:, 3], pa.int64()),
            "class": column(bits, pa.int16()),
            "nonzero": column(nonzero, pa.int64()),
        },
        schema=SCHEMAS["call_operands"],
    )


def values_table(values: list[Value], facts: Facts) -> pa.Table:
    """Return rows of the `values` table."""
    values = sorted(values, key=attrgetter("number"))
    schema = SCHEMAS["values"]
    number = _cells([value.number for value in values])
    written = _cells([value.written_seq for value in values])
    whole = _cells([value.storage.nbytes for value in values])
    bits, nonzero = facts.of(number)
    columns = {
        "value_id": number,
        "storage_id": _cells([value.storage.number for value in values]),
        "version": _cells([value.version for value in values]),
        "base_value_id": _cells([NULL if v.base is None else v.base.number for v in values]),
        "written_seq": np.where(written < 0, NULL, written),
        "numel": _cells([value.layout.numel for value in values]),
        "bytes": _cells([value.layout.nbytes for value in values]),
        "class": bits,
        "nonzero": nonzero,
        "storage_bytes": np.where(whole < 0, NULL, whole),
    }
    found = {name: column(cells, schema.field(name).type) for name, cells in columns.items()}
    found["kind"] = words(_cells([value.kind for value in values]), list(VALUE_KINDS))
    for name, attribute in _OPTIONAL.items():
        cells = list(map(attrgetter(attribute), values))
        found[name] = pa.array(cells, schema.field(name).type)
    return pa.table({name: found[name] for name in schema.names}, schema=schema)


@dataclass(frozen=True)
class Batch:
    """What one flush writes, and what is let go once all of it is on the disk.

    Attributes:
        tables: by name, in the order in which they are written; none is empty.
        parts: by name, how many parts of the table there were before.
        calls: calls that are gone then, in all; so `operands` and `module_calls`.
        seq: the first call that is left.
        values: the values that were written.
        seen: values that there were when the tables were made.
        retired: so many values that no later call names.
        last: no other batch follows.
    """

    tables: dict[str, pa.Table]
    parts: dict[str, int]
    calls: int
    operands: int
    module_calls: int
    seq: int
    values: list[Value]
    seen: int
    retired: int
    last: bool


def gathered(
    session: Session, labels: list[str], module_calls: ModuleRows, parts: dict[str, int], *,
    last: bool = False,
) -> Batch:  # fmt: skip
    """Make the tables of what was gathered since the last flush; nothing is let go.

    Args:
        session: the recording.
        labels: the labels used so far, by code.
        module_calls: the module calls that have ended.
        parts: how many parts of each table there are.
        last: nothing comes after: values that are not measured yet never will be.
    """
    values, seq = session.values, session.seq
    retired, seen = len(values.retired), values.seen
    facts = Facts(live_values(session))
    rows, operands, ended = session.calls.table(), session.operands.table(), len(module_calls)
    tables: dict[str, pa.Table] = {}
    if len(rows):
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        first = session.calls.gone
        numbers = np.arange(first, first + len(rows))
        session.ordered = session.ordered and np.array_equal(rows[:, 0], numbers)
        tables["calls"] = calls_table(session, rows, facts, labels)
    if len(operands):
        tables["call_operands"] = operands_table(operands, facts)
    ready = [v for v in values.fresh if last or v.measured or not values.waits(v)]
    if ready:
        tables["values"] = values_table(ready, facts)
    if ended:
        tables["module_calls"] = module_calls.table(labels)
    return Batch(
        tables, dict(parts), session.calls.gone + len(rows), session.operands.gone + len(operands),
        module_calls.gone_with(ended), seq, ready, seen, retired, last,
    )  # fmt: skip


def let_go(session: Session, batch: Batch, module_calls: ModuleRows) -> None:
    """Let go what a batch has brought to the disk; done twice, it does no more than once."""
    session.calls.let_go(batch.calls)
    session.operands.let_go(batch.operands)
    module_calls.let_go(batch.module_calls)
    session.synaptic_rows[:] = [row for row in session.synaptic_rows if row[0] >= batch.seq]
    session.gone[:] = [pair for pair in session.gone if pair[0] >= batch.seq]
    session.values.flushed(batch.values, batch.seen, batch.retired)
    if not batch.last:
        session.values.forget()


__all__ = ["CALL_WIDTH", "Batch", "gathered", "let_go"]
