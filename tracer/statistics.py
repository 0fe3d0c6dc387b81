"""What the elements of a value are: nonzero count and spike class, exact, from NumPy arrays.

A sample rules most dense values out of every class; for those only the nonzero elements are
counted. The rest is read in chunks that stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..schemas import VALUE_BITS, SpikeClass

_B, _T, _S, _W, _C = (int(bit) for bit in SpikeClass if bit in VALUE_BITS)
_CHUNK = 1 << 16
_FIRST = 24
_SAMPLE = 512


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
            if not fraction and (x != x or x in (np.inf, -np.inf) or x != int(x)):
                fraction = True
            if first is None:
                first = x
            if fraction and x != first:
                return True
    return False


def _count(array: Any, number: float, buffer: Any) -> int:
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

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = np.empty(_CHUNK, np.bool_)

    def measure(self, array: Any, bits: str = "") -> Statistics:
        """Measure a flat array; `bits` names the 16- or 8-bit float that it holds as integers."""
        size = array.size
        if size == 0:
            return EMPTY
        kind = array.dtype.char
        if kind == "f":
            # The common case first: 32-bit floats that no class fits.
            if _ruled_out(array[:_FIRST].tolist()) or (
                size > _FIRST and self._sample_rules_out(array)
            ):
                return Statistics(0, size - _count(array, 0, self._buffer))
            return self._classify(array)
        kind = array.dtype.kind
        if kind == "b":
            return zeros_and_ones(int(np.count_nonzero(array)), size)
        if kind == "c":
            return Statistics(0, int(np.count_nonzero(array)))
        if bits:
            return self._small_floats(array, bits)
        first = array[:_FIRST].tolist()
        if _ruled_out(first) or (size > _FIRST and self._sample_rules_out(array)):
            return Statistics(0, size - _count(array, 0, self._buffer))
        return self._classify(array)

    def _sample_rules_out(self, array: Any) -> bool:
        step = array.size // _SAMPLE
        sample = array[:: step or 1] if step < 4096 else array[: 4096 * _SAMPLE : 4096]
        nonzero = sample[sample != 0]
        if nonzero.size < 2:
            return False
        if bool((nonzero == nonzero[0]).all()):
            return False
        return array.dtype.kind == "f" and not _whole(nonzero)

    def _small_floats(self, array: Any, bits: str) -> Statistics:
        mask = _MASKS.get(bits)
        if mask is None:  # floats whose negative zero is a NaN
            return self.measure(decode(array, bits))
        sample = decode(array[:_FIRST], bits)
        if _ruled_out(sample.tolist()):
            nonzero = 0
            for start in range(0, array.size, _CHUNK):
                nonzero += int(np.count_nonzero(array[start : start + _CHUNK] & mask))
            return Statistics(0, nonzero)
        return self.measure(decode(array, bits))

    def _classify(self, array: Any) -> Statistics:
        size, buffer = array.size, self._buffer
        nonzero = size - _count(array, 0, buffer)
        ones = _count(array, 1, buffer) if nonzero else 0
        if ones == nonzero:
            return zeros_and_ones(ones, size)
        signed = array.dtype.kind != "u"
        minus = _count(array, -1, buffer) if signed else 0
        bits = (_T | _W) if ones + minus == nonzero else 0
        representative = (
            array[int(np.flatnonzero(array)[0])] if size <= _CHUNK else _first_nonzero(array)
        )
        if _count(array, representative, buffer) == nonzero:
            bits |= _S | (_C if nonzero == size else 0)
        if not bits & _W and _whole(array):
            bits |= _W
        if not bits:
            return Statistics(0, nonzero)
        return Statistics(bits, nonzero, ones, minus, float(array.min()), float(array.max()))


def _first_nonzero(array: Any) -> Any:
    for start in range(0, array.size, _CHUNK):
        found = np.flatnonzero(array[start : start + _CHUNK])
        if found.size:
            return array[start + int(found[0])]
    raise AssertionError("an array with nonzero elements has a first one")
