"""Rows gathered as columns: integers in one flat array, cut by stride at a flush."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
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


def packed(numbers: list[int]) -> Any:
    """Return integers as an array.

    What is asked of many values is asked in a comprehension each: Python looks slots up there at
    once, and `attrgetter` does not.
    """
    return np.fromiter(numbers, np.int64, len(numbers))


_INT64S = pa.list_(pa.int64())
_NARROW = {pa.int16(): np.int16, pa.int32(): np.int32}


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Return integers as an Arrow column of `kind`; NULL becomes null.

    Raises:
        OverflowError: `kind` is too narrow for one of them.
    """
    missing = values == NULL
    nulls = np.count_nonzero(missing)
    if nulls == len(values):
        return pa.nulls(nulls, kind)
    if kind in _NARROW:
        wide = np.where(missing, 0, values) if nulls else values
        values = wide.astype(_NARROW[kind])
        if not np.array_equal(values, wide):
            raise OverflowError(f"a number is too large for {kind}")
    return pa.array(values, mask=missing if nulls else None)


def lists(sizes: Any, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of lists: the next so many of `values` each; a size of NULL is null."""
    missing = sizes == NULL
    nulls = int(np.count_nonzero(missing))
    if nulls == len(sizes):
        return pa.nulls(nulls, kind)
    ends = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(np.where(missing, 0, sizes) if nulls else sizes, out=ends[1:])
    # `ListArray.from_arrays` would load all of `pyarrow.compute` to turn a mask round: 0.1 s.
    there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if nulls else None
    buffers = [there, pa.py_buffer(ends)]
    return pa.ListArray.from_buffers(kind, len(sizes), buffers, nulls, children=[values])


def int64_lists(of_rows: Sequence[Sequence[int] | None]) -> pa.Array:
    """Return lists of integers as a column; None is null."""
    sizes = packed([NULL if each is None else len(each) for each in of_rows])
    flat = [*chain.from_iterable(each for each in of_rows if each is not None)]
    return lists(sizes, pa.array(flat, pa.int64()), _INT64S)


def words(codes: Any, vocabulary: list[str]) -> pa.Array:
    """Return codes as a dictionary column; NULL becomes null."""
    return pa.DictionaryArray.from_arrays(
        column(codes, pa.int32()), pa.array(writable(vocabulary) or [""], pa.string())
    )
