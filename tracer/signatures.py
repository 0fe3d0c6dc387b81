"""Each distinct call once: op, operands' layouts and the other arguments."""

from __future__ import annotations

import json
import math
from typing import Any

import torch

from .layouts import Layout
from .operands import Op


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
    """The signatures seen, as rows of their table."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self.rows: list[dict[str, Any]] = []
        self._generic: dict[Any, int] = {}
        self._variants: dict[Any, int] = {}

    def add(
        self, key: Any, op: Op, operands: list[Any], results: list[Any], others: list[Any]
    ) -> int:
        """Return the number of a signature that was not in `known`.

        Args:
            key: what identifies the signature.
            op: the op.
            operands: (slot name, list index or None, (layout, device, requires_grad) or None).
            results: (layout, device, requires_grad) or None for each.
            others: the non-tensor arguments in the order of `op.others`; numbers that stand in
                tensor slots follow as (name, value).
        """
        for blank, most in _ROUGHER:
            rough = blank(key)
            if rough == key:
                continue
            count = self._variants[blank, rough] = self._variants.get((blank, rough), 0) + 1
            if count > most:
                if (blank, rough) not in self._generic:
                    row = self._row(op, operands, results, [blank(v) for v in others])
                    self._generic[blank, rough] = row
                return self._generic[blank, rough]
        number = self._row(op, operands, results, others)
        self.known[key] = number
        return number

    def _row(self, op: Op, operands: list[Any], results: list[Any], others: list[Any]) -> int:
        rows = [
            _operand("in", slot, name, index, key)
            for slot, (name, index, key) in enumerate(operands)
            if key is not None
        ]
        names = op.result_names
        rows += [
            _operand(
                "out",
                slot,
                names[slot] if slot < len(names) and len(names) == len(results) else "",
                None,
                key,
            )
            for slot, key in enumerate(results)
            if key is not None
        ]
        arguments = {
            name: plain_argument(value)
            for (_, name, _, _), value in zip(op.others, others, strict=False)
        }
        for name, value in others[len(op.others) :]:
            arguments[name] = plain_argument(value)
        self.rows.append(
            {
                "signature_id": len(self.rows),
                "op": op.name,
                "packet": op.packet,
                "operands": rows,
                "arguments": json.dumps(arguments),
                "tags": list(op.tags),
                "is_view": op.is_view,
                "mutates": sorted(op.writes),
            }
        )
        return len(self.rows) - 1


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
