"""Opening the trace that a verb reads, and what is shown meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .terminal import is_terminal

if TYPE_CHECKING:
    from ..analyzers import Trace


class EstimatorName(click.Choice):  # type: ignore[type-arg]
    """The name of an estimator, or of a machine: machine.NAME or machine.FILE."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the name; a machine is looked for when its file is read."""
        known = isinstance(value, str) and value.startswith("machine.")
        return value if known else super().convert(value, param, ctx)


class Source(NamedTuple):
    """What a command line says of the trace that it reads.

    Attributes:
        path: its directory.
        partial: whether to read what an aborted recording left.
        rank: one rank only; None: all.
        where: what it is narrowed by.
        assume: what is assumed of data that was not measured.
    """

    path: Path
    partial: bool = False
    rank: int | None = None
    where: tuple[str, ...] = ()
    assume: tuple[str, ...] = ()

    def opened(self) -> Trace:
        """Open the trace and narrow it.

        Raises:
            TraceError: there is no readable trace, or no call in it.
            ConfigError: a --where means nothing, or no call fits.
        """
        from ..analyzers import open_trace
        from ..analyzers.trace.suggestions import refuse_empty
        from ..analyzers.trace.trace import narrowed

        trace = open_trace(self.path, partial=self.partial, rank=self.rank)
        if self.partial:
            refuse_empty(trace)
        return narrowed(trace, self.where, self.assume)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr that something runs, and how far it is; silent where that is no terminal."""
    import sys

    if not is_terminal(sys.stderr):
        yield
        return
    from rich.console import Console

    from ..analyzers.progress import told_to

    with (
        Console(stderr=True).status(what) as status,
        told_to(lambda done, whole: status.update(f"{what}: {done} of {whole} done")),
    ):
        yield
