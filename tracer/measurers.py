"""Which of the two counts what the elements of a value are: C where it is built, else NumPy.

Both say the same. The choice is made here alone; OPJOULE_STATISTICS, "C" or "NumPy", forces it.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..schemas import RecordError
from .statistics import EMPTY, Measurer, Statistics

if TYPE_CHECKING:
    from .layouts import Layout

CHOICE = "OPJOULE_STATISTICS"
_VERSION = 1
"""What this file understands; a build of another version is passed over."""


class CompiledMeasurer:
    """Measures elements where they lie, in C."""

    counts_in = "C"
    __slots__ = ("_kinds", "_measure")

    def __init__(self, compiled: Any) -> None:
        self._measure = compiled.measure
        self._kinds = {name: number for number, name in enumerate(compiled.KINDS)}

    def measure_at(self, layout: Layout, pointer: int) -> Statistics | int:
        """Measure the elements of a tensor; return its nonzero ones alone if it has no class.

        Raises:
            ValueError: the pointer is null: the storage was given back.
        """
        kind = self._kinds[layout.dtype_name]
        if layout.dense:
            found = self._measure(pointer, layout.numel, kind)
        elif layout.numel:
            array = layout.flat(pointer)
            found = self._measure(array.ctypes.data, array.size, kind)
        else:
            return EMPTY
        return found if type(found) is int else Statistics._make(found)


def compiled() -> Any:
    """Return the module in C; None if it is not built, or for another version of opjoule."""
    try:
        from . import _statistics
    except ImportError:
        return None
    return _statistics if _statistics.VERSION == _VERSION else None


def choose_measurer() -> Measurer | CompiledMeasurer:
    """Return what measures in this process.

    Raises:
        RecordError: OPJOULE_STATISTICS asks for what there is not.
    """
    wanted, found = os.environ.get(CHOICE, ""), compiled()
    if wanted not in ("", "C", "NumPy"):
        raise RecordError(f"{CHOICE} is {wanted!r}: it may be C, NumPy or empty")
    if wanted == "C" and found is None:
        raise RecordError(
            f"{CHOICE} is C, but statistics in C are not built: install opjoule where there is "
            "a C compiler, or unset it to count with NumPy"
        )
    return Measurer() if found is None or wanted == "NumPy" else CompiledMeasurer(found)


def column_sums(pointer: int, rows: int, columns: int) -> Any:
    """Return the sums modulo 2 to the 64 of the columns of a table of integers of 8 bytes.

    Args:
        pointer: where the table lies in this machine's memory.
        rows: of the table.
        columns: of the table, at most 1024.

    Returns:
        The sums as something that has their bytes.
    """
    found = compiled()
    if hasattr(found, "column_sums") and os.environ.get(CHOICE) != "NumPy":
        return found.column_sums(pointer, rows, columns)
    words: Any = (ctypes.c_uint64 * (rows * columns)).from_address(pointer)
    return np.add.reduce(np.frombuffer(words, np.uint64).reshape(rows, columns), axis=0)
