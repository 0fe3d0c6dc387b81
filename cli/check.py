"""`opjoule check`: one trace against limits, for a build that fails when they are broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import figure_text
from . import compare, count, reading, tables, terminal
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    from ..analyzers import Check

_COLUMNS = (
    Column("limit", "limit", left=True, style="bold"),
    Column("value", "value"),
    Column("module", "of", left=True, optional=1),
    Column("verdict", "verdict", left=True),
)


@click.command(short_help="Fail when a trace breaks a budget; name the modules.")
@reading.reads_trace
@click.option(
    "--max",
    "limits",
    multiple=True,
    required=True,
    metavar="FIGURE=LIMIT",
    help="The most that is allowed: flops=1G, energy.lemaire=5uJ/sample, synops=2M@encoder.*.",
)
@compare.takes_configurations
@reading.narrows
@click.option("--rules", type=click.Choice(count.RULES), default="full", show_default=True,
              help="Counting rules to use.")  # fmt: skip
@click.option("--spikes", type=click.Choice(count.SPIKES), default="binary", show_default=True,
              help="What a spike tensor may hold.")  # fmt: skip
@reading.samples
@click.option("--strict", is_flag=True, help="Refuse what the estimators do not cover.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Compare what is known of a figure; by default one that is unknown fails.",
)
@reading.answers(*tables.FORMATS)
@click.pass_context
def check(
    ctx: click.Context,
    /,
    trace: Path,
    *,
    limits: tuple[str, ...],
    kind: str,
    output: Path | None,
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **options: Any,
) -> None:
    """Check TRACE against limits; no other trace is needed.

    \b
      opjoule check runs/train --max flops=1G --max "energy.lemaire=5 uJ/sample"
      opjoule check runs/train --max "synops=2M@encoder.*" --where label=inference

    FIGURE is calls, flops, bytes, synops, macs, acs or energy.ESTIMATOR. Numbers take k, M, G, T
    and P, bytes KiB, MiB, GiB and TiB, energies pJ, nJ, uJ, mJ and J. /sample divides by the
    samples; @GLOB is of each module that fits, with what is below it. The exit code is 1 if a
    limit does not hold, or its figure is not known, 2 if the question or the trace is wrong.
    """  # noqa: D301
    found = _checked(trace, limits, where, partial, rank, options)
    content: str | bytes
    if kind == "json":
        content = tables.as_json(found.to_dict())
    elif kind in ("csv", "parquet"):
        content = tables.as_data(kind, found.frame)
        click.echo(f"opjoule: {found.coverage.line()}", err=True)
    else:
        content = _drawn(found, kind)
    for warning in found.warnings if kind != "json" else ():
        click.echo(f"opjoule: {clean(warning)}", err=True)
    tables.answer(content, output)
    for verdict in found.failures:
        click.echo(f"opjoule: failed: {clean(verdict.line())}", err=True)
    if not found:
        ctx.exit(1)


def _checked(
    trace: Path,
    limits: tuple[str, ...],
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
    options: dict[str, Any],
) -> Check:
    from ..analyzers import check as checked
    from ..analyzers.checking.figures import ENERGY
    from ..analyzers.checking.limits import limits_of

    named = [each.figure for each in limits_of(limits) if each.figure.startswith(ENERGY)]
    estimators = list(dict.fromkeys(name.removeprefix(ENERGY) for name in named))
    revision, energies = compare.configurations(estimators, options, f'--max "{ENERGY}{{}}=..."')
    given = ("rules", "spikes", "samples", "batch", "time_steps", "strict", "allow_unknown")
    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    with reading.working("checking"):
        return checked(
            opened, limits, energies=energies, revision=revision,
            **{name: options[name] for name in given},
        )  # fmt: skip


def _drawn(found: Check, kind: str) -> str:
    """Return the verdicts as people read them, with the coverage below."""
    import polars as pl

    texts = [figure_text(each.limit.figure)(each.value) for each in found.verdicts]
    frame = found.frame.with_columns(pl.Series("value", texts, dtype=pl.String))
    line = clean(found.coverage.line())
    if kind == "markdown":
        failed = [f"- {tables.markdown_text(each.line())}\n" for each in found.failures]
        table = tables.as_markdown(frame, _COLUMNS)
        return "\n".join(filter(None, [table, "".join(failed), tables.markdown_text(line) + "\n"]))
    return f"{tables.as_table(frame, _COLUMNS)}\n{terminal.wrapped(line)}"
