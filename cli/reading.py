"""What the verbs that read a trace have in common: their arguments and the opening."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..analyzers import Trace

WHERE_HELP = (
    "Only calls that fit: stage=forward, step=3:10, module=GLOB, label=NAME, op=GLOB, "
    "training=true|false, rank=0. Several narrow further."
)


def reads_trace(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command TRACE, --partial and --rank."""
    for decorate in (
        click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]"),
        click.option("--partial", is_flag=True, help="Read what an aborted recording left."),
        click.argument("trace", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def narrows(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --where."""
    return click.option("--where", multiple=True, metavar="FIELD=VALUE", help=WHERE_HELP)(command)


def answers(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command --format with these choices, the first by default, and -o."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write the answer to a file.",
        )
        kind = click.option(
            "--format",
            "kind",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="How to answer.",
        )
        return kind(output(command))

    return decorate


def opened(path: Path, *, partial: bool, rank: int | None, where: tuple[str, ...] = ()) -> Trace:
    """Open a trace and narrow it.

    Raises:
        TraceError: there is no readable trace.
        ConfigError: a --where means nothing.
    """
    from ..analyzers import open_trace

    trace = open_trace(path, partial=partial, rank=rank)
    return trace.where(*where) if where else trace


@contextmanager
def working(what: str) -> Iterator[None]:
    """Turn a wheel on stderr while something runs; silent where that is no terminal."""
    import sys

    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
