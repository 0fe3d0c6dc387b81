"""Statistics that follow from those of the operands: what need not be read is not read.

Only what holds for every element and every rounding: copies, casts that lose nothing, sums with
zeros, complements and zero multiples of spikes, concatenations, constants.
"""

from __future__ import annotations

from typing import Any

import torch

from ..schemas import SpikeClass
from .statistics import Statistics, zeros_and_ones

_BINARY, _WHOLE = int(SpikeClass.BINARY), int(SpikeClass.WHOLE)
_WIDER: dict[torch.dtype, frozenset[torch.dtype]] = {
    torch.float16: frozenset({torch.float32, torch.float64}),
    torch.bfloat16: frozenset({torch.float32, torch.float64}),
    torch.float32: frozenset({torch.float64}),
    torch.bool: frozenset(
        {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8,
         torch.int16, torch.int32, torch.int64}
    ),
}  # fmt: skip
_NUMBERS = (int, float, bool)
_KEPT: frozenset[torch.dtype] = frozenset()


def _told(value: Any) -> Statistics:
    if value.bits:
        return Statistics(
            value.bits, value.nonzero, value.ones, value.minus_ones, value.low, value.high
        )
    return Statistics(0, value.nonzero)


def _known(value: Any) -> bool:
    return value is not None and value.measured == 1


def _same_elements(value: Any, layout: Any, out: Any) -> bool:
    """Tell whether the result may hold an operand's elements one for one, as the same numbers."""
    return (
        _known(value)
        and layout.numel == out.numel
        and (layout.dtype is out.dtype or out.dtype in _WIDER.get(layout.dtype, _KEPT))
    )


def copied(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """A copy, or a cast that loses nothing, of the last operand."""
    value, _, layout = ins[-1]
    return _told(value) if _same_elements(value, layout, out) else None


def added(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """The sum of a tensor and one of zeros."""
    if kwargs or len(ins) != 2:
        return None
    (a, _, a_layout), (b, _, b_layout) = ins
    if not (_same_elements(a, a_layout, out) and _same_elements(b, b_layout, out)):
        return None
    if a.nonzero == 0:
        return _told(b)
    return _told(a) if b.nonzero == 0 else None


def multiplied(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """Finite numbers times zero."""
    value = ins[0][0]
    if len(args) == 2 and type(args[1]) is float and args[1] == 0.0 and _known(value):
        return zeros_and_ones(0, out.numel) if value.bits > 0 and value.bits & _WHOLE else None
    return None


def complemented(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """One minus zeros and ones."""
    value, _, layout = ins[0]
    if (
        len(args) == 2
        and type(args[1]) in _NUMBERS
        and args[1] == 1
        and not kwargs
        and _same_elements(value, layout, out)
    ):
        if value.bits > 0 and value.bits & _BINARY:
            return zeros_and_ones(out.numel - value.nonzero, out.numel)
    return None


def joined(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """A concatenation: of zeros and ones, or with a part that has no class."""
    nonzero = size = 0
    binary, classless = True, False
    for value, _, layout in ins:
        if not _known(value) or layout.dtype is not out.dtype:
            return None
        nonzero += value.nonzero
        size += layout.numel
        if value.bits:
            binary = binary and bool(value.bits & _BINARY)
        else:
            classless = True
    if size != out.numel or not size:
        return None
    if classless:
        return Statistics(0, nonzero)
    return zeros_and_ones(nonzero, size) if binary else None


def zeros(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """Zeros."""
    return None if out.dtype.is_complex or not out.numel else zeros_and_ones(0, out.numel)


def ones(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """Ones."""
    return None if out.dtype.is_complex or not out.numel else zeros_and_ones(out.numel, out.numel)


def filled(ins: list[Any], args: Any, kwargs: Any, out: Any) -> Statistics | None:
    """Zeros or ones by the second argument."""
    number = args[1] if len(args) > 1 else None
    if type(number) not in _NUMBERS or number not in (0, 1):
        return None
    return (ones if number else zeros)(ins, args, kwargs, out)


DERIVATIONS: dict[str, Any] = {
    "aten.clone": copied, "aten._to_copy": copied, "aten.contiguous": copied,
    "aten._unsafe_view": copied, "aten.view_copy": copied, "aten._reshape_copy": copied,
    "aten.copy_": copied,
    "aten.add": added, "aten.mul": multiplied, "aten.rsub": complemented,
    "aten.cat": joined, "aten.stack": joined,
    "aten.zeros": zeros, "aten.zeros_like": zeros, "aten.new_zeros": zeros, "aten.zero_": zeros,
    "aten.ones": ones, "aten.ones_like": ones, "aten.new_ones": ones,
    "aten.full": filled, "aten.full_like": filled, "aten.fill_": filled,
}  # fmt: skip
"""By packet: takes operands, arguments, keyword arguments and the result's layout."""
