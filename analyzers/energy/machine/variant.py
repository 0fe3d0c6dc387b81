"""What revisions of a machine may do differently: how operations are counted."""

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
        neurons: returns the neurons that updates, spikes and states are of.
        layers: kinds of layers whose weights are read, see `layers_of`; None: all.
        steps_by_shape: take the time steps of a neuron's call from the shape of its input.
    """

    neurons: Callable[[Trace], pl.DataFrame] = neurons_of
    layers: tuple[str, ...] | None = None
    steps_by_shape: bool = False


SOURCE = Variant()
"""The rule set `full`, forward passes in eval mode."""
