"""Pages as HTML for a notebook; every text in them is escaped."""

from __future__ import annotations

from html import escape

from ..text import plain
from .page import Page, Sheet

MOST_ROWS = 60
"""Rows of a table in a notebook."""


def written(page: Page) -> str:
    """Return a page as one element of HTML."""
    lead = "".join(_line(line) for line in page.lead)
    title = f"<strong>{escape(plain(page.title))}</strong>" if page.title else ""
    below = "".join(_line(line) for line in page.below)
    return f"<div>{title}{lead}{''.join(map(_sheet, page.sheets))}{below}</div>"


def _line(text: str) -> str:
    return f"<div>{escape(plain(text))}</div>"


def _sheet(sheet: Sheet) -> str:
    columns = [column for column in sheet.columns if not column.drawn]
    sides = [f' style="text-align: {"left" if c.left else "right"}"' for c in columns]
    shown = Sheet(sheet.frame.head(MOST_ROWS), columns)
    head = "".join(
        f"<th{s}>{escape(plain(c.title))}</th>" for c, s in zip(columns, sides, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{s}>{escape(t)}</td>" for t, s in zip(row, sides, strict=True))
        + "</tr>"
        for row in shown.rows(columns)
    )  # fmt: skip
    more = sheet.frame.height - MOST_ROWS
    notes = [*([f"... and {more} more rows"] if more > 0 else []), *sheet.notes]
    title = f"<div><strong>{escape(plain(sheet.title))}</strong></div>" if sheet.title else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return title + table + "".join(map(_line, notes))
