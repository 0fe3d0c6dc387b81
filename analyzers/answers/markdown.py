"""Pages as Markdown; every text in them is shown as it is."""

from __future__ import annotations

from collections.abc import Sequence

from ..text import plain
from . import tree
from .page import Page, Sheet

_MARKUP = set("\\|`*[<&~_")


def written(page: Page) -> str:
    """Return a page as Markdown: lists of lines, and a table for each sheet."""
    parts = [_lines(page.lead), *map(_sheet, page.sheets), _lines(page.below)]
    return "\n".join(part for part in parts if part)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is: no tables, emphasis, links or HTML in it.

    An underscore between letters and digits is none of these.
    """
    shown = plain(text)
    return "".join(
        f"\\{c}" if c in _MARKUP and (c != "_" or not _inside(shown, place)) else c
        for place, c in enumerate(shown)
    )


def _inside(text: str, place: int) -> bool:
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return len(around) == 2 and around.isalnum()


def _lines(lines: Sequence[str]) -> str:
    if len(lines) == 1:
        return f"{escaped(lines[0])}\n"
    leads = ("  - " if line.startswith(" ") else "- " for line in lines)
    return "".join(
        f"{lead}{escaped(line.strip())}\n" for lead, line in zip(leads, lines, strict=True)
    )


def _sheet(sheet: Sheet) -> str:
    columns = [column for column in sheet.columns if not column.drawn]
    rows = [[escaped(column.title) for column in columns]]
    rows.append([":--" if column.left else "--:" for column in columns])
    rows += [[_led(cell.rstrip()) for cell in row] for row in sheet.rows(columns)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    title = f"**{escaped(sheet.title)}**\n" if sheet.title else ""
    return "\n".join(filter(None, [title, table, _lines(sheet.notes)]))


def _led(cell: str) -> str:
    """Return a cell; blanks that lead to a name in a tree would get lost."""
    size = tree.lead(cell)
    return cell[:size].replace(" ", "&nbsp;") + escaped(cell[size:])
