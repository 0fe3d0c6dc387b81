"""`opjoule rates`: firing rates, and what sparse inputs leave of the work, by layer."""

from __future__ import annotations

from typing import Any

import click

from . import options, reading
from .reading import Source
from .tables import Reply


@click.command(short_help="Firing rates, sparsity and effective operations by layer.")
@options.reads_trace
@click.option(
    "--of",
    type=click.Choice(("layers", "products", "time")),
    default=None,
    show_default="layers and products; in csv and parquet, layers",
    help="Neurons and activations; Linear and convolutions; or rates at each time step.",
)
@options.samples
@options.draws
def rates(source: Source, reply: Reply, of: str | None, **asked: Any) -> None:
    """Tell how often the neurons of TRACE fire, and how much work zeros leave.

    Of its forward passes, a sample: spikes and rates of neurons and activations; nonzero inputs and
    effective MACs and ACs of Linear and convolutions, as NeuroBench defines them.
    """
    from ..analyzers import rates as rated

    opened = source.opened()
    with reading.working("counting"):
        found = rated(opened, **asked)
    frames = {"products": found.products, "time": found.steps}
    reply.give(
        found,
        shown={"of": of},
        frame=lambda: frames.get(of or "layers", found.layers),
        drawn={"of": of},
    )
