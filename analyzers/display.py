"""Results as text and HTML: what `repr` and a notebook show, at most twenty lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import polars as pl

from .units import UNKNOWN, bytes_text, count_text, energy_text, ratio_text, share_text, time_text

MOST_LINES = 20
"""Lines of a `repr`."""

_FOR_UNITS: dict[str, Callable[[Any], str]] = {
    "energy_pj": energy_text,
    "per_sample_pj": energy_text,
    "per_step_pj": energy_text,
    "std_pj": energy_text,
    "total_pj": energy_text,
    "bytes": bytes_text,
    "bytes_std": bytes_text,
    "share": share_text,
    "macs_share": share_text,
    "intensity": ratio_text,
    "time_s": time_text,
    "memory_bound_s": time_text,
    "percent_per_percent": ratio_text,
}


@dataclass(frozen=True)
class View:
    """What is shown of a result.

    Attributes:
        title: one line over the table.
        frame: the table; columns that are null or false in every row are left out.
        notes: lines under it.
    """

    title: str
    frame: pl.DataFrame
    notes: Sequence[str] = ()


def as_lines(view: View) -> str:
    """Return a result as text of at most `MOST_LINES` lines."""
    notes = [_cut(note) for note in view.notes][: MOST_LINES // 4]
    room = MOST_LINES - 2 - len(notes)
    names, rows, more = _cells(view.frame, room)
    left = [not view.frame[name].dtype.is_numeric() for name in names]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)] if names else []
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in ([names, *rows] if names else [])
    ]
    if more:
        lines.append(f"... and {more} more rows")
    return "\n".join([_cut(view.title), *lines, *notes])


def as_html(view: View) -> str:
    """Return a result as HTML for a notebook; every text in it is escaped."""
    names, rows, more = _cells(view.frame, MOST_LINES)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    rest = [f"... and {more} more rows"] if more else []
    notes = "".join(f"<div>{escape(note)}</div>" for note in [*rest, *view.notes])
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if names else ""
    return f"<div><strong>{escape(view.title)}</strong>{table}{notes}</div>"


def _cells(frame: pl.DataFrame, room: int) -> tuple[list[str], list[list[str]], int]:
    """Return the names of the columns, the first rows as text, and how many more there are."""
    said = [name for name in frame.columns if frame[name].null_count() < frame.height]
    shown = frame.select(said)
    cut = shown.height > room
    kept = shown.head(room - 1 if cut else room)
    rows = [
        [_text(name, value) for name, value in zip(said, row, strict=True)]
        for row in kept.iter_rows()
    ]
    return said, rows, shown.height - kept.height


def _text(name: str, value: Any) -> str:
    if value is None:
        return UNKNOWN if name in _FOR_UNITS or name.endswith("s") else ""
    for unit, show in _FOR_UNITS.items():
        if name == unit or name.endswith(f"_{unit}"):
            return show(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return count_text(value)
    return _cut(str(value), 48)


def _cut(text: str, most: int = 160) -> str:
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."
