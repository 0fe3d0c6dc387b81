"""`opjoule conventions`: one network by the definitions of several tools, and why they differ."""

from __future__ import annotations

from typing import Any

import click

from . import options, reading
from .reading import Source
from .tables import Reply


@click.command(short_help="Why does another tool say something else? Its figures beside ours.")
@options.reads_trace
@options.divides(spread=False, default="sample")
@options.samples
@options.answers
def conventions(source: Source, reply: Reply, per: str | None, **asked: Any) -> None:
    """Count the forward passes of TRACE as other tools define it, beside opjoule's own counts.

    FlopCounterMode of PyTorch, SpikingJelly's op_counter (2.0 and of August 2026), NeuroBench, the
    formula of most papers (rate x T x FLOPs), Norse and sinabs: each with its definition, its ratio
    to opjoule's figure of the same kind, and what makes the difference. None of them is needed.
    """
    from ..analyzers import conventions as told

    opened = source.opened()
    with reading.working("counting"):
        found = told(opened, per=per or "sample", **asked)
    reply.give(found)
