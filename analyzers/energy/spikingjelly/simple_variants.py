"""The simple energy of SpikingJelly 2.0, the only revision that has it."""

from __future__ import annotations

from ..simple.variant import Variant
from .nodes import nodes_of

RELEASE = Variant(
    rules="spikingjelly-2.0",
    eval_only=False,
    spike_modes=("binary",),
    names_uncovered=False,
    tool_additions=True,
    steps_by_shape=True,
    neurons=nodes_of,
)
