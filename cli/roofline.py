"""`opjoule roofline`: the time that a device needs at least, and what bounds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import bytes_text, count_text, ratio_text, share_text, time_text
from . import count, reading, tables, terminal
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Roofline


def _share(share: float | None) -> str:
    """Return the share of a row's time that its bound is of; nothing for a row without time."""
    return "" if share is None else share_text(share)


PRECISIONS = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8")

_FIGURES = (
    Column("calls", "calls", count_text, optional=5),
    Column("flops", "FLOP", count_text),
    Column("bytes", "bytes", bytes_text),
    Column("intensity", "FLOP/B", ratio_text, optional=2),
    Column("bound", "bound by", left=True),
    Column("bound_share", "in", _share, optional=3),
    Column("time_s", "time at the roof", time_text),
    Column("share", "share", share_text, optional=1),
)


@click.command(short_help="The time a device needs at least; compute or memory bound.")
@reading.reads_trace
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
@reading.groups(*count.KEYS, default=("module",), show_default="module", help="One row for each.")
@reading.rolls_up
@reading.narrows
@click.option("--rules", type=click.Choice(count.RULES), default="full", show_default=True,
              help="Counting rules to use.")  # fmt: skip
@reading.answers(*tables.FORMATS)
def roofline(
    trace: Path,
    by: tuple[str, ...],
    kind: str,
    output: Path | None,
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **options: Any,
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

    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    with reading.working("counting"):
        found = roofed(opened, by, **options)
    content: str | bytes
    if kind == "json":
        content = tables.as_json(found.to_dict())
    elif kind in ("csv", "parquet"):
        content = tables.as_data(kind, found.frame)
    else:
        content = _drawn(found, by, kind)
    lines = [found.device, *found.notes, found.coverage.line()]
    if kind == "table" and isinstance(content, str):
        content += "\n" + "".join(terminal.wrapped(clean(line)) for line in lines)
    elif kind == "markdown" and isinstance(content, str):
        content += "".join(f"\n{tables.markdown_text(line)}\n" for line in lines)
    elif kind != "json":
        for line in lines:
            click.echo(f"opjoule: {clean(line)}", err=True)
    tables.answer(content, output)


def _drawn(found: Roofline, by: tuple[str, ...], kind: str) -> str:
    """Return the rows as people read them, modules as a tree, lower bounds with a sign."""
    keys = tuple(key for key in by if key != "total")
    frame = _with_signs(found.frame)
    if keys == ("module",):
        frame = count.as_tree(frame)
    heads = [Column(key, key, left=True, style="bold", wrap=key == "op") for key in keys]
    shown = [replace(each, show=str) if each.name == "time_s" else each for each in _FIGURES]
    return tables.as_text(kind, frame, [*heads, *shown])


def _with_signs(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    texts = [
        ("≥ " if unknown and time is not None else "") + time_text(time)
        for time, unknown in frame.select("time_s", "unknown").iter_rows()
    ]
    return frame.with_columns(time_s=pl.Series(texts, dtype=pl.String))
