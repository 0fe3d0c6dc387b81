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
    nulls = np.count_nonzero(missing)
    if nulls == len(values):
        return pa.nulls(nulls, kind)
    wide = np.where(missing, 0, values) if nulls else values
    cells = np.ascontiguousarray(wide, _NUMBERS[kind])
    if cells.dtype != wide.dtype and not np.array_equal(cells, wide):
        raise OverflowError(f"a number is too large for {kind}")
    return _made(kind, len(values), missing if nulls else None, [pa.py_buffer(cells)])


def booleans(values: Any, missing: Any = None) -> pa.Array:
    """Return truth values as a column; `missing` ones become null."""
    return _made(pa.bool_(), len(values), missing, [_bits(values)])


def lists(sizes: Any, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of lists: the next so many of `values` each; a size of NULL is null."""
    missing = sizes == NULL
    ends = _ends(np.where(missing, 0, sizes))
    return _made(kind, len(sizes), missing, [pa.py_buffer(ends)], [values])


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
    if not cells:
        return pa.nulls(0, kind)
    missing = np.array([each is None for each in cells]) if None in cells else None
    if kind in _NUMBERS:
        numbers = cells if missing is None else [NULL if each is None else each for each in cells]
        return column(_whole(numbers), kind)
    if pa.types.is_boolean(kind):
        return booleans(np.array(cells, bool), missing)
    if pa.types.is_float64(kind):
        numbers = cells if missing is None else [0.0 if each is None else each for each in cells]
        return _made(kind, len(cells), missing, [pa.py_buffer(np.array(numbers, np.float64))])
    if pa.types.is_string(kind):
        texts = cells if missing is None else ["" if each is None else each for each in cells]
        return _made(kind, len(cells), missing, _texts(texts))
    if pa.types.is_dictionary(kind):
        told = dict.fromkeys(each for each in cells if each is not None)
        places = {text: place for place, text in enumerate(told)}
        return words(packed([NULL if each is None else places[each] for each in cells]), [*places])
    if pa.types.is_struct(kind):
        rows = cells if missing is None else [each or {} for each in cells]
        fields = [built([row.get(field.name) for row in rows], field.type) for field in kind]
        return _made(kind, len(cells), missing, [], fields)
    sizes = packed([NULL if each is None else len(each) for each in cells])
    flat = [*chain.from_iterable(each for each in cells if each is not None)]
    return lists(sizes, built(flat, kind.value_type), kind)


def _whole(numbers: Sequence[Any]) -> Any:
    """Return integers as an array.

    Raises:
        OverflowError: one has more than 64 bits.
        TypeError: one is none.
    """
    found = np.array(numbers)
    if found.dtype.kind == "i":
        return found.astype(np.int64, copy=False)
    return packed([index(each) for each in numbers])


def _texts(texts: Sequence[str]) -> list[pa.Buffer]:
    """Return where texts end, and the texts themselves."""
    whole = "".join(texts)
    if whole.isascii():
        return [pa.py_buffer(_ends(packed([*map(len, texts)]))), pa.py_buffer(whole.encode())]
    coded = [text.encode() for text in texts]
    return [pa.py_buffer(_ends(packed([*map(len, coded)]))), pa.py_buffer(b"".join(coded))]


def _made(
    kind: pa.DataType, size: int, missing: Any, buffers: list[pa.Buffer], children: Any = None
) -> pa.Array:
    """Return a column from its buffers.

    `pa.array` would load pandas where it is installed, and `ListArray.from_arrays` all of
    `pyarrow.compute`: half a second, and modules that the script did not ask for.
    """
    nulls = 0 if missing is None else int(np.count_nonzero(missing))
    if nulls == size:
        return pa.nulls(nulls, kind)
    there = _bits(~missing) if nulls else None
    return pa.Array.from_buffers(kind, size, [there, *buffers], nulls, children=children)


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
