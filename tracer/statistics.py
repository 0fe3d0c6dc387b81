"""What the elements of a value are: nonzero count and spike class, exact, from NumPy arrays.

Where `_statistics.c` is built, that says the same of the same elements (see `measurers`).
A sample rules most dense values out of every class; for those only the nonzero elements are
counted. Zeros and one other number are counted in two passes. All is read in chunks that stay in
the processor's cache; small arrays are looked at in Python, which takes less than NumPy's calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..schemas import VALUE_BITS, SpikeClass

if TYPE_CHECKING:
    from .layouts import Layout

_B, _T, _S, _W, _C = (int(bit) for bit in SpikeClass if bit in VALUE_BITS)
_CHUNK = 1 << 16
_FEW = 16
_SOME = 4096
_FIRST = 16
_SAMPLE = 128


class Statistics(NamedTuple):
    """Facts about the elements of a value.

    Attributes:
        bits: SpikeClass bits, without provenance.
        nonzero: elements that are not zero (-0.0 is zero, NaN is not).
        ones, minus_ones, low, high: None where no bit is set.
    """

    bits: int
    nonzero: int
    ones: int | None = None
    minus_ones: int | None = None
    low: float | None = None
    high: float | None = None


EMPTY = Statistics(int(VALUE_BITS), 0, 0, 0, None, None)


def zeros_and_ones(ones: int, size: int) -> Statistics:
    """Return the facts about `size` elements of which `ones` are 1 and all others 0."""
    bits = _B | _T | _S | _W | (_C if ones in (0, size) else 0)
    return Statistics(bits, ones, ones, 0, 1.0 if ones == size else 0.0, 1.0 if ones else 0.0)


# 8-bit floats decoded by table, 16-bit ones by their bits; the sign is masked for zeros.
_MASKS: dict[str, int] = {
    "float16": 0x7FFF, "bfloat16": 0x7FFF,
    "float8_e4m3fn": 0x7F, "float8_e5m2": 0x7F,
}  # fmt: skip


def decode(array: Any, dtype_name: str) -> Any:
    """Return 16- or 8-bit floats, given as unsigned integers, as float32 of the same shape."""
    if dtype_name == "float16":
        return array.view(np.float16).astype(np.float32)
    if dtype_name == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return _table(dtype_name)[array]


def _table(dtype_name: str) -> Any:
    import torch

    codes = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype_name))
    return codes.to(torch.float32).numpy()


def _ruled_out(sample: list[Any]) -> bool:
    """Tell whether a sample excludes every class: two nonzero numbers, one of them not whole."""
    first = None
    fraction = False
    for x in sample:
        if x:
            if not fraction and not _is_whole(x):
                fraction = True
            if first is None:
                first = x
            if fraction and x != first:
                return True
    return False


def _is_whole(x: Any) -> bool:
    return type(x) is not float or x.is_integer()  # NaN and infinities are not


def _count(array: Any, number: Any, buffer: Any) -> int:
    """Count the elements equal to `number` in chunks."""
    size = array.size
    if size <= _CHUNK:
        return int(np.count_nonzero(np.equal(array, number, out=buffer[:size])))
    total = 0
    for start in range(0, size, _CHUNK):
        chunk = array[start : start + _CHUNK]
        total += int(np.count_nonzero(np.equal(chunk, number, out=buffer[: chunk.size])))
    return total


def _whole(array: Any) -> bool:
    if array.dtype.kind != "f":
        return True
    for start in range(0, array.size, _CHUNK):
        chunk = array[start : start + _CHUNK]
        if not np.isfinite(chunk).all() or not np.array_equal(np.floor(chunk), chunk):
            return False
    return True


class Measurer:
    """Measures arrays; holds one small buffer that is used again and again."""

    counts_in = "NumPy"
    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = np.empty(_CHUNK, np.bool_)

    def measure_at(self, layout: Layout, pointer: int) -> Statistics | int:
        """Measure the elements of a tensor; return its nonzero ones alone if it has no class.

        Raises:
            ValueError: the pointer is null: the storage was given back.
        """
        return self.measure(layout.flat(pointer), layout.bits)

    def measure(self, array: Any, bits: str = "") -> Statistics | int:
        """Measure a flat array; return its nonzero elements alone if it has no class.

        Args:
            array: the elements.
            bits: the 16- or 8-bit float that it holds as integers, else "".
        """
        size = array.size
        if bits or array.dtype.kind in "bc":
            return self._unlike(array, bits)
        if size <= _FEW:
            return _few(array.tolist()) if size else EMPTY
        head = array[:_FIRST].tolist()
        if _ruled_out(head):
            return self._nonzero(array)
        first, zeros = head[0], -1
        if head.count(first) == _FIRST:
            same = _count(array, first, self._buffer)
            if same == size:
                return _one_number(first, size, size) if first else zeros_and_ones(0, size)
            zeros = -1 if first else same
        nonzero = size - zeros if zeros >= 0 else self._nonzero(array)
        if _ruled_out(_sample(array)):
            return nonzero
        return self._classify(array, nonzero)

    def _nonzero(self, array: Any) -> int:
        if array.size <= _SOME:
            return int(np.count_nonzero(array))
        return int(array.size) - _count(array, 0, self._buffer)

    def _unlike(self, array: Any, bits: str) -> Statistics | int:
        """Measure what is not read as numbers: bool, complex numbers, small floats."""
        size = array.size
        if not size:
            return EMPTY
        if not bits:
            nonzero = int(np.count_nonzero(array))
            return zeros_and_ones(nonzero, size) if array.dtype.kind == "b" else nonzero
        mask = _MASKS.get(bits)  # there is none for floats whose negative zero is a NaN
        if mask is not None and _ruled_out(decode(array[:_FIRST], bits).tolist()):
            nonzero = 0
            for start in range(0, size, _CHUNK):
                nonzero += int(np.count_nonzero(array[start : start + _CHUNK] & mask))
            return nonzero
        return self.measure(decode(array, bits))

    def _classify(self, array: Any, nonzero: int) -> Statistics | int:
        size, buffer = array.size, self._buffer
        if not nonzero:
            return zeros_and_ones(0, size)
        number = _first_nonzero(array)
        same = _count(array, number, buffer)
        if same == nonzero:
            return _one_number(number, nonzero, size)
        ones = same if number == 1 else _count(array, 1, buffer)
        signed = array.dtype.kind != "u"
        minus = same if number == -1 else _count(array, -1, buffer) if signed else 0
        if ones + minus == nonzero:
            bits = _T | _W
        elif _whole(array):
            bits = _W
        else:
            return nonzero
        low, high = (float(end) + 0.0 for end in (array.min(), array.max()))  # -0.0 is 0
        return Statistics(bits, nonzero, ones, minus, low, high)


def _sample(array: Any) -> list[Any]:
    """Return numbers from all over a large array, at a stride that no layout has."""
    step = (array.size // _SAMPLE) | 1
    return array[::step].tolist()  # type: ignore[no-any-return]


def _one_number(number: Any, nonzero: int, size: int) -> Statistics:
    """Return the facts about `nonzero` elements equal to `number` and zeros besides."""
    if number == 1:
        return zeros_and_ones(nonzero, size)
    bits = _S | (_C if nonzero == size else 0) | (_W if _is_whole(number) else 0)
    minus = nonzero if number == -1 else 0
    low = high = float(number)
    if nonzero < size:
        low, high = min(low, 0.0), max(high, 0.0)
    return Statistics(bits | (_T if minus else 0), nonzero, 0, minus, low, high)


def _few(items: list[Any]) -> Statistics | int:
    """Measure few elements."""
    if _ruled_out(items):
        return len(items) - items.count(0)
    zeros = items.count(0)
    nonzero = len(items) - zeros
    if not nonzero:
        return zeros_and_ones(0, len(items))
    number = next(x for x in items if x)
    if items.count(number) == nonzero and number == number:
        return _one_number(number, nonzero, len(items))
    if not all(map(_is_whole, items)):
        return nonzero
    ones, minus = items.count(1), items.count(-1)
    bits = (_T | _W) if ones + minus == nonzero else _W
    low, high = (float(end) + 0.0 for end in (min(items), max(items)))
    return Statistics(bits, nonzero, ones, minus, low, high)


def _first_nonzero(array: Any) -> Any:
    """Return the first number that is not zero; there is one."""
    for start in (0, *range(_FIRST, array.size, _CHUNK)):
        chunk = array[start : start + (_CHUNK if start else _FIRST)]
        places = np.flatnonzero(chunk)
        if places.size:
            return chunk[places[0]].item()
    raise AssertionError("an array with nonzero elements has a first one")
