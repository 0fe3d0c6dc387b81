"""Which neurons give spikes."""

from __future__ import annotations

import polars as pl

from ...schemas import NON_SPIKING

FIRES = pl.col("neuron") != NON_SPIKING
"""Whether a row of `modules` is of a neuron that gives spikes; null: it is of no neuron."""
