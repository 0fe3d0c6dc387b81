"""The footer of a Parquet file, read without a library: to load one takes longer than to count.

Only what checks of a trace ask for is kept: rows, sizes, and the statistics of whole numbers. The
format: `parquet.thrift` of Apache Parquet, in Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_MAGIC = b"PAR1"
_LARGEST = 1 << 27
"""Bytes of a footer; that of a part of a million calls has some ten thousand."""

_WHOLE = (1, 2)
"""INT32 and INT64, as `Type` numbers them."""


class Chunk(NamedTuple):
    """A column of a row group, and what its statistics say.

    Attributes:
        name: of the column.
        nulls: rows without a value; None: not told.
        span: the smallest and the largest whole number; None: not told, or no whole numbers.
    """

    name: str
    nulls: int | None
    span: tuple[int, int] | None


class Group(NamedTuple):
    """A row group: its rows, the bytes of its columns, and those that are not nested."""

    rows: int
    bytes: int
    chunks: tuple[Chunk, ...]


class Content(NamedTuple):
    """What a footer says.

    Attributes:
        rows: all rows.
        groups: the row groups.
        schema: the bytes that tell the columns and their types; files that agree in them agree.
        head: the bytes up to the number of rows.
    """

    rows: int
    groups: tuple[Group, ...]
    schema: tuple[bytes, ...]
    head: bytes


def footer_of(file: Path, like: Content | None = None) -> Content:
    """Return the footer of a file.

    Args:
        file: the file.
        like: of one that may have the same columns: these are then not read again.

    Raises:
        OSError: the file cannot be read.
        Exception: it is no Parquet file, of whatever kind the first fault is.
    """
    data = _content(file)
    told, _ = _struct(data, 0, _FOOTER, () if like is None else like.schema)
    schema = (told[2], told.get(5, b""))
    head = data[: data.index(told[2]) + len(told[2]) + 1]  # and what says that a number follows
    return Content(told[3], tuple(map(_group, told[4])), schema, head)


def rows_like(file: Path, like: Content) -> int | None:
    """Return how many rows a file has that tells the same columns as another; None: it does not.

    What its footer says of row groups is not read: that takes ten times longer.

    Args:
        file: the file.
        like: of the other.

    Raises:
        OSError: the file cannot be read.
        Exception: it is no Parquet file, of whatever kind the first fault is.
    """
    data = _content(file)
    return _signed(data, len(like.head))[0] if data.startswith(like.head) else None


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


_RAW: Any = object()
"""Stands for a list that is kept as its bytes."""

_STATISTICS = dict.fromkeys((1, 2, 3, 5, 6))
_COLUMN = {3: {1: None, 3: None, 12: _STATISTICS}}
_GROUP = {1: _COLUMN, 2: None, 3: None}
_FOOTER = {2: _RAW, 3: None, 4: _GROUP, 5: _RAW}
"""The fields that are kept, by number: those of the structs inside, or None. The most by far are
passed over, for a trace of many ranks has thousands of footers."""

_WHOLE_KINDS = (4, 5, 6)
_LONGEST = 10
"""Bytes of a number."""


def _struct(
    data: bytes, place: int, kept: dict[int, Any], known: tuple[bytes, ...] = ()
) -> tuple[dict[int, Any], int]:
    """Read a struct, a dictionary by number of the field; return it and where it ends.

    Args:
        data: the footer.
        place: where the struct begins.
        kept: what is kept of it.
        known: raw fields as they may be.
    """
    found: dict[int, Any] = {}
    number = 0
    while head := data[place]:
        place += 1
        if head > 15:
            number += head >> 4
        else:
            number, place = _signed(data, place)
        kind = head & 15
        if number not in kept:
            place = place if kind < 3 else _past(data, place, kind)
        elif kept[number] is _RAW:
            if kind != 9:
                raise ValueError("columns are told by lists")
            start = place
            same = next((each for each in known if each and data.startswith(each, place)), None)
            place = _past(data, place, kind) if same is None else place + len(same)
            found[number] = data[start:place]
        elif kind < 3:
            found[number] = kind == 1
        else:
            found[number], place = _value(data, place, kind, kept[number])
    return found, place + 1


def _value(data: bytes, place: int, kind: int, kept: Any) -> tuple[Any, int]:
    """Read a value of a kind, as lists hold it; return it and where it ends."""
    if kind in _WHOLE_KINDS:
        return _signed(data, place)
    if kind == 8:
        size, place = _varint(data, place)
        if place + size > len(data):
            raise ValueError("it is cut off")
        return data[place : place + size], place + size
    if kind == 12:
        return _struct(data, place, kept)
    if kind in (9, 10):
        values = []
        size, kind, place = _list(data, place)
        for _ in range(size):
            value, place = _value(data, place, kind, kept)
            values.append(value)
        return values, place
    raise ValueError(f"no kind {kind} is kept")


def _past(data: bytes, place: int, kind: int) -> int:
    """Return where a value of a kind ends, as lists hold it."""
    if kind == 12:
        while head := data[place]:
            place = place + 1 if head > 15 else _past(data, place + 1, 5)
            kind = head & 15
            if kind in _WHOLE_KINDS and data[place] < 128:
                place += 1
            elif kind > 2:
                place = _past(data, place, kind)
        return place + 1
    if kind in _WHOLE_KINDS:
        return _varint(data, place)[1]
    if kind == 8:
        size, place = _varint(data, place)
        return place + size
    if kind in (9, 10):
        size, kind, place = _list(data, place)
        for _ in range(size):
            place = _past(data, place, kind)
        return place
    if kind in (1, 2, 3, 7):
        data[place]  # nothing goes on past the end for ever
        return place + (8 if kind == 7 else 1)
    raise ValueError(f"no kind {kind}")  # maps: no footer has one


def _list(data: bytes, place: int) -> tuple[int, int, int]:
    """Return how many values a list has, their kind, and where the first one begins."""
    head = data[place]
    size, place = (head >> 4, place + 1) if head < 240 else _varint(data, place + 1)
    return size, head & 15, place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a whole number that is not negative; return it and where it ends."""
    found, place = data[place], place + 1
    if found < 128:
        return found, place
    found, shift = found & 127, 7
    for byte in data[place : place + _LONGEST - 1]:
        found |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return found, place
        shift += 7
    raise ValueError("a number is too long, or cut off")


def _signed(data: bytes, place: int) -> tuple[int, int]:
    """Read a whole number; return it and where it ends."""
    coded, place = _varint(data, place)
    return (coded >> 1) ^ -(coded & 1), place
