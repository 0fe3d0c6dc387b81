"""Rows gathered as columns: integers in one flat array, cut by stride at a flush."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from operator import index
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
_NUMBERS = {pa.int16(): np.int16, pa.int32(): np.int32, pa.int64(): np.int64}


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """Return integers as an Arrow column of `kind`; NULL becomes null.

    Raises:
        OverflowError: `kind` is too narrow for one of them.
    """
    missing = values == NULL
    wide = np.where(missing, 0, values) if np.any(missing) else values
    cells = np.ascontiguousarray(wide, _NUMBERS[kind])
    if cells.dtype != wide.dtype and not np.array_equal(cells, wide):
        raise OverflowError(f"a number is too large for {kind}")
    return _made(kind, missing, [pa.py_buffer(cells)])


def booleans(values: Any, missing: Any = None) -> pa.Array:
    """Return truth values as a column; `missing` ones become null."""
    missing = np.zeros(len(values), bool) if missing is None else missing
    return _made(pa.bool_(), missing, [_bits(values)])


def lists(sizes: Any, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of lists: the next so many of `values` each; a size of NULL is null."""
    missing = sizes == NULL
    ends = _ends(np.where(missing, 0, sizes))
    return _made(kind, missing, [pa.py_buffer(ends)], [values])


def int64_lists(of_rows: Sequence[Sequence[int] | None]) -> pa.Array:
    """Return lists of integers as a column; None is null."""
    sizes = packed([NULL if each is None else len(each) for each in of_rows])
    flat = [*chain.from_iterable(each for each in of_rows if each is not None)]
    return lists(sizes, column(packed(flat), pa.int64()), _INT64S)


def words(codes: Any, vocabulary: list[str]) -> pa.Array:
    """Return codes as a dictionary column; NULL becomes null."""
    known = built(writable(vocabulary) or [""], pa.string())
    return pa.DictionaryArray.from_arrays(column(codes, pa.int32()), known)


def built(cells: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return numbers, texts, lists and dictionaries of Python as a column; None is null.

    Raises:
        OverflowError: a number is too large for `kind`.
        TypeError: a cell is not of `kind`.
        UnicodeEncodeError: a text cannot be written.
    """
    missing = np.fromiter((each is None for each in cells), bool, len(cells))
    if kind in _NUMBERS:
        return column(packed([NULL if each is None else index(each) for each in cells]), kind)
    if pa.types.is_boolean(kind):
        return booleans(np.fromiter(map(bool, cells), bool, len(cells)), missing)
    if pa.types.is_float64(kind):
        numbers = np.array([0.0 if each is None else each for each in cells], np.float64)
        return _made(kind, missing, [pa.py_buffer(numbers)])
    if pa.types.is_string(kind):
        texts = [b"" if each is None else each.encode() for each in cells]
        ends = _ends(packed([*map(len, texts)]))
        return _made(kind, missing, [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
    if pa.types.is_dictionary(kind):
        told = dict.fromkeys(each for each in cells if each is not None)
        places = {text: place for place, text in enumerate(told)}
        return words(packed([NULL if each is None else places[each] for each in cells]), [*places])
    if pa.types.is_struct(kind):
        rows = [each or {} for each in cells]
        fields = [built([row.get(field.name) for row in rows], field.type) for field in kind]
        return _made(kind, missing, [], fields)
    sizes = packed([NULL if each is None else len(each) for each in cells])
    flat = [*chain.from_iterable(each for each in cells if each is not None)]
    return lists(sizes, built(flat, kind.value_type), kind)


def _made(
    kind: pa.DataType, missing: Any, buffers: list[pa.Buffer], children: Any = None
) -> pa.Array:
    """Return a column from its buffers.

    `pa.array` would load pandas where it is installed, and `ListArray.from_arrays` all of
    `pyarrow.compute`: half a second, and modules that the script did not ask for.
    """
    nulls = int(np.count_nonzero(missing))
    if nulls == len(missing):
        return pa.nulls(nulls, kind)
    there = _bits(~missing) if nulls else None
    return pa.Array.from_buffers(kind, len(missing), [there, *buffers], nulls, children=children)


def _bits(flags: Any) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _ends(sizes: Any) -> Any:
    """Return where each of so many things begins, and where the last one ends.

    Raises:
        OverflowError: a column cannot hold as many.
    """
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    if ends[-1] >= 1 << 31:
        raise OverflowError("a column is too large")
    return ends.astype(np.int32)
