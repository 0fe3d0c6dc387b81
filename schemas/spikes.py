"""What the data of a tensor can be said to be, as bits that are exact.

The recorder measures them, the analyzers decide with them what a spike tensor is.
"""

from __future__ import annotations

from enum import IntFlag


class SpikeClass(IntFlag):
    """Bits of the `class` columns; every bit states a fact about all elements of a value."""

    BINARY = 1
    """Every element is 0 or 1 (a bool tensor by its type)."""
    TERNARY = 2
    """Every element is -1, 0 or 1."""
    SCALED = 4
    """Every element is 0 or one and the same number."""
    WHOLE = 8
    """Every element is a whole number."""
    CONSTANT = 16
    """All elements are equal."""
    EVENTS = 32
    """Provenance: written by a spiking neuron or a comparison, of dtype bool, drawn by `bernoulli`,
    or declared as spikes, and carried on by views, copies, casts, concatenation, maximum pooling,
    selection, complement and products."""


NON_SPIKING = "non-spiking"
"""Kind of a neuron that has state and gives its membrane potential, never spikes: a readout."""

VALUE_BITS = (
    SpikeClass.BINARY
    | SpikeClass.TERNARY
    | SpikeClass.SCALED
    | SpikeClass.WHOLE
    | SpikeClass.CONSTANT
)
"""The bits that come from the elements alone, without provenance."""
