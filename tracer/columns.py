"""Rows gathered as columns: integers in one flat array, cut by stride at a flush."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pyarrow as pa

from .text import writable

NULL = -(1 << 63)


class Rows:
    """Rows of integers, appended flat; NULL stands for null.

    Rows are let go only when they are on the disk. An interrupt may come between any two calls of
    functions; so what belongs together is done without one between.

    Attributes:
        gone: rows that were let go so far.
    """

    __slots__ = ("append", "flat", "gone", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.gone = 0
        self.flat = array("q")
        self.append = self.flat.extend

    def __len__(self) -> int:
        return len(self.flat) // self.width

    def table(self) -> Any:
        """Return the rows as a (rows, width) array; they are kept."""
        return np.array(self.flat, np.int64)[: len(self) * self.width].reshape(-1, self.width)

    def cut(self) -> None:
        """Take back a row of which only a part was appended."""
        del self.flat[len(self) * self.width :]

    def let_go(self, total: int) -> None:
        """Let rows go until `total` have been in all; what has gone already stays so."""
        cells = max(0, total - self.gone) * self.width
        del self.flat[:cells]
        self.gone = total


_NARROW = {pa.int16(): np.int16, pa.int32(): np.int32}


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Return integers as an Arrow column of `kind`; NULL becomes null.

    Raises:
        OverflowError: `kind` is too narrow for one of them.
    """
    missing = values == NULL
    mask = missing if missing.any() else None
    if kind in _NARROW:
        wide = values if mask is None else np.where(missing, 0, values)
        values = wide.astype(_NARROW[kind])
        if not np.array_equal(values, wide):
            raise OverflowError(f"a number is too large for {kind}")
    return pa.array(values, mask=mask)


def lists(sizes: list[int | None], values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of lists: the next so many of `values` each; None is null."""
    missing = sizes.count(None)
    found = [0, *(size or 0 for size in sizes)] if missing else [0, *sizes]
    ends = np.cumsum(np.array(found, np.int32), dtype=np.int32)
    # `ListArray.from_arrays` would load all of `pyarrow.compute` to turn a mask round: 0.1 s.
    there = _bits(np.array([size is not None for size in sizes])) if missing else None
    buffers = [there, pa.py_buffer(ends)]
    return pa.ListArray.from_buffers(
        kind, len(sizes), buffers, null_count=missing, children=[values]
    )


def _bits(flags: Any) -> pa.Buffer:
    """Return flags as Arrow holds them."""
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def words(codes: Any, vocabulary: list[str]) -> pa.Array:
    """Return codes as a dictionary column; NULL becomes null."""
    missing = codes == NULL
    indices = pa.array(np.where(missing, 0, codes).astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(
        indices, pa.array(writable(vocabulary) or [""], pa.string())
    )
