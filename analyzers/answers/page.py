"""A page: the tables of a result, and the lines that belong to them, before any format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..text import plain

if TYPE_CHECKING:
    import polars as pl


class Column(NamedTuple):
    """How one column of a frame is shown to people.

    Attributes:
        name: the frame's column.
        title: its heading.
        show: makes the text of a cell.
        left: text, not a figure.
        style: how a terminal shows it.
        wrap: fold long text over lines where a terminal is narrow; else it is cut.
        optional: left out where a terminal is too narrow, the highest number first; 0: never.
        drawn: a picture made of characters, which only a table of text shows.
    """

    name: str
    title: str
    show: Callable[[Any], str] = str
    left: bool = False
    style: str | None = None
    wrap: bool = False
    optional: int = 0
    drawn: bool = False


class Sheet(NamedTuple):
    """One table of a page.

    Attributes:
        frame: its rows.
        columns: what is shown of them, in order.
        title: a heading over it.
        notes: lines right under it.
    """

    frame: pl.DataFrame
    columns: Sequence[Column]
    title: str = ""
    notes: Sequence[str] = ()

    def rows(self, columns: Sequence[Column]) -> list[list[str]]:
        """Return the texts of some of the columns, row by row: no character in them steers."""
        frame = self.frame.select([column.name for column in columns])
        return [
            [_cell(column, value) for column, value in zip(columns, row, strict=True)]
            for row in frame.iter_rows()
        ]


class Page(NamedTuple):
    """What is shown of a result, in every format.

    Attributes:
        sheets: the tables.
        title: what the result is, in one line; shown where no command line says it.
        lead: lines over the tables: what their figures speak of.
        notes: lines under them: totals, sources, coverage.
        warnings: what a reader of the figures has to know.
    """

    sheets: Sequence[Sheet] = ()
    title: str = ""
    lead: Sequence[str] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def below(self) -> list[str]:
        """The lines under the tables, with the warnings."""
        return [*self.notes, *(f"warning: {text}" for text in self.warnings)]


def is_assumed(lines: Sequence[str]) -> bool:
    """Tell whether figures rest on what is assumed; an assumption may change nothing."""
    return any(line.startswith("assumed") for line in lines)


def _cell(column: Column, value: Any) -> str:
    return plain("" if value is None and column.left else column.show(value))
