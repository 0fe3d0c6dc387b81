"""Answers of the command line: a result in the format that was asked for, to stdout or a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from . import terminal
from .terminal import say

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers.answers.page import Column, Page
    from ..analyzers.answers.result import Result

FORMATS = ("table", "json", "csv", "markdown", "latex", "parquet")
PICTURES = ("svg", "png", "pdf")
FRAMES = ("csv", "parquet")
"""Formats of the bare frame; what belongs beside its figures stands beside it."""


_OF_TABLES = ("wide", "depth", "sort", "top", "rows")
"""Options that arrange what is read by people."""


class Reply(NamedTuple):
    """How to answer, and where to.

    Attributes:
        kind: of `FORMATS` or `PICTURES`.
        output: the file; None: stdout.
        width: of a picture, in inches; None: a column of a paper.
    """

    kind: str
    output: Path | None
    width: float | None = None

    def give(
        self,
        found: Result,
        *,
        shown: dict[str, Any] | None = None,
        frame: Callable[[], pl.DataFrame] | None = None,
        data: Callable[[], dict[str, Any]] | None = None,
        drawn: dict[str, Any] | None = None,
    ) -> None:
        """Answer with a result.

        Args:
            found: the result.
            shown: options of its page.
            drawn: options of its picture.
            frame: makes the frame for CSV and Parquet; by default `found.frame`.
            data: makes the data for JSON; by default `found.to_dict()`.
        """
        if self.kind in ("json", *FRAMES):
            self._tell_unused()
        if self.kind == "json":
            text(as_json((data or found.to_dict)()), self.output)
            return self._warn(found.page(**shown or {})) if self.output else None
        page = found.page(**shown or {})
        if self.kind in PICTURES:
            from ..analyzers.plotting.canvas import written as as_picture

            binary(as_picture(found.plot(**drawn or {}, width=self.width), self.kind), self.output)
            return self._warn(page)
        if self.kind in FRAMES:
            rows: pl.DataFrame = frame() if frame else found.frame  # type: ignore[attr-defined]
            return self.rows(_marked(rows, found), page.below)
        return self.page(page)

    def page(self, page: Page) -> None:
        """Answer with a page: as a table, in Markdown or in LaTeX."""
        text(written(page, self.kind), self.output)
        if self.output is not None:
            self._warn(page)

    def rows(self, frame: pl.DataFrame, notes: Sequence[str] = ()) -> None:
        """Answer with a frame; notes go to stderr, into a Parquet file, or beside a CSV file."""
        from ..analyzers.answers.data import as_csv, as_parquet

        if self.kind == "parquet":
            binary(as_parquet(frame, notes), self.output)
        else:
            text(as_csv(frame), self.output)
        if self.kind == "csv" and self.output is not None and notes and self.output.is_file():
            from ..analyzers.answers.table import wrapped

            text(wrapped(notes, None), self.output.with_name(f"{self.output.name}.notes.txt"))
        for note in notes:
            say(note)

    def listing(
        self, frame: pl.DataFrame, columns: Sequence[Column], notes: Sequence[str] = ()
    ) -> None:
        """Answer with a frame that is no result: its rows, in tables only these columns."""
        from ..analyzers.answers.page import Page, Sheet

        if self.kind == "json":
            text(as_json(frame), self.output)
        elif self.kind in FRAMES:
            self.rows(frame, notes)
        else:
            self.page(Page((Sheet(frame, columns),), notes=notes))

    def _tell_unused(self) -> None:
        """Say which options of tables were told, as data do not follow them."""
        context = click.get_current_context(silent=True)
        if context is None:
            return
        told = [
            param.opts[0]
            for param in context.command.params
            if param.name in _OF_TABLES
            and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
        ]
        if told:
            say(f"{', '.join(told)}: of tables alone, {self.kind} holds every row as it is")

    @staticmethod
    def _warn(page: Page) -> None:
        for warning in page.warnings:
            say(f"warning: {warning}")


def _marked(rows: pl.DataFrame, found: Result) -> pl.DataFrame:
    """Add what is assumed to every row, if anything is: rows are passed on without notes."""
    assumed: Sequence[str] = getattr(found, "assumed", ())
    if not assumed:
        return rows
    import polars as pl

    return rows.with_columns(assumed=pl.lit("; ".join(assumed)))


def written(page: Page, kind: str) -> str:
    """Return a page as people read it: as a table for the terminal there is, or as `kind`."""
    from ..analyzers.answers import latex, markdown, table

    if kind == "table":
        return table.written(page, terminal.width(), colours=terminal.coloured())
    return latex.written(page) if kind == "latex" else markdown.written(page)


def as_json(value: Any) -> str:
    """Return plain data as JSON."""
    from ..analyzers.answers.data import as_json as made

    return made(value)


def text(content: str, output: Path | None = None) -> None:
    """Write text to stdout, or to the file that the user named."""
    if output is None:
        return click.echo(content, nl=False)
    return binary(content.encode(), output)


def binary(content: bytes, output: Path | None = None) -> None:
    """Write bytes to the file that the user named, or to a pipe.

    Raises:
        click.UsageError: they would go to a terminal.
    """
    if output is not None:
        write(output, content)
        return say(f"wrote {output}")
    if terminal.is_terminal(sys.stdout):
        raise click.UsageError("this format does not go to a terminal: use -o FILE or a pipe")
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
