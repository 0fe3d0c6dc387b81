"""What revisions of the compute energy may do differently."""

from __future__ import annotations

from dataclasses import dataclass

from ..arithmetic import Arithmetic


@dataclass(frozen=True)
class Variant(Arithmetic):
    """How a revision counts.

    Attributes:
        nothing: counters that are all 0 where a trace has nothing to charge.
    """

    nothing: tuple[str, ...] = ("macs", "acs")


SOURCE = Variant()
"""The rule set `full`, forward passes in eval mode."""
