"""What revisions of the simple energy may do differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ...workload.layers import neurons_of
from ..arithmetic import Arithmetic

if TYPE_CHECKING:
    from ...trace.trace import Trace


@dataclass(frozen=True)
class Variant(Arithmetic):
    """How a revision counts.

    Attributes:
        tool_additions: charge the additions with which SpikingJelly's own tool adds up the fan-out
            of convolutions with spike input.
        steps_by_shape: take the time steps of a neuron's call from its input: the first dimension
            in multi-step mode, else one.
        neurons: returns the neurons whose states are charged.
    """

    tool_additions: bool = False
    steps_by_shape: bool = False
    neurons: Callable[[Trace], pl.DataFrame] = neurons_of


SOURCE = Variant()
"""The counts of the rule set `full` at SpikingJelly 2.0's price of a byte: there is no other
publication of this model."""
