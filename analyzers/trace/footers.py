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
    told = _Reader(_content(file)).struct()
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


class _Reader:
    """Reads values in Thrift's compact protocol: structs as dictionaries by number of the field."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def struct(self) -> dict[int, Any]:
        """Read a struct."""
        found: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            found[number] = kind == 1 if kind in (1, 2) else self.value(kind)
        return found

    def value(self, kind: int) -> Any:
        """Read a value of a kind, as lists hold it."""
        if kind in (4, 5, 6):
            return self.signed()
        if kind == 8:
            return self.bytes(self.varint())
        if kind == 12:
            return self.struct()
        if kind in (9, 10):
            head = self.byte()
            size = self.varint() if head >> 4 == 15 else head >> 4
            return [self.value(head & 15) for _ in range(size)]
        if kind in (1, 2, 3):
            return self.byte()
        if kind == 7:
            return self.bytes(8)
        raise ValueError(f"no kind {kind}")  # maps: no footer has one

    def byte(self) -> int:
        """Read a byte."""
        self.place += 1
        return self.data[self.place - 1]

    def bytes(self, size: int) -> bytes:
        """Read so many bytes."""
        first, self.place = self.place, self.place + size
        if self.place > len(self.data):
            raise ValueError("it is cut off")
        return self.data[first : self.place]

    def varint(self) -> int:
        """Read a whole number that is not negative."""
        found = shift = 0
        while True:
            byte = self.byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
            if shift > 63:
                raise ValueError("a number is too long")

    def signed(self) -> int:
        """Read a whole number."""
        coded = self.varint()
        return (coded >> 1) ^ -(coded & 1)
