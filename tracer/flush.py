"""Turning what a session has gathered into the tables of the trace."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas import STAGES, VALUE_KINDS, SpikeClass
from ..schemas.arrow import SCHEMAS
from .columns import NULL, booleans, built, column, lists, packed, words
from .module_rows import ModuleRows
from .session import CALL_WIDTH, Session
from .values import Value

_EVENTS = int(SpikeClass.EVENTS)
_SLOT_COLUMNS = ("in0", "in1", "in2", "out0")
_SYNAPTIC = ("x_fanout", "grad_fanout", "overlap", "zero_pairs", "active_outputs",
             "active_sites")  # fmt: skip
_LISTS = ("active_patches", "tile_rows")


class Facts:
    """Class bits and nonzero counts of values by number, for the rows of one flush."""

    def __init__(self, values: list[Value]) -> None:
        numbers = packed([value.number for value in values])
        bits = packed([v.bits | _EVENTS if v.events and v.bits >= 0 else v.bits for v in values])
        nonzero = packed([value.nonzero for value in values])
        nonzero[bits < 0] = NULL  # not measured
        bits[bits < 0] = NULL
        if np.any(numbers[1:] < numbers[:-1]):
            order = np.argsort(numbers, kind="stable")
            numbers, bits, nonzero = numbers[order], bits[order], nonzero[order]
        self._numbers = numbers
        self._bits = np.append(bits, NULL)  # the last place is of no value
        self._nonzero = np.append(nonzero, NULL)
        self._gapless = len(numbers) > 0 and numbers[-1] - numbers[0] == len(numbers) - 1

    def of(self, numbers: Any) -> tuple[Any, Any]:
        """Return (class bits, nonzero) of value numbers; NULL where there is none."""
        known = self._numbers
        if self._gapless:
            places = numbers - known[0]
            hit = (numbers >= known[0]) & (numbers <= known[-1])
        else:
            places = np.searchsorted(known, numbers)
            hit = np.append(known, NULL)[places] == numbers
        places[~hit] = len(known)
        return self._bits[places], self._nonzero[places]


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
    by_column = np.ascontiguousarray(rows.T)
    for name, cells in zip(names, by_column, strict=False):
        if name == "stage":
            columns[name] = words(cells, list(STAGES))
        elif name == "label":
            columns[name] = words(cells, labels)
        elif name in ("grad_enabled", "training"):
            columns[name] = booleans(cells == 1, cells == NULL)
        else:
            columns[name] = column(cells, schema.field(name).type)
    for slot, numbers in zip(_SLOT_COLUMNS, by_column[len(names) :], strict=False):
        bits, nonzero = facts.of(numbers)
        columns[f"{slot}_value"] = column(numbers, pa.int64())
        columns[f"{slot}_class"] = column(bits, pa.int16())
        columns[f"{slot}_nonzero"] = column(nonzero, pa.int64())
    columns.update(_synaptic_columns(by_column[0], session.synaptic_rows))
    columns["let_go"] = _let_go_column(by_column[0], session.gone)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _synaptic_columns(seqs: Any, synaptic: list[tuple[int, Any]]) -> dict[str, pa.Array]:
    synaptic = [row for row in synaptic if len(seqs) and row[0] <= seqs[-1]]
    places = np.searchsorted(seqs, packed([seq for seq, _ in synaptic]))
    columns: dict[str, pa.Array] = {}
    for name in _SYNAPTIC:
        cells = np.full(len(seqs), NULL, np.int64)
        told = [getattr(row, name) for _, row in synaptic]
        cells[places] = packed([NULL if number is None else number for number in told])
        columns[name] = column(cells, pa.int64())
    for name in _LISTS:
        found = [getattr(row, name) for _, row in synaptic]
        sizes = np.full(len(seqs), NULL, np.int64)
        sizes[places] = packed([NULL if each is None else len(each) for each in found])
        flat = [*chain.from_iterable(each for each in found if each is not None)]
        numbers = column(packed(flat), pa.int64())
        columns[name] = lists(sizes, numbers, pa.list_(pa.int64()))
    return columns


def _let_go_column(seqs: Any, gone: list[tuple[int, int]]) -> pa.Array:
    of_calls = [pair for pair in gone if len(seqs) and seqs[0] <= pair[0] <= seqs[-1]]
    of_calls.sort(key=itemgetter(0))
    places = np.searchsorted(seqs, packed([seq for seq, _ in of_calls]))
    sizes = np.bincount(places, minlength=len(seqs))
    storages = column(packed([storage for _, storage in of_calls]), pa.int64())
    return lists(np.where(sizes == 0, NULL, sizes), storages, pa.list_(pa.int64()))


def operands_table(rows: Any, facts: Facts) -> pa.Table:
    """Return the `call_operands` rows of a flush."""
    bits, nonzero = facts.of(rows[:, 3])
    columns = [
        column(rows[:, 0], pa.int64()),
        words(rows[:, 1], ["in", "out"]),
        column(rows[:, 2], pa.int32()),
        column(rows[:, 3], pa.int64()),
        column(bits, pa.int16()),
        column(nonzero, pa.int64()),
    ]
    return pa.table(columns, schema=SCHEMAS["call_operands"])


def values_table(values: list[Value], facts: Facts) -> pa.Table:
    """Return rows of the `values` table."""
    number = packed([value.number for value in values])
    if np.any(number[1:] < number[:-1]):
        values = sorted(values, key=attrgetter("number"))
        number = np.sort(number)
    schema = SCHEMAS["values"]
    storages = [value.storage for value in values]
    layouts = [value.layout for value in values]
    written = packed([value.written_seq for value in values])
    whole = packed([storage.nbytes for storage in storages])
    bits, nonzero = facts.of(number)
    columns = {
        "value_id": number,
        "storage_id": packed([storage.number for storage in storages]),
        "version": packed([value.version for value in values]),
        "base_value_id": packed([NULL if v.base is None else v.base.number for v in values]),
        "written_seq": np.where(written < 0, NULL, written),
        "numel": packed([layout.numel for layout in layouts]),
        "bytes": packed([layout.nbytes for layout in layouts]),
        "class": bits,
        "nonzero": nonzero,
        "storage_bytes": np.where(whole < 0, NULL, whole),
    }
    found = {name: column(cells, schema.field(name).type) for name, cells in columns.items()}
    found["kind"] = words(packed([value.kind for value in values]), list(VALUE_KINDS))
    found["ones"] = built([value.ones for value in values], pa.int64())
    found["minus_ones"] = built([value.minus_ones for value in values], pa.int64())
    found["min"] = built([value.low for value in values], pa.float64())
    found["max"] = built([value.high for value in values], pa.float64())
    return pa.table([found[name] for name in schema.names], schema=schema)


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
        if np.any(rows[1:, 0] < rows[:-1, 0]):
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
