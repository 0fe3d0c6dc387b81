"""The terminal that an answer goes to: whether there is one, its width and its colours."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

import click

from ..analyzers.text import plain


def say(line: str) -> None:
    """Say one line on stderr."""
    click.echo(f"opjoule: {plain(line)}", err=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; it is None where who started us has closed it."""
    return stream is not None and stream.isatty()


def width() -> int | None:
    """Return the columns of the terminal that an answer goes to; None: to a file or pipe."""
    context = click.get_current_context(silent=True)
    asked = context.params if context is not None else {}
    to_file = "kind" in asked and asked.get("output") is not None
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) and not to_file else None


def coloured() -> bool:
    """Return whether the answer may be coloured: see no-color.org."""
    dumb = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
    return width() is not None and not dumb


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a line of text, on a terminal folded between words; further lines are indented."""
    from ..analyzers.answers import table

    return table.wrapped([text], width(), indent)
