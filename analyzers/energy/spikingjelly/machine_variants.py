"""What a machine file counts by SpikingJelly's rules, of every forward pass, whatever its mode."""

from __future__ import annotations

from ..machine.variant import Variant
from .nodes import nodes_of

RELEASE = Variant(
    rules="spikingjelly-2.0",
    eval_only=False,
    spike_modes=("binary",),
    names_uncovered=False,
    neurons=nodes_of,
    layers=("Linear", "Conv1d", "Conv2d", "Conv3d"),
    steps_by_shape=True,
)
"""Revision spikingjelly-2.0."""

TUTORIAL = Variant(
    rules="spikingjelly-2026-08",
    eval_only=False,
    spike_modes=("binary",),
    names_uncovered=False,
)
"""Revision spikingjelly-2026-08."""
