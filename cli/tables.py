"""Frames into text: a table for people, JSON, CSV and Markdown, or Parquet, for machines."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal, tree
from .terminal import clean, fitted, say

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

FORMATS = ("table", "json", "csv", "markdown", "parquet")


@dataclass(frozen=True)
class Column:
    """How one column of a frame is shown to people.

    Attributes:
        name: the frame's column.
        title: its heading.
        show: makes the text of a cell.
        left: text, not a figure.
        style: how a terminal shows it.
        wrap: fold long text over lines where a terminal is narrow; else it is cut.
        optional: left out where a terminal is too narrow, the highest number first; 0: never.
    """

    name: str
    title: str
    show: Callable[[Any], str] = str
    left: bool = False
    style: str | None = None
    wrap: bool = False
    optional: int = 0


def as_table(frame: pl.DataFrame, columns: Sequence[Column]) -> str:
    """Return the frame as a table; coloured and made to fit if it goes to a terminal."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = [
        [_cell(column, value) for column, value in zip(columns, row, strict=True)]
        for row in frame.select([column.name for column in columns]).iter_rows()
    ]
    titles = [column.title for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(titles, *rows, strict=True)]
    room = terminal.width()
    kept, caps = (
        (range(len(columns)), {})
        if room is None
        else fitted(
            columns,
            widths,
            room,
            [terminal.least(cells) for cells in zip(titles, *rows, strict=True)],
        )
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place in kept:
        column = columns[place]
        table.add_column(
            Text(column.title),
            justify="left" if column.left else "right",
            style=column.style,
            no_wrap=not column.wrap,
            overflow="fold" if column.wrap else "ellipsis",
            min_width=None if column.left else widths[place],
            max_width=caps.get(place),
        )
    for row in rows:
        table.add_row(*(Text(row[place]) for place in kept))
    hidden = [c.title for place, c in enumerate(columns) if place not in kept and c.title]
    note = f"(too narrow for {', '.join(hidden)})\n" if hidden else ""
    return _printed(table, room) + note


def as_markdown(frame: pl.DataFrame, columns: Sequence[Column]) -> str:
    """Return the frame as a Markdown table, with the units that people read."""
    rows = [[column.title for column in columns]]
    rows.append([":--" if column.left else "--:" for column in columns])
    for row in frame.select([column.name for column in columns]).iter_rows():
        cells = (_cell(column, value) for column, value in zip(columns, row, strict=True))
        rows.append([_led(cell.rstrip()) for cell in cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _led(cell: str) -> str:
    """Return a cell for Markdown; blanks that lead to a name in a tree would get lost."""
    size = tree.lead(cell)
    return cell[:size].replace(" ", "&nbsp;") + markdown_text(cell[size:])


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is: no tables, emphasis, links or HTML in it."""
    from ..analyzers.markup import markdown_text as escaped

    return escaped(text)


def lines(texts: Sequence[str], kind: str) -> str:
    """Return lines of text for people: wrapped, or one paragraph each in `markdown`."""
    if kind == "markdown":
        return "\n".join(f"{markdown_text(text)}\n" for text in texts)
    return "".join(terminal.wrapped(clean(text)) for text in texts)


def as_text(kind: str, frame: pl.DataFrame, columns: Sequence[Column]) -> str:
    """Return the frame as people read it: a `table`, or `markdown`."""
    return as_markdown(frame, columns) if kind == "markdown" else as_table(frame, columns)


def as_data(kind: str, frame: pl.DataFrame) -> str | bytes:
    """Return the whole frame as machines read it: `json`, `csv` or `parquet`."""
    if kind == "json":
        return as_json(frame)
    return as_csv(frame) if kind == "csv" else as_parquet(frame)


def as_json(value: Any) -> str:
    """Return plain data as JSON; what is not finite becomes null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(frame: pl.DataFrame) -> str:
    """Return the frame as CSV with exact figures; nested columns as JSON."""
    return _flat(frame).write_csv()


def as_parquet(frame: pl.DataFrame) -> bytes:
    """Return the frame as the content of a Parquet file."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def answer(content: str | bytes, output: Path | None = None) -> None:
    """Write a result to stdout, or to the file that the user named.

    Raises:
        click.UsageError: bytes would go to a terminal.
    """
    if output is not None:
        write(output, content.encode() if isinstance(content, str) else content)
        return say(f"wrote {output}")
    if isinstance(content, str):
        return click.echo(content, nl=False)
    if terminal.is_terminal(sys.stdout):
        raise click.UsageError("parquet does not go to a terminal: use -o FILE or a pipe")
    if sys.stdout is not None:
        sys.stdout.buffer.write(content)
    return None


def write(output: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then into it."""
    place = output.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_file():  # a pipe or a device: there is nothing to replace
        place.write_bytes(content)
        return
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        if place.exists():
            beside.chmod(place.stat().st_mode)
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _cell(column: Column, value: Any) -> str:
    return clean("" if value is None and column.left else column.show(value))


def _printed(table: Table, room: int | None) -> str:
    """Return what rich makes of a table; as wide as it likes where there is no terminal."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        force_terminal=room is not None,
        color_system="auto" if room is not None else None,
        width=room or 100_000,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    return frame.with_columns(
        pl.Series(name, [json.dumps(_plain(value)) for value in frame[name]], dtype=pl.String)
        for name in nested
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool) or value is None:
        return value
    if hasattr(value, "to_dicts"):
        return _plain(value.to_dicts())
    if hasattr(value, "to_list"):
        return _plain(value.to_list())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)
