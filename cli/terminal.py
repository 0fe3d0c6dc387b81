"""What fits on a terminal: whether there is one, its width, and which columns it has room for."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

import click

from . import tree

if TYPE_CHECKING:
    from .tables import Column

GAP = 3
"""Blanks between two columns."""

LEAST = 20
"""So much of a column of text is shown before whole columns are left out."""

NAME = 16
"""So much of a name in a tree, however deep it stands."""


def clean(text: str) -> str:
    """Return text that cannot steer a terminal: control characters become visible escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """Say one line on stderr."""
    click.echo(f"opjoule: {clean(line)}", err=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; it is None where who started us has closed it."""
    return stream is not None and stream.isatty()


def width() -> int | None:
    """Return the columns of the terminal that an answer goes to; None: to a file or pipe."""
    context = click.get_current_context(silent=True)
    asked = context.params if context is not None else {}
    to_file = "kind" in asked and asked.get("output") is not None
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) and not to_file else None


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a line of text, on a terminal folded between words; further lines are indented."""
    room = width()
    if room is None or len(text) <= room:
        return f"{text}\n"
    lines = textwrap.wrap(
        text, room, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True
    )
    return "".join(f"{line}\n" for line in lines)


def least(cells: Sequence[str]) -> int:
    """Return how narrow a column of text may become before whole columns are left out."""
    names = ((tree.lead(cell), cell) for cell in cells)
    deepest = max((lead + min(len(cell) - lead, NAME) for lead, cell in names), default=0)
    return max(deepest, min(LEAST, max(map(len, cells), default=0)))


def fitted(
    columns: Sequence[Column],
    widths: Sequence[int],
    room: int,
    narrowest: Sequence[int] | None = None,
) -> tuple[list[int], dict[int, int]]:
    """Choose columns that fit: figures are shown whole or not at all, text may be cut.

    Args:
        columns: the columns of a table.
        widths: what each would need.
        room: what there is.
        narrowest: how narrow each may become, see `least`.

    Returns:
        The columns to show, and of those whose text is too long, how wide they may be.
    """
    kept = list(range(len(columns)))
    narrowest = narrowest or [min(width, LEAST) for width in widths]
    smallest = [
        small if column.left else width
        for column, width, small in zip(columns, widths, narrowest, strict=True)
    ]
    optional = sorted(kept, key=lambda i: -columns[i].optional)
    for place in optional:
        if columns[place].optional and _sum(smallest, kept) > room:
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
