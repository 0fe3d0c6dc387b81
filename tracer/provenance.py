"""How spikes are carried on: which results of ops on spikes are spikes, whatever their values are.

It decides where values alone do not: for a tensor that is all zeros or all ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..schemas import SpikeClass
from .operands import Op
from .values import Value

_BINARY = int(SpikeClass.BINARY)
_NUMBERS = (int, float, bool, complex)


def carried(op: Op, ins: list[Any], args: Any, kwargs: Any, result: Value) -> bool:
    """Tell whether a result is spikes because operands are.

    Args:
        op: what ran; it carries spikes on.
        ins: (value, tensor, layout) of its operands.
        args: its arguments.
        kwargs: those by keyword.
        result: its first result, measured if anything is.
    """
    if op.carries != "chosen":  # only numbers are chosen from without a spike
        for value, _, _ in ins:
            if value is not None and value.events:
                break
        else:
            return False
    values = [value for value, _, _ in ins if type(value) is Value]
    if not op.overwrites:
        return bool(values) and _WAYS[op.carries](values, args, kwargs, result)
    found = len(values) > 1 and _WAYS[op.carries](values[1:], args, kwargs, result)
    if found:
        _filled_in(values[0].base, result)
    return found


def _filled_in(whole: Value | None, part: Value) -> None:
    """Take a whole for spikes, one of whose parts they have replaced: `out[t] = spikes`.

    Args:
        whole: as it was before, None if the part is none of a known one.
        part: what was written.
    """
    storage = part.storage
    if whole is not None and whole.storage is storage and whole.version == storage.version - 1:
        if whole.events or _is_zero(whole):
            storage.declared = [whole]


def _is_zero(value: Value) -> bool:
    return value.measured == 1 and value.nonzero == 0


def _is_binary(value: Value) -> bool:
    return value.bits > 0 and bool(value.bits & _BINARY)


def _first(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    return values[0].events


def _filled(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    number = args[2] if len(args) > 2 else kwargs.get("value", 0)
    zero_or_one = _is_binary(values[-1]) if len(values) > 2 else number in (0, 1)
    return values[0].events and zero_or_one


def _with_zeros(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    if _is_zero(result):  # no neuron fired: a state that is still zero may be part of it
        return bool(values) and all(v.events for v in values)
    return any(v.events for v in values) and all(v.events or _is_zero(v) for v in values)


def _chosen(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    branches = values[1:]
    if all(v.layout.numel == 1 for v in branches):
        return all(map(_is_binary, branches))  # the condition as numbers
    one_number = [v for v in branches if v.layout.numel == 1 and _is_binary(v)]
    rest = [v for v in branches if v not in one_number]
    return _with_zeros(rest, args, kwargs, result)


def _complement(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    alpha = args[2] if len(args) > 2 else kwargs.get("alpha", 1)
    return values[0].events and len(values) == 1 and args[1] == 1 and alpha == 1


def _product(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    # Spikes times 0.37 are none, and that no neuron fired this time proves nothing.
    if any(type(each) in _NUMBERS and each not in (0, 1) for each in args[:2]):
        return False
    # Zeros that are no spikes, as of a membrane at rest, prove nothing of their product.
    fits = all(v.events or (_is_binary(v) and not _is_zero(v)) for v in values)
    return fits and any(v.events for v in values)


def _sum(values: list[Value], args: Any, kwargs: Any, result: Value) -> bool:
    if len(values) < 2 or not _is_binary(result):
        return False
    if _is_zero(result):
        return all(v.events for v in values)
    return _with_zeros(values, args, kwargs, result)


_WAYS: dict[str, Callable[[list[Value], Any, Any, Value], bool]] = {
    "first": _first, "filled": _filled, "with_zeros": _with_zeros, "chosen": _chosen,
    "complement": _complement, "product": _product, "sum": _sum,
}  # fmt: skip
