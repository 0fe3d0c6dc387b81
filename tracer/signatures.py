"""Each distinct call once: op, operands' layouts and the other arguments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from itertools import chain
from numbers import Number
from typing import Any

import pyarrow as pa
import torch

from ..schemas.arrow import SCHEMAS
from .columns import built, int64_lists, lists, packed
from .layouts import Layout
from .operands import Op, kind_of, other_arguments, spelled
from .text import json_of

_PLAIN = frozenset({bool, int, str, type(None)})
"""What most arguments are: to ask for the very type is faster than `isinstance`."""


_SHORT = (torch.device, torch.SymInt, torch.SymFloat, torch.SymBool, Number, slice, range, Enum)
"""Other things whose text tells what they are; that of some prints all their data."""


def plain_argument(value: Any) -> Any:
    """Return a non-tensor argument as JSON can hold it."""
    if type(value) in _PLAIN or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value).removeprefix("torch.")
    if isinstance(value, list | tuple):
        if _PLAIN.issuperset(map(type, value)):
            return list(value)
        return [plain_argument(v) for v in value]
    if isinstance(value, torch.Tensor):
        return None
    return str(value) if isinstance(value, _SHORT) else kind_of(value)


class Signatures:
    """The signatures seen.

    Attributes:
        known: numbers of signatures by whatever tells calls apart.
    """

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self._numbers: dict[Any, int] = {}
        self._seen: list[tuple[Op, Any, Any, Any]] = []
        self._arguments: list[str] = []
        self._generic: dict[Any, int] = {}
        self._variants: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def table(self) -> pa.Table:
        """Return the table of all so far."""
        seen, schema = self._seen, SCHEMAS["signatures"]
        made = len(self._arguments)
        self._arguments += [_arguments(op, others) for op, _, _, others in seen[made:]]
        ops = [op for op, _, _, _ in seen]
        columns = {
            "signature_id": range(len(seen)),
            "op": [op.name for op in ops],
            "packet": [op.packet for op in ops],
            "arguments": self._arguments,
            "tags": [op.tags for op in ops],
            "is_view": [op.is_view for op in ops],
            "mutates": [sorted(op.writes) for op in ops],
            "stored": [_stored(*each[:3]) for each in seen],
        }
        found = {name: built(cells, schema.field(name).type) for name, cells in columns.items()}
        found["operands"] = _operands_column(seen)
        return pa.table([found[name] for name in schema.names], schema=schema)

    def add(self, key: Any, op: Op, args: Any, kwargs: Any, ins: list[Any], outs: Any) -> int:
        """Return the number of the signature of a call whose key is not in `known`.

        Args:
            key: what tells the call apart, as it was spelled.
            op: the op.
            args: the positional arguments.
            kwargs: the keyword arguments.
            ins: (value, tensor, layout) of the operands by slot.
            outs: the same of the results.
        """
        names, numbers = _names(op, args, kwargs)
        operands = tuple(
            (name, index, _layout_key(*operand))
            for (name, index), operand in zip(names, ins, strict=True)
        )
        results = tuple(_layout_key(*result) for result in outs)
        others = tuple(map(spelled, (*other_arguments(op, args, kwargs), *numbers)))
        seen = (op, operands, results, others)
        number = self._numbers.get(seen)
        if number is None:
            for blank, most in _ROUGHER:
                rough = (op, operands, results, blank(others))
                if rough == seen:
                    continue
                count = self._variants[blank, rough] = self._variants.get((blank, rough), 0) + 1
                if count > most:
                    if (blank, rough) not in self._generic:
                        self._generic[blank, rough] = self._new(rough)
                    return self._generic[blank, rough]
            number = self._numbers[seen] = self._new(seen)
        self.known[key] = number
        return number

    def _new(self, seen: tuple[Op, Any, Any, Any]) -> int:
        self._seen.append(seen)
        return len(self._seen) - 1


def _names(op: Op, args: Any, kwargs: Any) -> tuple[list[tuple[str, int | None]], list[Any]]:
    """Return (name, list index or None) by slot, and (name, number) for numbers in slots."""
    names: list[tuple[str, int | None]] = []
    numbers = []
    for slot in op.slots:
        a = args[slot.index] if slot.index < len(args) else kwargs.get(slot.name)
        if slot.is_list and not isinstance(a, torch.Tensor):
            names.extend((slot.name, index) for index in range(len(a or ())))
            continue
        names.append((slot.name, None))
        if a is not None and not isinstance(a, torch.Tensor):
            numbers.append((slot.name, a))
    return names, numbers


def _layout_key(value: Any, tensor: Any, layout: Any) -> Any:
    return None if value is None else (layout, value.device, bool(tensor.requires_grad))


def _arguments(op: Op, others: Any) -> str:
    """Return the arguments of a signature that are no tensors, as JSON."""
    count = len(op.others)
    found = {name: value for (_, name, _, _), value in zip(op.others, others, strict=False)}
    found.update(others[count:])
    return json_of({name: plain_argument(value) for name, value in found.items()})


def _operands(op: Op, operands: Any, results: Any) -> Iterator[tuple[Any, ...]]:
    """Yield role, slot, name, list index, layout, device and requires_grad of each operand."""
    for slot, (name, index, key) in enumerate(operands):
        if key is not None:
            yield "in", slot, name, index, *key
    names = op.result_names if len(op.result_names) == len(results) else ("",) * len(results)
    for slot, key in enumerate(results):
        if key is not None:
            yield "out", slot, names[slot], None, *key


def _stored(op: Op, operands: Any, results: Any) -> list[dict[str, Any]] | None:
    """Return what the sparse operands and results of a signature store; None without any."""
    found = []
    for role, slot, _, _, layout, *_ in _operands(op, operands, results):
        if getattr(layout, "stored", None) is not None:
            numel, size = layout.stored
            found.append({"role": role, "slot": slot, "numel": numel, "bytes": size})
    return found or None


def _operands_column(seen: list[tuple[Op, Any, Any, Any]]) -> pa.Array:
    kind = SCHEMAS["signatures"].field("operands").type
    of_signatures = [[*_operands(*each[:3])] for each in seen]
    flat = [*chain.from_iterable(of_signatures)]
    roles, slots, names, places, layouts, devices, grads = [*zip(*flat, strict=True)] or [()] * 7
    strided = [isinstance(layout, Layout) for layout in layouts]
    kinds = zip(layouts, strided, strict=True)
    cells = {
        "role": roles,
        "slot": slots,
        "name": names,
        "list_index": places,
        "dtype": [layout.dtype_name for layout in layouts],
        "layout": ["strided" if plain else layout.layout_name for layout, plain in kinds],
        "device": devices,
        "numel": [layout.numel for layout in layouts],
        "bytes": [layout.nbytes for layout in layouts],
        "requires_grad": grads,
    }
    arrays = {name: built(c, kind.value_type.field(name).type) for name, c in cells.items()}
    arrays["shape"] = int64_lists([layout.shape for layout in layouts])
    arrays["stride"] = int64_lists([getattr(layout, "stride", None) for layout in layouts])
    fields = [*kind.value_type]
    structs = pa.StructArray.from_arrays([arrays[field.name] for field in fields], fields=fields)
    return lists(packed([*map(len, of_signatures)]), structs, kind)


def _without_floats(thing: Any) -> Any:
    """Return None for a float other than 0 and 1, wherever it stands in nested tuples."""
    if type(thing) is float:
        return thing if thing in (0.0, 1.0) else None
    return tuple(map(_without_floats, thing)) if type(thing) is tuple else thing


def _without_numbers(thing: Any) -> Any:
    """Return None for any number other than 0 and 1, wherever it stands in nested tuples."""
    if type(thing) is float or type(thing) is int:
        return thing if thing in (0, 1) else None
    return tuple(map(_without_numbers, thing)) if type(thing) is tuple else thing


# A number that changes with every step (a learning rate, where a slice starts) makes no new rows:
# after so many variants of a signature that differ in nothing else, one row stands for the rest.
_ROUGHER = ((_without_floats, 32), (_without_numbers, 1024))
