"""What the verbs that read a trace have in common: their arguments and the opening."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .terminal import is_terminal

if TYPE_CHECKING:
    from ..analyzers import Trace

ENDINGS = {
    ".txt": "table",
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".markdown": "markdown",
    ".parquet": "parquet",
    ".tex": "latex",
}
"""Ending of a file's name -> the format that it asks for, where --format is silent."""

PER = ("total", "sample", "step")
"""What figures may speak of."""

WHERE_HELP = (
    "Only calls that fit: stage=forward, step=3:10, module=GLOB, label=NAME, op=GLOB, "
    "training=true|false, rank=0. Several narrow further; what no call fits is refused."
)


class EstimatorName(click.Choice):  # type: ignore[type-arg]
    """The name of an estimator, or of a machine: machine.NAME or machine.FILE."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the name; a machine is looked for when its file is read."""
        known = isinstance(value, str) and value.startswith("machine.")
        return value if known else super().convert(value, param, ctx)


def reads_trace(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command TRACE, --partial and --rank."""
    for decorate in (
        click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]"),
        click.option("--partial", is_flag=True, help="Read what an aborted recording left."),
        click.argument("trace", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def groups(*keys: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command --by with these choices; what is named twice counts once."""

    def once(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    return click.option("--by", multiple=True, type=click.Choice(keys), callback=once, **options)


def rolls_up(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --exclusive."""
    return click.option(
        "--exclusive",
        is_flag=True,
        help="By module: each module's own figures, without those of the modules below it.",
    )(command)


class _SampleCount(click.ParamType):  # type: ignore[type-arg]
    """A number of samples, or `per-call`."""

    name = "samples"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        """Return a number of at least 1 or "per-call"; fail with one line on anything else."""
        if value == "per-call":
            return str(value)
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a number of at least 1 nor per-call", param, ctx)
        return number


def samples(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --samples, --batch and --time-steps: what the user says comes first."""
    for decorate in (
        click.option(
            "--time-steps", type=click.IntRange(1), metavar="N",
            help="Time steps of a sample.  [default: as recorded]",
        ),
        click.option(
            "--batch", type=click.IntRange(1), metavar="N",
            help="Samples in a batch.  [default: as recorded]",
        ),
        click.option(
            "--samples", type=_SampleCount(), metavar="N|per-call",
            help="Samples in all; per-call: each call of the model is one.  [default: as recorded]",
        ),
    ):  # fmt: skip
        command = decorate(command)
    return command


def divides(*, spread: bool = True, default: str = "total") -> Callable[..., Any]:
    """Give a command --per, and --spread unless it has none."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        if spread:
            command = click.option(
                "--spread", is_flag=True,
                help="Add the standard deviation over samples, or with --per step over steps.",
            )(command)  # fmt: skip
        return click.option(
            "--per",
            type=click.Choice(PER),
            default=None,
            show_default=default,
            help="What figures speak of: the whole recording, one sample or one step.",
        )(command)

    return decorate


def narrows(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --where."""
    return click.option("--where", multiple=True, metavar="FIELD=VALUE", help=WHERE_HELP)(command)


def answers(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command --format with these choices, and -o.

    By default the format is the one that the file's name ends in, the first if it has no ending;
    an ending that stands for no format is refused.
    """

    def chosen(ctx: click.Context, param: click.Parameter, value: str) -> str:
        output: Path | None = ctx.params.get("output")
        if output is None or ctx.get_parameter_source("kind") is not ParameterSource.DEFAULT:
            return value
        ending = output.suffix.lower()
        known = {each: name for each, name in ENDINGS.items() if name in formats}
        if ending and ending not in known:
            raise click.BadParameter(
                f"{output} ends in {output.suffix}: write {', '.join(known)}, or tell the --format"
            )
        return known.get(ending, value)

    def placed(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        from ..schemas import MANIFEST_NAME, UNFINISHED_NAME

        for folder in () if value is None else value.resolve().parents:
            if any((folder / name).exists() for name in (MANIFEST_NAME, UNFINISHED_NAME)):
                where = f"-o {str(value)!r} is inside the trace {str(folder)!r}"
                raise click.UsageError(where, ctx)
        return value

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            is_eager=True,  # known before the format is chosen
            callback=placed,
            help="Write the answer to a file.",
        )
        kind = click.option(
            "--format",
            "kind",
            type=click.Choice(formats),
            default=formats[0],
            show_default=f"as FILE ends, else {formats[0]}",
            callback=chosen,
            help="How to answer.",
        )
        return kind(output(command))

    return decorate


def opened(path: Path, *, partial: bool, rank: int | None, where: tuple[str, ...] = ()) -> Trace:
    """Open a trace and narrow it.

    Raises:
        TraceError: there is no readable trace.
        ConfigError: a --where means nothing, or no call fits.
    """
    from ..analyzers import open_trace
    from ..analyzers.trace.suggestions import refuse_nothing

    trace = open_trace(path, partial=partial, rank=rank)
    if not where:
        return trace
    refuse_nothing(trace, where)
    return trace.where(*where)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner on stderr while something runs; silent where that is no terminal."""
    import sys

    if not is_terminal(sys.stderr):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
