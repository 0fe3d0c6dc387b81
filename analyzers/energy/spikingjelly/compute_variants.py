"""The compute energy of SpikingJelly: with its rules, of every forward pass, whatever its mode."""

from __future__ import annotations

from ..compute.variant import Variant

RELEASE = Variant(
    rules="spikingjelly-2.0",
    eval_only=False,
    spike_modes=("binary",),
    names_uncovered=False,
    nothing=("macs", "acs", "synops", "flops"),
)
"""Revision spikingjelly-2.0, which has no compute energy of its own: its counters, priced."""

TUTORIAL = Variant(
    rules="spikingjelly-2026-08",
    eval_only=False,
    spike_modes=("binary",),
    names_uncovered=False,
    nothing=("macs", "acs", "synops", "flops"),
)
"""Revision spikingjelly-2026-08."""
