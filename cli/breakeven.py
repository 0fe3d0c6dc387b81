"""`opjoule breakeven`: a spiking network beside its quantized twin, and where they meet."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import energy_text, ratio_text, share_text
from . import count, reading, tables, terminal
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    from ..analyzers.comparing.breakeven import Breakeven


@click.command(short_help="Does spiking win? A network beside its quantized twin.")
@click.argument("trace", metavar="SNN", type=click.Path(path_type=Path))
@click.argument("ann", required=False, type=click.Path(path_type=Path))
@click.option(
    "--machine", default="yan-dram", show_default=True, metavar="NAME|FILE",
    help="A machine that charges both: see opjoule machine list.",
)  # fmt: skip
@reading.narrows
@reading.samples
@click.option(
    "--spikes", type=click.Choice(count.SPIKES), default="binary", show_default=True,
    help="What a spike tensor may hold.",
)  # fmt: skip
@click.option("--rank", type=int, metavar="N", help="One rank only.  [default: all]")
@click.option("--partial", is_flag=True, help="Read what an aborted recording left.")
@reading.answers(*tables.FORMATS)
def breakeven(
    trace: Path,
    ann: Path | None,
    *,
    machine: str,
    where: tuple[str, ...],
    rank: int | None,
    partial: bool,
    kind: str,
    output: Path | None,
    **options: Any,
) -> None:
    """Compare a spiking network with its quantized twin, layer by layer.

    \b
      opjoule breakeven runs/snn
      opjoule breakeven runs/snn runs/ann --machine mychip.toml

    The twin has the same layers, runs them once a sample on dense activations of ceil(log2(T+1))
    bits, and has no neurons with a state. ANN, if you recorded one, stands beside it.
    """  # noqa: D301
    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    beside = None if ann is None else reading.opened(ann, partial=partial, rank=rank)
    made = importlib.import_module("..analyzers.comparing.breakeven", __package__)
    with reading.working("comparing"):
        found: Breakeven = made.breakeven(opened, beside, machine=machine, **options)
    tables.answer(_shown(found, kind), output)


def _shown(found: Breakeven, kind: str) -> str | bytes:
    if kind == "json":
        return tables.as_json(found.to_dict())
    if kind in ("csv", "parquet"):
        return tables.as_data(kind, found.frame)
    columns = [
        Column("layer", "layer", left=True, style="bold"),
        Column("energy_pj", "spiking", energy_text),
        Column("twin_pj", "twin", energy_text),
        Column("ratio", "ratio", ratio_text),
        Column("rate", "rate", share_text),
        Column("breakeven_rate", "breaks even at", _rate_text),
    ]
    table = tables.as_text(kind, found.frame, columns)
    return table + "\n" + "".join(terminal.wrapped(clean(line)) for line in found.lines())


def _rate_text(rate: float | None) -> str:
    return "never" if rate is not None and rate <= 0 else share_text(rate)
