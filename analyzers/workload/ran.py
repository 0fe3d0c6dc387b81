"""What ran, equal calls together: the one table that every account of calls is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .kinds import kinds_of

if TYPE_CHECKING:
    from ..trace.trace import Trace

RAN = ("rank", "module_id", "signature_id", "stage", "training", "grad_enabled")
"""What calls have in common that are counted together."""


def ran_of(trace: Trace) -> pl.DataFrame:
    """Return how often each kind of call ran, whatever its operands held.

    Args:
        trace: the trace.

    Returns:
        `RAN` (module: the innermost; null outside), `calls` and `first` (seq of the first), in no
        certain order.
    """
    if "what ran" not in trace.own:
        trace.own["what ran"] = (
            kinds_of(trace)
            .group_by(RAN)
            .agg(pl.col("calls").sum(), first=pl.col("first_seq").min())
        )
    found: pl.DataFrame = trace.own["what ran"]
    return found
