"""`opjoule roofline`: the time that a device needs at least, and what bounds it."""

from __future__ import annotations

from typing import Any

import click

from . import options, reading
from .reading import Source
from .tables import Reply

PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8")


@click.command(short_help="The time a device needs at least; compute or memory bound.")
@options.reads_trace
@click.option(
    "--device",
    metavar="NAME",
    help="a100, h100, h200, orin, rtx4090, or a TOML file with peaks and bandwidth.",
)
@click.option("--peak", metavar="FLOP/S", help="Instead of a device, e.g. 989T.")
@click.option("--bandwidth", metavar="B/S", help="Instead of a device, e.g. 3.35T.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="What everything computes in.  [default: the types of the operands]",
)
@options.groups(*options.KEYS, default=("module",), show_default="module", help="One row for each.")
@options.rolls_up
@options.arranges
@options.counting_rules
@options.draws
def roofline(
    source: Source, reply: Reply, by: tuple[str, ...], rows: dict[str, Any], **asked: Any
) -> None:
    """Tell how long a device needs for TRACE at least.

    \b
      opjoule roofline runs/train --device h100
      opjoule roofline runs/train --device h100 --precision bf16 --by op
      opjoule roofline runs/train --peak 2.5T --bandwidth 80G

    A call takes the longer of its FLOPs at the peak and its bytes at the bandwidth; a row adds its
    calls up. "bound by" tells which of the two takes most of the row's time, "in" how much of it.
    """  # noqa: D301
    from ..analyzers import roofline as roofed

    opened = source.opened()
    with reading.working("counting"):
        found = roofed(opened, by, **asked)
    reply.give(found, shown=rows)
