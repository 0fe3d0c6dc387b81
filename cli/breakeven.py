"""`opjoule breakeven`: a spiking network beside its quantized twin, and where they meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options, reading
from .reading import Source
from .tables import Reply


@click.command(short_help="Does spiking win? A network beside its quantized twin.")
@click.argument("snn", type=click.Path(path_type=Path))
@click.argument("ann", required=False, type=click.Path(path_type=Path))
@click.option(
    "--machine", default="yan-dram", show_default=True, metavar="NAME|FILE",
    help="A machine that charges both: see opjoule machine list.",
)  # fmt: skip
@options.narrows
@options.samples
@options.spikes
@options.opens
@options.answers
def breakeven(
    snn: Path,
    ann: Path | None,
    *,
    reply: Reply,
    where: tuple[str, ...],
    assume: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **asked: Any,
) -> None:
    """Compare a spiking network with its quantized twin, layer by layer.

    \b
      opjoule breakeven runs/snn
      opjoule breakeven runs/snn runs/ann --machine mychip.toml

    The twin has the same layers, runs them once a sample on dense activations of ceil(log2(T+1))
    bits, and has no neurons with a state. ANN, if you recorded one, stands beside it.
    """  # noqa: D301
    from ..analyzers import breakeven as compared

    opened = Source(snn, partial, rank, where, assume).opened()
    beside = None if ann is None else Source(ann, partial, rank, assume=assume).opened()
    with reading.working("comparing"):
        found = compared(opened, beside, **asked)
    reply.give(found)
