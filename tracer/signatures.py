"""Each distinct call once: op, operands' layouts and the other arguments."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from .layouts import Layout
from .operands import Op, other_arguments


def plain_argument(value: Any) -> Any:
    """Return a non-tensor argument as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value).removeprefix("torch.")
    if isinstance(value, list | tuple):
        return [plain_argument(v) for v in value]
    if isinstance(value, torch.Tensor):
        return None
    return str(value)


def _operand(role: str, slot: int, name: str, index: int | None, key: Any) -> dict[str, Any]:
    layout, device, requires_grad = key
    strided = isinstance(layout, Layout)
    return {
        "role": role,
        "slot": slot,
        "name": name,
        "list_index": index,
        "shape": None if layout.shape is None else [int(n) for n in layout.shape],
        "stride": [int(n) for n in layout.stride] if strided else None,
        "dtype": layout.dtype_name,
        "layout": "strided" if strided else layout.layout_name,
        "device": device,
        "numel": layout.numel,
        "bytes": layout.nbytes,
        "requires_grad": requires_grad,
    }


class Signatures:
    """The signatures seen.

    Attributes:
        known: numbers of signatures by whatever tells calls apart.
    """

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self._numbers: dict[Any, int] = {}
        self._seen: list[tuple[Op, Any, Any, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._generic: dict[Any, int] = {}
        self._variants: dict[Any, int] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table; made when they are asked for."""
        for number in range(len(self._rows), len(self._seen)):
            self._rows.append(_row(number, *self._seen[number]))
        return self._rows

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
        others = tuple(map(_hashable, (*other_arguments(op, args, kwargs), *numbers)))
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


def _hashable(thing: Any) -> Any:
    try:
        hash(thing)
    except TypeError:
        return str(thing)
    return thing


def _row(number: int, op: Op, operands: Any, results: Any, others: Any) -> dict[str, Any]:
    rows = [
        _operand("in", slot, name, index, key)
        for slot, (name, index, key) in enumerate(operands)
        if key is not None
    ]
    names = op.result_names if len(op.result_names) == len(results) else ("",) * len(results)
    rows += [
        _operand("out", slot, names[slot], None, key)
        for slot, key in enumerate(results)
        if key is not None
    ]
    count = len(op.others)
    arguments = {name: value for (_, name, _, _), value in zip(op.others, others, strict=False)}
    arguments.update(others[count:])
    return {
        "signature_id": number,
        "op": op.name,
        "packet": op.packet,
        "operands": rows,
        "arguments": json.dumps({name: plain_argument(v) for name, v in arguments.items()}),
        "tags": list(op.tags),
        "is_view": op.is_view,
        "mutates": sorted(op.writes),
    }


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
