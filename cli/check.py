"""`opjoule check`: one trace against limits, for a build that fails when they are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import configuring, options, reading
from .reading import Source
from .tables import Reply
from .terminal import say

if TYPE_CHECKING:
    from ..analyzers import Check


@click.command(short_help="Fail when a trace breaks a budget; name the modules.")
@options.reads_trace
@click.option(
    "--max",
    "limits",
    multiple=True,
    required=True,
    metavar="FIGURE=LIMIT",
    help="The most that is allowed: flops=1G, energy.lemaire=5uJ/sample, synops=2M@encoder.*.",
)
@options.configurations
@options.counting_rules
@options.spikes
@options.samples
@options.strict("what the estimators do not cover")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Compare what is known of a figure; by default one that is unknown fails.",
)
@options.answers
@click.pass_context
def check(
    ctx: click.Context, /, source: Source, *, reply: Reply, limits: tuple[str, ...], **asked: Any
) -> None:
    """Check TRACE against limits; no other trace is needed.

    \b
      opjoule check runs/train --max flops=1G --max "energy.lemaire=5 uJ/sample"
      opjoule check runs/train --max "synops=2M@encoder.*" --where label=inference

    FIGURE is calls, flops, bytes, synops, macs, acs, energy.ESTIMATOR, or twin_ratio: energy of a
    spiking network by its quantized twin's, see breakeven; twin_ratio.MACHINE names the machine.
    Numbers take k, M, G, T and P, bytes KiB, MiB, GiB and TiB, energies pJ, nJ, uJ, mJ and J.
    /sample divides by the samples; @GLOB is of each module that fits, with what is below it. The
    exit code is 1 if a limit does not hold, or its figure is not known, 2 if the question or the
    trace is wrong.
    """  # noqa: D301
    found = _checked(source, limits, asked)
    reply.give(found, shown={"failed": reply.kind != "table"})  # stderr says it
    for verdict in found.failures:
        say(f"failed: {verdict.line()}")
    if not found:
        ctx.exit(1)


def _checked(source: Source, limits: tuple[str, ...], asked: dict[str, Any]) -> Check:
    from ..analyzers import check as checked
    from ..analyzers.checking.figures import ENERGY
    from ..analyzers.checking.limits import limits_of

    named = [each.figure for each in limits_of(limits) if each.figure.startswith(ENERGY)]
    estimators = list(dict.fromkeys(name.removeprefix(ENERGY) for name in named))
    revision, energies = configuring.several(estimators, asked, f'--max "{ENERGY}{{}}=..."')
    given = ("rules", "spikes", "samples", "batch", "time_steps", "strict", "allow_unknown")
    opened = source.opened()
    with reading.working("checking"):
        return checked(
            opened, limits, energies=energies, revision=revision,
            **{name: asked[name] for name in given},
        )  # fmt: skip
