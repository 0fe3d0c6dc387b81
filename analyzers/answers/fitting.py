"""Which columns of a table fit into so many cells, and text cut or folded to a width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import combining, east_asian_width

from . import tree
from .page import Column

GAP = 3
"""Blanks between two columns."""

LEAST = 20
"""So much of a column of text is shown before whole columns are left out."""

NAME = 16
"""So much of a name in a tree, however deep it stands."""


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes; Chinese characters take two."""
    if text.isascii():
        return len(text)
    wide = {"W": 2, "F": 2}
    return sum(0 if combining(c) else wide.get(east_asian_width(c), 1) for c in text)


def cut(text: str, room: int) -> str:
    """Return text of at most `room` cells; what is cut off is marked by an ellipsis."""
    if cells(text) <= room:
        return text
    return f"{next(_chopped(text, max(room - 1, 0)), '')}…"


def folded(text: str, room: int, indent: str = "") -> list[str]:
    """Return text as lines of at most `room` cells, cut between words where that can be done."""
    lines, line = [], ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cells(joined) <= room:
            line = joined
            continue
        lines += [line] if line else []
        *whole, line = _chopped(word if not lines else indent + word, room)
        lines += whole
    return [*lines, line]


def _chopped(text: str, room: int) -> Iterator[str]:
    """Yield text in pieces of at most `room` cells."""
    piece, size = "", 0
    for character in text:
        width = cells(character)
        if piece and size + width > room:
            yield piece
            piece, size = "", 0
        piece, size = piece + character, size + width
    yield piece


def least(texts: Sequence[str]) -> int:
    """Return how narrow a column of text may become before whole columns are left out."""
    names = ((tree.lead(text), text) for text in texts)
    deepest = max((lead + min(cells(text) - lead, NAME) for lead, text in names), default=0)
    return max(deepest, min(LEAST, max(map(cells, texts), default=0)))


def fitted(
    columns: Sequence[Column],
    widths: Sequence[int],
    room: int,
    narrowest: Sequence[int] | None = None,
    idle: Sequence[int] = (),
) -> tuple[list[int], dict[int, int]]:
    """Choose columns that fit: figures are shown whole or not at all, text may be cut.

    Args:
        columns: the columns of a table.
        widths: what each would need.
        room: what there is.
        narrowest: how narrow each may become, see `least`.
        idle: places of columns that say nothing, such as only 0: they are left out first.

    Returns:
        The columns to show, and of those whose text is too long, how wide they may be.
    """
    kept = list(range(len(columns)))
    narrowest = narrowest or [min(width, LEAST) for width in widths]
    smallest = [
        small if column.left else width
        for column, width, small in zip(columns, widths, narrowest, strict=True)
    ]
    for place in sorted(kept, key=lambda i: (i not in idle, -columns[i].optional)):
        if (columns[place].optional or place in idle) and _sum(smallest, kept) > room:
            kept.remove(place)
    texts = [place for place in kept if columns[place].left]
    spare = room - _sum(widths, kept) + sum(widths[place] for place in texts)
    if sum(widths[place] for place in texts) <= spare:
        return kept, {}
    cap = next(
        cap for cap in range(max(spare, 1), 0, -1)
        if cap == 1 or sum(min(widths[place], cap) for place in texts) <= spare
    )  # fmt: skip
    return kept, {place: cap for place in texts if widths[place] > cap}


def _sum(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[place] for place in kept) + GAP * (len(kept) - 1)
