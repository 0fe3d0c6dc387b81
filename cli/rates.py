"""`opjoule rates`: firing rates, and what sparse inputs leave of the work, by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analyzers.units import count_text, share_text
from . import reading, tables
from .tables import Column
from .terminal import clean

if TYPE_CHECKING:
    import polars as pl

    from ..analyzers import Rates

_LAYERS = (
    Column("module", "layer", left=True, style="bold"),
    Column("kind", "kind", left=True),
    Column("neurons", "neurons", count_text),
    Column("nonzero_per_sample", "nonzero a sample", count_text),
    Column("rate", "rate", share_text),
)
_PRODUCTS = (
    Column("module", "product", left=True, style="bold"),
    Column("kind", "kind", left=True),
    Column("nonzero_share", "nonzero inputs", share_text),
    Column("dense_per_sample", "dense", count_text),
    Column("effective_macs_per_sample", "effective MAC", count_text),
    Column("effective_acs_per_sample", "effective AC", count_text),
)


@click.command(short_help="Firing rates, sparsity and effective operations by layer.")
@reading.reads_trace
@click.option(
    "--of",
    type=click.Choice(("layers", "products", "time")),
    default=None,
    show_default="layers and products; in csv and parquet, layers",
    help="Neurons and activations; Linear and convolutions; or rates at each time step.",
)
@reading.narrows
@reading.samples
@reading.answers(*tables.FORMATS)
def rates(
    trace: Path,
    of: str | None,
    kind: str,
    output: Path | None,
    where: tuple[str, ...],
    partial: bool,
    rank: int | None,
    **options: Any,
) -> None:
    """Tell how often the neurons of TRACE fire, and how much work zeros leave.

    Of its forward passes, a sample: spikes and rates of neurons and activations; nonzero inputs and
    effective MACs and ACs of Linear and convolutions, as NeuroBench defines them.
    """
    from ..analyzers import rates as rated

    opened = reading.opened(trace, partial=partial, rank=rank, where=where)
    with reading.working("counting"):
        found = rated(opened, **options)
    for warning in found.warnings:
        click.echo(f"opjoule: warning: {clean(warning)}", err=True)
    if kind == "json":
        content: str | bytes = tables.as_json(found.to_dict())
    elif kind in ("csv", "parquet"):
        frames = {"products": found.products, "time": found.steps}
        content = tables.as_data(kind, frames.get(of or "layers", found.layers))
    else:
        content = "\n".join([*_drawn(found, of, kind), tables.lines([found.line()], kind)])
    tables.answer(content, output)


def _drawn(found: Rates, of: str | None, kind: str) -> list[str]:
    shown = []
    if of in (None, "layers"):
        shown.append(tables.as_text(kind, found.layers, _LAYERS))
    if of in (None, "products"):
        shown.append(tables.as_text(kind, found.products, _PRODUCTS))
    if of == "time":
        shown.append(_over_time(found.steps, kind))
    return shown


def _over_time(steps: pl.DataFrame, kind: str) -> str:
    """Return a row for each neuron layer, a column for each time step."""
    if steps.is_empty():
        return "no neuron was called once for each time step: rates over time are not recorded\n"
    wide = steps.pivot("time_step", index="module", values="rate")
    columns = [Column("module", "layer", left=True, style="bold")]
    columns += [Column(name, f"t={name}", share_text) for name in wide.columns[1:]]
    return tables.as_text(kind, wide, columns)
