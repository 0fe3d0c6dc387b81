"""Which neurons SpikingJelly 2.0 sees: its `BaseNode` and what is derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...workload.layers import MODULE, neurons_of

if TYPE_CHECKING:
    from ...trace.trace import Trace

_OF_BASE_NODE = "store_v_seq"
"""An attribute that every `BaseNode` has, and no other neuron (GatedLIFNode, DSRIFNode,
SimpleLIFNode, those of other libraries)."""


def nodes_of(trace: Trace) -> pl.DataFrame:
    """Return the neurons that SpikingJelly 2.0 counts; columns of `neurons_of`."""
    has = pl.col("attributes").str.contains(f'"{_OF_BASE_NODE}"', literal=True)
    seen = trace.modules.filter(has.fill_null(False)).select(MODULE)
    return neurons_of(trace).join(seen, on=MODULE, how="semi", maintain_order="left")
