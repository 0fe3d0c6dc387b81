"""Figures on a page: what people read, with the exact value beside it for machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..text import plain
from ..units import UNKNOWN


class Cell(NamedTuple):
    """A figure or a text.

    Attributes:
        text: what people read.
        value: the exact figure, as JSON writes it; None: a text, or not known.
    """

    text: str
    value: str | None = None


class Head(NamedTuple):
    """A heading of a table.

    Attributes:
        title: what it says.
        key: the figure under it, as the results call it; "" over texts.
    """

    title: str
    key: str = ""


class Grid(NamedTuple):
    """A table.

    Attributes:
        key: names the table for machines.
        heads: the headings.
        rows: a cell for each heading.
        more: how many rows are not shown.
    """

    key: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    more: int = 0


def said(text: Any) -> Cell:
    """Return a text; None is empty, control characters become visible escapes."""
    return Cell("" if text is None else plain(str(text)))


def figure(value: float | None, show: Callable[[Any], str], sign: str = "") -> Cell:
    """Return a figure with its unit; what is not known is a question mark without a value."""
    return Cell(UNKNOWN) if value is None else Cell(sign + show(value), repr(value))
