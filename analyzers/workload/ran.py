"""What ran, equal calls together: the one table that every account of calls is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ..trace.files import collected

if TYPE_CHECKING:
    from ..trace.trace import Trace

RAN = ("rank", "module_id", "signature_id", "stage", "training", "grad_enabled")
"""What calls have in common that are counted together."""


def ran_of(trace: Trace) -> pl.DataFrame:
    """Return how often each kind of call ran; read or told once for the whole trace.

    A narrowed trace is answered from the same table if its filters speak of `RAN` alone.

    Args:
        trace: the trace.

    Returns:
        `RAN` (module: the innermost; null outside), `calls` and `first` (seq of the first), in no
        certain order.
    """
    if "what ran" not in trace.facts:
        trace.facts["what ran"] = _counted(trace.whole)
    kept = trace.kept(trace.facts["what ran"])
    if kept is None:
        return _counted(trace)
    sure, rest = kept
    return sure if rest is None else pl.concat([sure, _counted(rest)])


def tell_what_ran(trace: Trace, groups: pl.DataFrame) -> None:
    """Keep how often each kind of call ran, from groups of all calls that somebody else summed.

    Args:
        trace: the trace, or a part of it.
        groups: with `RAN`, `calls` and `first_seq`, and whatever else they are told apart by.
    """
    if "what ran" not in trace.facts:
        trace.facts["what ran"] = groups.group_by(RAN).agg(
            calls=pl.col("calls").sum().cast(pl.Int64), first=pl.col("first_seq").min()
        )


def _counted(trace: Trace) -> pl.DataFrame:
    groups = trace.calls.group_by(RAN).agg(calls=pl.len().cast(pl.Int64), first=pl.col("seq").min())
    return collected(groups, trace)
