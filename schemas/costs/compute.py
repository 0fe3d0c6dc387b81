"""Costs of arithmetic alone: one energy for a multiply-accumulate, one for an accumulation."""

from __future__ import annotations

from .base import CostConfig, PicoJoule


class ComputeConfig(CostConfig):
    """Energies of operations, in pJ; the defaults are the preset fp32.

    Source: M. Horowitz, "Computing's energy problem (and what we can do about it)",
    ISSCC 2014, 45 nm: a MAC is a multiplication and an addition of the same type.
    """

    e_mac_pj: PicoJoule = 4.6
    """A multiply-accumulate."""
    e_ac_pj: PicoJoule = 0.9
    """An accumulation that needs no multiplication."""


class SimpleConfig(ComputeConfig):
    """`ComputeConfig` and a flat energy for each byte of weights, biases and neuron state."""

    e_memory_pj_per_byte: PicoJoule = 24.96
    """Default of SpikingJelly 2.0's simple estimator: 3.12 pJ a bit, STEP (arXiv 2505.11151),
    Table 9."""
