"""`opjoule memory`: how much memory a recorded run takes at most, and what is live then."""

from __future__ import annotations

import click

from . import options, reading
from .reading import Source
from .tables import Reply


@click.command(short_help="Peaks of memory by stage, and what is live at the highest.")
@options.reads_trace
@options.answers
def memory(source: Source, reply: Reply) -> None:
    """Tell how many bytes of tensors are live at most in TRACE, by stage.

    \b
      opjoule record --memory train.py
      opjoule memory runs/train
      opjoule memory runs/train --where stage=backward

    Below the peaks stands what is live at the highest of them, by kind and by module. It is the
    tensors' own storages: without what kernels take for themselves and what an allocator rounds up.
    """  # noqa: D301
    from ..analyzers import memory as found

    opened = source.opened()
    with reading.working("adding up"):
        answer = found(opened)
    reply.give(answer)
