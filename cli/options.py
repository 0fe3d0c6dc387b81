"""The options that several verbs have in common; each means the same everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .choosing import REVISIONS
from .reading import Source
from .tables import FORMATS, PICTURES, Reply

Command = Callable[..., Any]

RULES = ("full", "torch", "spikingjelly-2.0", "spikingjelly-2026-08")
SPIKES = ("binary", "ternary", "scaled", "graded", "none")
KEYS = ("total", "module", "class", "op", "stage", "label", "step", "sample", "rank")
"""What counts can be told apart by."""

ENDINGS = {
    ".txt": "table",
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".markdown": "markdown",
    ".tex": "latex",
    ".parquet": "parquet",
    ".svg": "svg",
    ".png": "png",
    ".pdf": "pdf",
}
"""Ending of a file's name -> the format that it asks for, where --format is silent."""

PER = ("total", "sample", "step")
"""What figures may speak of."""

WHERE_HELP = (
    "Only calls that fit: stage=forward, step=3:10, module=GLOB, label=NAME, op=GLOB, "
    "training=true|false (what an optimizer does is training), rank=0. A comma is an or "
    "(label=train,test), \\, a comma of a name. Several narrow further; what no call fits is "
    "refused."
)


ASSUME_HELP = (
    "Of data that was not measured: dense, spikes=0.1 (what leaves neurons), or spikes=0.1@GLOB "
    "(what enters the products of modules). Figures that rest on it are marked."
)


def given(command: Command, *decorators: Callable[[Command], Command]) -> Command:
    """Give a command several options, which its help lists in this order."""
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def opens(command: Command) -> Command:
    """Give a command --assume, --partial and --rank."""
    return given(
        command,
        click.option("--assume", multiple=True, metavar="WHAT", help=ASSUME_HELP),
        click.option("--partial", is_flag=True, help="Read what an aborted recording left."),
        click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]"),
    )


def narrows(command: Command) -> Command:
    """Give a command --where."""
    return click.option("--where", multiple=True, metavar="FIELD=VALUE", help=WHERE_HELP)(command)


def reads_trace(command: Command) -> Command:
    """Give a command TRACE and what narrows or fills it, which reach it as one `source`."""

    @functools.wraps(command)
    def reading(
        trace: Path,
        where: tuple[str, ...] = (),
        assume: tuple[str, ...] = (),
        partial: bool = False,
        rank: int | None = None,
        **options: Any,
    ) -> Any:
        return command(source=Source(trace, partial, rank, where, assume), **options)

    argument = click.argument("trace", type=click.Path(path_type=Path))
    return given(reading, argument, narrows, opens)


def groups(*keys: str, **options: Any) -> Callable[[Command], Command]:
    """Give a command --by with these choices; what is named twice counts once."""

    def once(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    return click.option("--by", multiple=True, type=click.Choice(keys), callback=once, **options)


def arranges(command: Command) -> Command:
    """Give a command --wide, --depth, --sort and --top, which reach it as one `rows`."""

    @functools.wraps(command)
    def arranging(
        wide: bool = False,
        depth: int | None = None,
        sort: str | None = None,
        top: int | None = None,
        **options: Any,
    ) -> Any:
        rows = {"wide": wide, "depth": depth, "sort": sort, "top": top}
        return command(rows=rows, **options)

    return given(
        arranging,
        click.option("--wide", is_flag=True, help="Beside modules: parameters and output shapes."),
        click.option(
            "--depth", type=click.IntRange(1), metavar="N",
            help="So many levels of modules; these include what is below them.",
        ),
        click.option("--sort", metavar="COLUMN", help="Rows by a column, such as flops or energy."),
        click.option(
            "--top", type=click.IntRange(1), metavar="N",
            help="So many rows, and a line on the others. CSV, Parquet and JSON have all.",
        ),
    )  # fmt: skip


def rolls_up(command: Command) -> Command:
    """Give a command --exclusive."""
    return click.option(
        "--exclusive",
        is_flag=True,
        help="By module: each module's own figures, without those of the modules below it.",
    )(command)


def counting_rules(command: Command) -> Command:
    """Give a command --rules."""
    return click.option(
        "--rules",
        type=click.Choice(RULES),
        default=RULES[0],
        show_default=True,
        help="Counting rules to use.",
    )(command)


def spikes(command: Command) -> Command:
    """Give a command --spikes; an estimator refuses what its model does not know."""
    return click.option(
        "--spikes",
        type=click.Choice(SPIKES),
        default=SPIKES[0],
        show_default=True,
        help="What a spike tensor may hold: {0,1}, {-1,0,1}, {0,a}, whole numbers, or none at all.",
    )(command)


def strict(what: str) -> Callable[[Command], Command]:
    """Give a command --strict, which refuses `what`."""
    return click.option("--strict", is_flag=True, help=f"Refuse {what}.")


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


def samples(command: Command) -> Command:
    """Give a command --samples, --batch and --time-steps: what the user says comes first."""
    return given(
        command,
        click.option(
            "--samples", type=_SampleCount(), metavar="N|per-call",
            help="Samples in all; per-call: each call of the model is one.  [default: as recorded]",
        ),
        click.option(
            "--batch", type=click.IntRange(1), metavar="N",
            help="Samples in a batch.  [default: as recorded]",
        ),
        click.option(
            "--time-steps", type=click.IntRange(1), metavar="N",
            help="Time steps of a sample.  [default: as recorded]",
        ),
    )  # fmt: skip


def divides(*, spread: bool = True, default: str = "total") -> Callable[[Command], Command]:
    """Give a command --per, and --spread unless it has none."""

    def decorate(command: Command) -> Command:
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


def configuration(example: str, presets: str) -> Callable[[Command], Command]:
    """Give a command --preset, --config and --set of one estimator, and --revision.

    Args:
        example: what --set may say.
        presets: where the presets are listed.
    """

    def decorate(command: Command) -> Command:
        return given(
            command,
            click.option("--preset", metavar="NAME", help=presets),
            click.option(
                "--config", "file", type=click.Path(path_type=Path), metavar="FILE",
                help="TOML file of constants; it overrides the preset.",
            ),
            click.option(
                "--set", "overrides", multiple=True, metavar="KEY=VALUE",
                help=f"One constant, e.g. {example}; overrides preset and file.",
            ),
            click.option(
                "--revision", type=click.Choice(REVISIONS), default=REVISIONS[0],
                show_default=True,
                help="Variant of the model: as published (source), or as SpikingJelly computes it.",
            ),
        )  # fmt: skip

    return decorate


def configurations(command: Command) -> Command:
    """Give a command --preset, --config, --set and --revision of several estimators."""
    return given(
        command,
        click.option(
            "--preset", "presets", multiple=True, metavar="[ESTIMATOR=]NAME", help="Constants."
        ),
        click.option(
            "--config", "files", multiple=True, metavar="[ESTIMATOR=]FILE",
            help="TOML file of constants; it overrides the preset.",
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="[ESTIMATOR.]KEY=VALUE",
            help="One constant; overrides preset and file. Every trace gets the same constants.",
        ),
        click.option(
            "--revision", "revisions", multiple=True, metavar="[ESTIMATOR=]NAME",
            help=f"Whose form of the model: {', '.join(REVISIONS)}.  [default: source]",
        ),
    )  # fmt: skip


def answers(command: Command) -> Command:
    """Give a command --format and -o, which reach it as one `reply`.

    By default the format is the one that the file's name ends in, a table if it has no ending; an
    ending that stands for no format of this command is refused.
    """
    return _replies(command, FORMATS, "Write the answer to a file.")


def draws(command: Command) -> Command:
    """Give a command --format and -o as `answers` does, pictures among the formats, and --width."""
    width = click.option(
        "--width", type=click.FloatRange(2, 40), metavar="INCHES",
        help="Width of a picture.  [default: 3.5, a column of a paper]",
    )  # fmt: skip
    written = "Write the answer to a file; .svg, .png and .pdf are pictures."
    return _replies(width(command), (*FORMATS, *PICTURES), written)


def _replies(command: Command, formats: Sequence[str], help_text: str) -> Command:
    @functools.wraps(command)
    def replying(
        kind: str = FORMATS[0],
        output: Path | None = None,
        width: float | None = None,
        **options: Any,
    ) -> Any:
        return command(reply=Reply(kind, output, width), **options)

    return given(
        replying,
        click.option(
            "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
            is_eager=True,  # known before the format is chosen
            callback=placed, help=help_text,
        ),
        click.option(
            "--format", "kind", type=click.Choice(formats), default=FORMATS[0],
            show_default=f"as FILE ends, else {FORMATS[0]}", callback=_chosen,
            help="How to answer.",
        ),
    )  # fmt: skip


def _chosen(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the format: the one that is told, or that the file's name ends in."""
    output: Path | None = ctx.params.get("output")
    if output is not None and ctx.get_parameter_source("kind") is ParameterSource.DEFAULT:
        formats = param.type.choices if isinstance(param.type, click.Choice) else ()
        known = {ending: kind for ending, kind in ENDINGS.items() if kind in formats}
        ending = output.suffix.lower()
        if ending and ending not in known:
            no_picture = " (of this answer there is no picture)" if ending in ENDINGS else ""
            raise click.BadParameter(
                f"{output} ends in {output.suffix}{no_picture}: write {', '.join(known)}, "
                "or tell the --format",
                param_hint="'-o'",
            )
        value = known.get(ending, value)
    if value in PICTURES:
        from ..analyzers.plotting.canvas import need_matplotlib

        need_matplotlib()  # before any work is done
    return value


def placed(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Return the place of an answer; refuse one inside a trace."""
    from ..schemas import MANIFEST_NAME, UNFINISHED_NAME

    for folder in () if value is None else value.resolve().parents:
        if any((folder / name).exists() for name in (MANIFEST_NAME, UNFINISHED_NAME)):
            where = f"-o {str(value)!r} is inside the trace {str(folder)!r}"
            raise click.UsageError(where, ctx)
    return value
