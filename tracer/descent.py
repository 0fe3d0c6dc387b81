"""What ops outside every module hand on of what a root call made."""

from __future__ import annotations

from typing import Any

from .operands import Op
from .values import Value


def hand_on(sample: int, op: Op, ins: list[Any], made: list[Any]) -> None:
    """Note that results hold what came out of a root call of a sample, or no longer do.

    Args:
        sample: the present sample.
        op: what ran.
        ins: (value, tensor, layout) of its operands.
        made: the same of its results.
    """
    base = op.packet.partition(".")[2]
    if op.is_view or base.endswith("_like") or base.startswith("new_"):
        return  # what has the shape of something holds nothing of it
    read = ins[1:] if op.overwrites else ins
    came = any(type(value) is Value and value.storage.sample == sample for value, _, _ in read)
    for value, tensor, layout in made:
        if type(value) is not Value:
            continue
        if came:
            value.storage.sample = sample
        elif op.overwrites and layout.nbytes == tensor.untyped_storage().nbytes():
            value.storage.sample = -1
