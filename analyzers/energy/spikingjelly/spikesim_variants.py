"""SpikeSim as SpikingJelly computes it: positions at the convolution's output, no chip."""

from __future__ import annotations

from ..spikesim.variant import Variant

TUTORIAL = Variant(
    inference_only=False, authors=False, by_values_only=True, spike_modes=("binary",)
)
"""Revision spikingjelly-2026-08."""

RELEASE = TUTORIAL._replace(names_event_mode=False)
"""Revision spikingjelly-2.0, with the same figures."""
