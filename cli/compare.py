"""`opjoule compare`: two traces side by side, what changed and why, and budgets that hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import configuring, options, reading
from .choosing import ESTIMATORS
from .reading import Source
from .tables import Reply
from .terminal import say

if TYPE_CHECKING:
    from ..analyzers import Comparison

KEYS = ("module", "op", "stage")
_ENERGY = "energy."


@click.command(short_help="Two traces side by side: what changed, and why.")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("head", type=click.Path(path_type=Path))
@click.option(
    "--energy",
    "estimators",
    multiple=True,
    type=reading.EstimatorName(tuple(ESTIMATORS)),
    help="Compare this estimate too; several stand beside each other, never added.",
)
@options.configurations
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 if it holds: flops>+0%, energy.lemaire>+5%, bytes>+1MiB, macs>1e9.",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="FIGURE",
    help="Explain the change of this: flops, synops, energy.compute, ...  [default: what failed, "
    "or the first that changed]",
)
@options.groups(*KEYS, help="Show rows by these too.")
@options.rolls_up
@click.option(
    "--top",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Rows of an explanation.",
)
@options.narrows
@options.counting_rules
@options.spikes
@options.divides(
    spread=False, default="sample if the traces have different numbers of them, else total"
)
@options.samples
@options.strict("what the estimators do not cover")
@options.opens
@options.draws
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    base: Path,
    head: Path,
    *,
    reply: Reply,
    conditions: tuple[str, ...],
    figures: tuple[str, ...],
    by: tuple[str, ...],
    exclusive: bool,
    top: int,
    **asked: Any,
) -> None:
    """Compare HEAD with BASE: counters and estimates, aligned by module path, op and stage.

    \b
      opjoule compare runs/base runs/head
      opjoule compare runs/base runs/head --energy lemaire --where stage=forward
      opjoule compare runs/base runs/head --fail-on "flops>+0%" --format markdown

    Conditions: FIGURE>+5% (grown by more than that), FIGURE>+1e6 (by so much), FIGURE>1e9 (HEAD's
    total); >=, < and <= too. A condition of an energy estimates it; one of twin_ratio puts each
    side beside its quantized twin, see breakeven. The exit code is 1 if a condition holds, 2 if
    the question or a trace is wrong.
    """  # noqa: D301
    comparison = _compared((base, head), conditions, figures, asked)
    told = reply.kind != "table"  # else stderr says what failed
    shown = {"conditions": conditions, "by": by, "exclusive": exclusive, "top": top,
             "failed": told}  # fmt: skip
    reply.give(
        comparison,
        shown={"figures": figures, **shown},
        frame=lambda: comparison.by(*by, exclusive=exclusive) if by else comparison.rows,
        data=lambda: comparison.to_dict(conditions),
        drawn={"figures": figures, "conditions": conditions, "by": by, "most": top},
    )
    failed = comparison.failed_lines(conditions)
    for line in failed:
        say(line)
    if failed:
        ctx.exit(1)


def _compared(
    paths: Sequence[Path],
    conditions: Sequence[str],
    figures: Sequence[str],
    asked: Mapping[str, Any],
) -> Comparison:
    from ..analyzers import compare as compared
    from ..analyzers.checking.figures import TWIN_RATIO, machine_of
    from ..analyzers.comparing.budgets import budget

    named = [*(budget(condition).figure for condition in conditions), *figures]
    names = [name.removeprefix(_ENERGY) for name in named if name.startswith(_ENERGY)]
    twins = [name for name in named if machine_of(name, TWIN_RATIO) is not None]
    estimators = list(dict.fromkeys((*asked["estimators"], *names)))
    revision, energies = configuring.several(estimators, asked, "--energy {}")
    traces = [
        Source(path, asked["partial"], asked["rank"], assume=asked["assume"]).opened()
        for path in paths
    ]
    others = ("where", "rules", "spikes", "per", "samples", "batch", "time_steps", "strict")
    with reading.working("comparing"):
        return compared(
            *traces, energies=energies, revision=revision, twins=twins,
            **{name: asked[name] for name in others},
        )  # fmt: skip
