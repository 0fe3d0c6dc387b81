"""What revisions of SpikeSim's model may do differently."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """How a revision estimates.

    Attributes:
        inference_only: leave out training passes, and refuse a trace in which nothing is covered.
        authors: has what the authors' tool has: its chip, the sizes behind poolings, the parts of
            a PE cycle, calls with gradients on request.
        by_values_only: take constants for what their values are.
        names_event_mode: say that the event mode is not the authors'.
        spike_modes: what a spike tensor may hold.
    """

    inference_only: bool = True
    authors: bool = True
    by_values_only: bool = False
    names_event_mode: bool = True
    spike_modes: tuple[str, ...] = ("binary", "none")


SOURCE = Variant()
"""SpikeSim as its authors' tool computes it, on the positions that a convolution computes."""
