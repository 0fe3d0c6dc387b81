"""What a spike tensor is: a setting of the analysis, decided from the class bits of a value."""

from __future__ import annotations

import polars as pl

from ...schemas import ConfigError, SpikeClass

_BITS = {
    "binary": SpikeClass.BINARY,
    "ternary": SpikeClass.TERNARY,
    "scaled": SpikeClass.SCALED,
    "graded": SpikeClass.WHOLE,
}

SPIKE_MODES = tuple(_BITS)
"""Settings: {0, 1}, {-1, 0, 1}, {0, a}, whole numbers."""


def spike_expr(prefix: str, mode: str = "binary", by_values_only: bool = False) -> pl.Expr:
    """Return whether an operand is a spike tensor.

    A constant tensor (all elements equal) is one by provenance only: the gradient of a sum, all
    ones, is no train of spikes. An all-zero output of a neuron is.

    Args:
        prefix: of the columns: `in0` reads `in0_class`; "" reads `class`.
        mode: one of `SPIKE_MODES`; bool tensors are binary by their type.
        by_values_only: take constants for what their values are, as SpikingJelly does.

    Returns:
        A boolean expression; null where the class was not measured.

    Raises:
        ConfigError: no such mode.
    """
    known = _class(prefix)
    fits = (known & int(_bit(mode))) != 0
    return fits if by_values_only else fits & ~undecided_expr(prefix)


def undecided_expr(prefix: str) -> pl.Expr:
    """Return whether an operand is constant and not known for spikes by its provenance."""
    known = _class(prefix)
    constant, events = int(SpikeClass.CONSTANT), int(SpikeClass.EVENTS)
    return ((known & constant) != 0) & ((known & events) == 0)


def decided_by_provenance(prefix: str, mode: str = "binary") -> pl.Expr:
    """Return whether only its provenance decided if an operand is a spike tensor."""
    known = _class(prefix)
    return ((known & int(_bit(mode))) != 0) & ((known & int(SpikeClass.CONSTANT)) != 0)


def _bit(mode: str) -> SpikeClass:
    if mode not in _BITS:
        raise ConfigError(f"{mode!r} is no kind of spikes; there are {', '.join(SPIKE_MODES)}.")
    return _BITS[mode]


def _class(prefix: str) -> pl.Expr:
    return pl.col(f"{prefix}_class" if prefix else "class")
