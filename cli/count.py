"""`opjoule count` and `opjoule coverage`: the five counters, and how far they reach."""

from __future__ import annotations

from typing import Any

import click

from . import options, reading
from .reading import Source
from .tables import Reply

COUNTERS = ("flops", "bytes", "synops", "macs", "acs")


@click.command(short_help="FLOPs, bytes, SynOps, MACs and ACs, by module or otherwise.")
@options.reads_trace
@options.groups(
    *options.KEYS,
    default=("module",),
    show_default="module",
    help="One row for each; several keys together give one row for each combination.",
)
@options.rolls_up
@options.arranges
@options.counting_rules
@options.spikes
@options.strict("a trace with ops that no rule covers")
@click.option(
    "--share",
    type=click.Choice(COUNTERS),
    default="flops",
    show_default=True,
    help="The counter that shares and bars speak of.",
)
@options.divides()
@options.samples
@options.draws
def count(
    source: Source,
    reply: Reply,
    by: tuple[str, ...],
    share: str,
    per: str | None,
    rows: dict[str, Any],
    **asked: Any,
) -> None:
    """Count the calls of TRACE.

    A module's figures include its submodules'; Global is everything. FLOP counts a multiplication
    and an addition as one each, bytes what is read and written, SynOp and AC the additions that
    spikes trigger, MAC the products without spikes.
    """
    from ..analyzers import count as counted

    opened = source.opened()
    with reading.working("counting"):
        counts = counted(opened, list(by), per=per or "total", **asked)
    reply.give(counts, shown={"share": share, **rows}, drawn={"figure": share})


@click.command(short_help="Op by op: counted by rule, by class, free, or not at all.")
@options.reads_trace
@options.counting_rules
@options.answers
def coverage(source: Source, reply: Reply, rules: str) -> None:
    """Tell for each op of TRACE how it was counted: how far the figures can be trusted.

    "operands + results" is their size, dense, whatever the rules say: of views too, which move
    none of it. What the rules count as bytes: opjoule count TRACE --by op.
    """
    from ..analyzers import coverage as covered

    reply.give(covered(source.opened(), rules=rules))
