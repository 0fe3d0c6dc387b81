"""The footer of a Parquet file, read without a library: to load one takes longer than to count.

Only what checks of a trace ask for is kept: rows, sizes, and the statistics of whole numbers. The
format: `parquet.thrift` of Apache Parquet, in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAGIC = b"PAR1"
_LARGEST = 1 << 27
"""Bytes of a footer; that of a part of a million calls has some ten thousand."""

_WHOLE = (1, 2)
"""INT32 and INT64, as `Type` numbers them."""


@dataclass(frozen=True)
class Chunk:
    """A column of a row group, and what its statistics say.

    Attributes:
        name: of the column.
        nulls: rows without a value; None: not told.
        span: the smallest and the largest whole number; None: not told, or no whole numbers.
    """

    name: str
    nulls: int | None
    span: tuple[int, int] | None


@dataclass(frozen=True)
class Group:
    """A row group: its rows, the bytes of its columns, and those that are not nested."""

    rows: int
    bytes: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Content:
    """What a footer says: all rows, and the row groups."""

    rows: int
    groups: tuple[Group, ...]


def footer_of(file: Path) -> Content:
    """Return the footer of a file.

    Raises:
        OSError: the file cannot be read.
        Exception: it is no Parquet file, of whatever kind the first fault is.
    """
    told, _ = _struct(_content(file), 0)
    return Content(told[3], tuple(map(_group, told[4])))


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - 8, 0))
        end = stream.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or not 0 < length <= min(size - 12, _LARGEST):
            raise ValueError("it has no footer")
        stream.seek(size - 8 - length)
        return stream.read(length)


def _group(told: dict[int, Any]) -> Group:
    return Group(told[3], told[2], tuple(_chunks(told[1])))


def _chunks(told: list[dict[int, Any]]) -> Iterator[Chunk]:
    for column in (each[3] for each in told):
        path, statistics = column[3], column.get(12, {})
        if len(path) == 1:
            low, high = (statistics.get(new, statistics.get(old)) for new, old in ((6, 2), (5, 1)))
            whole = column[1] in _WHOLE and low is not None and high is not None
            span = (_number(low), _number(high)) if whole else None
            yield Chunk(path[0].decode(), statistics.get(3), span)


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Return the struct that begins at a place, by number of the field, and where it ends.

    Thousands of parts have millions of such bytes: numbers of one byte are read in line.
    """
    found: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _signed(data, at)
        if kind in _NUMBERS:
            coded = data[at]
            if coded < 128:
                found[number], at = (coded >> 1) ^ -(coded & 1), at + 1
            else:
                found[number], at = _signed(data, at)
        elif kind in (1, 2):
            found[number] = kind == 1
        else:
            found[number], at = _value(data, at, kind)
    return found, at + 1


_NUMBERS = (4, 5, 6)
"""Whole numbers of 16, 32 and 64 bits."""


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return the value of a kind that begins at a place, as lists hold it, and where it ends."""
    if kind in _NUMBERS:
        return _signed(data, at)
    if kind == 8:
        size, at = _varint(data, at)
        return _bytes(data, at, size)
    if kind == 12:
        return _struct(data, at)
    if kind in (9, 10):
        return _list(data, at)
    if kind in (1, 2, 3):
        return data[at], at + 1
    if kind == 7:
        return _bytes(data, at, 8)
    raise ValueError(f"no kind {kind}")  # maps: no footer has one


def _list(data: bytes, at: int) -> tuple[list[Any], int]:
    head, at = data[at], at + 1
    size, kind = head >> 4, head & 15
    if size == 15:
        size, at = _varint(data, at)
    found = []
    for _ in range(size):
        each, at = _value(data, at, kind)
        found.append(each)
    return found, at


def _bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise ValueError("it is cut off")
    return data[at:end], end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the whole number, not negative, that begins at a place, and where it ends."""
    found = shift = 0
    while True:
        byte = data[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    """Return the whole number that begins at a place, and where it ends."""
    coded, at = _varint(data, at)
    return (coded >> 1) ^ -(coded & 1), at
