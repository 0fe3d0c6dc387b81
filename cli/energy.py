"""`opjoule energy`: what a recorded run would cost on hardware, one estimator a verb."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import choosing, configuring, options, reading, tables
from .choosing import ESTIMATORS, REVISIONS
from .reading import Source
from .tables import Reply

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers.energy.report import EnergyReport

KEYS = ("module", "class", "stage", "op", "label", "step", "sample", "component")
EVERY = "TRACE"
"""Stands for no name of an estimator: the trace comes first."""
ON_MACHINE = "machine"
"""Stands for no name of an estimator where --machine is told."""


class Estimators(click.Group):
    """The estimators by name; a trace in the place of a name: all of them, or --machine's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the verb; a word that is none is a trace, unless it is a misspelt name."""
        if args and args[0] not in self.commands and any(map(_names_machine, args)):
            return super().parse_args(ctx, [ON_MACHINE, *args])
        first = next((word for word in args if not word.startswith("-")), None)
        asks_help = bool(args) and args[0] in ctx.help_option_names
        if first is not None and not asks_help and args[0] not in self.commands:
            if first == args[0] and not Path(first).exists():
                from ..schemas.spelling import meant

                if near := meant(first, ESTIMATORS):
                    ctx.fail(f"no estimator and no trace {first!r}: {near.strip(': ')}")
            if name := _named_second(args, first):
                ctx.fail(f"the estimator comes before the trace: opjoule energy {name} {first}")
            args = [EVERY, *args]
        return super().parse_args(ctx, args)


def _named_second(args: Sequence[str], first: str) -> str | None:
    """Return the estimator that is told right behind the trace, if there is one."""
    told = args[:1] == [first] and len(args) > 1 and args[1] in ESTIMATORS
    return args[1] if told else None


def _names_machine(word: str) -> bool:
    return word.partition("=")[0] == "--machine"


@click.group(
    cls=Estimators,
    short_help="What a recorded run would cost, in joules.",
    help=f"""Estimate the energy of a recorded run.

\b
{choosing.as_help()}

--machine NAME|FILE in place of a name: a machine as a file, see opjoule machine. Without a name:
opjoule energy TRACE estimates with all that apply. Figures of different estimators speak of
different machines: never compare or add them.""",
)
def energy() -> None:
    """Hold the estimators; the help text stands in the decorator."""


def _grouped(command: options.Command) -> options.Command:
    """Give a command the options that every estimate has in common."""
    return options.given(
        command,
        options.reads_trace,
        options.groups(*KEYS, help="Rows by these. Of one rank: --rank N; a row does not tell it."),
        options.rolls_up,
        options.arranges,
        options.divides(),
        options.samples,
        options.strict("what the model does not cover"),
    )


def _verb(name: str) -> click.Command:
    """Return the command of one estimator."""
    choice = ESTIMATORS[name]

    @click.command(name, short_help=choice.help, help=choice.help)
    @_grouped
    @options.configuration(choice.example, f"See opjoule config show {name} --presets.")
    @options.spikes
    @click.option("--statement", is_flag=True, help="Print the paragraph for a paper instead.")
    @options.draws
    def estimate(**asked: Any) -> None:
        _estimate(name, **asked)

    return estimate


@click.command(EVERY, short_help="Every estimator that applies to TRACE, one block each.")
@_grouped
@options.draws
def every(
    source: Source, reply: Reply, by: tuple[str, ...], rows: dict[str, Any], **asked: Any
) -> None:
    """Estimate with every estimator that applies to TRACE; the others say why they do not.

    Their figures speak of different machines: never compare or add them. An estimator's own
    options: opjoule energy ESTIMATOR --help.
    """
    from ..analyzers.energy import energy as estimated

    exclusive, spread, per = asked.pop("exclusive"), asked.pop("spread"), asked.pop("per")
    shown = {"exclusive": exclusive, "per": per, "spread": spread}
    opened = source.opened()
    with reading.working("estimating"):
        found = estimated(opened, per=per or "total", **asked)
    reply.give(
        found,
        shown={"by": by or ("module",), **shown, **rows},
        frame=lambda: found.by(*by, **shown) if by else found.frame,
        data=lambda: found.to_dict() | ({"rows": found.by(*by, **shown)} if by else {}),
        drawn={"by": by or "module", "per": per, "spread": spread},
    )


def _estimate(
    name: str,
    source: Source,
    reply: Reply,
    *,
    preset: str | None,
    file: Path | None,
    overrides: tuple[str, ...],
    by: tuple[str, ...],
    exclusive: bool,
    statement: bool,
    per: str | None,
    spread: bool,
    rows: dict[str, Any],
    **asked: Any,
) -> None:
    if statement and by:
        raise click.UsageError("--statement is of the whole estimate: leave --by out")
    if statement and reply.kind in (*tables.FRAMES, *tables.PICTURES):
        raise click.UsageError(f"--statement is text, not {reply.kind}: table, json or markdown")
    config = configuring.one(name, asked["revision"], preset=preset, file=file, overrides=overrides)
    from ..analyzers.energy import estimate

    opened = source.opened()
    per = per or ("sample" if spread else "total")
    with reading.working(f"estimating ({name})"):
        report = estimate(opened, name, config, per=per, **asked)
    if statement:
        return _stated(report, reply)
    shown: dict[str, Any] = {"exclusive": exclusive, "per": per, "spread": spread}
    plain = not by and per == "total"

    def found() -> pl.DataFrame:
        return report.rows if plain else report.by(*by, **shown)

    return reply.give(
        report,
        shown={"by": by or ("module",), **shown, **rows},
        frame=found,
        data=lambda: report.to_dict() | {"rows": found(), "per": per},
        drawn={"by": by or "module", "per": per, "spread": spread},
    )


@click.command(ON_MACHINE, short_help="On a machine that a file describes: opjoule machine list.")
@click.option(
    "--machine", required=True, metavar="NAME|FILE", help="The machine: see opjoule machine list."
)
@_grouped
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One price or field, e.g. 'term.MAC.price=3 pJ'; overrides the file.",
)
@options.spikes
@click.option("--statement", is_flag=True, help="Print the paragraph for a paper instead.")
@options.draws
def on_machine(machine: str, **asked: Any) -> None:
    """Estimate on a machine that a file describes, term by term: opjoule machine list."""
    _estimate(f"machine.{machine}", preset=None, file=None, revision=REVISIONS[0], **asked)


def _stated(report: EnergyReport, reply: Reply) -> None:
    """Answer with the paragraph for a paper; in JSON with the figures that it speaks of."""
    if reply.kind == "json":
        rows = ("rows", "left_out", "details")
        found = {k: v for k, v in report.to_dict().items() if k not in rows}
        return tables.text(tables.as_json(found), reply.output)
    from ..analyzers.answers.page import Page

    return reply.page(Page(notes=(report.statement(),)))


energy.add_command(every)
energy.add_command(on_machine)
for _name in ESTIMATORS:
    energy.add_command(_verb(_name))
