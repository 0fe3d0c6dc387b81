"""Counting collapsed calls: the rules' linear forms, evaluated for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError
from ..rules import RuleSet
from ..rules.amount import CALLS, STATISTICS
from ..rules.call import FLAGGED
from ..trace.files import collected
from .aggregate import collapsed
from .coefficients import COUNTERS, KIND, LARGEST, forms

if TYPE_CHECKING:
    from ..trace.trace import Trace

__all__ = ["COUNTERS", "FACTS", "FIGURES", "tally"]

FIGURES = (*COUNTERS, "dense_macs")
"""The five counters, and the dense products that `macs` and spike-driven `acs` are of."""

FACTS = (
    *(f"{slot}_spikes" for slot in FLAGGED),
    *(f"{slot}_nonzero" for slot in FLAGGED),
    *(f"{slot}_nonzero_unknown" for slot in FLAGGED),
    "x_fanout",
    "x_fanout_unknown",
    "grad_fanout",
    "grad_fanout_unknown",
)
"""What the data of counted calls was: which operands are spikes, sums of their nonzero elements
and of the fan-out of convolutions, and in how many calls those are not known."""


def tally(
    trace: Trace,
    rules: RuleSet,
    keys: Iterable[str] = (),
    *,
    spikes: str = "binary",
    facts: bool = False,
) -> pl.DataFrame:
    """Count a trace by signature and `keys`.

    Args:
        trace: the trace.
        rules: the rule set.
        keys: columns of `calls` to keep apart: module_id, stage, label, step, training, thread.
        spikes: what a spike tensor may hold, or "none".
        facts: return the columns `FACTS` too.

    Returns:
        `rank`, `signature_id`, `op`, `keys`, `calls`, `first_seq`, `how` (rule, class, free or
        uncovered), `family`, `decided` (calls of which provenance decided how a constant operand
        counts), `unmeasured` (calls with a counter that needs a statistic which was not recorded),
        `moved` (operands and results, dense, whatever the rules say), and as int64 the five
        counters (null where no rule covers the op, a size is not known, or a statistic is missing)
        and `dense_macs`: the multiply-accumulates of the products if no operand were spikes, the
        same whichever rules count (null: not known).

    Raises:
        TraceError: a part or a signature is damaged, or a sum does not fit 64 bits.
        RuleError: a rule fails.
    """
    kept = list(keys)
    rows = collapsed(trace, kept, spikes=spikes, by_values_only=rules.by_values_only)
    known = forms(trace, rules, rows, dense=spikes == "none")
    joined = rows.lazy().join(
        known.lazy(), on=list(KIND), how="left", nulls_equal=True, maintain_order="left"
    )
    counted = joined.with_columns(**{name: evaluated(name, known) for name in COUNTERS})
    unknown = pl.any_horizontal(pl.col(name).is_null() for name in COUNTERS)
    nothing = pl.lit(0, pl.Int64)
    done = counted.with_columns(
        decided=pl.when("matters").then(CALLS).otherwise(nothing),
        unmeasured=pl.when(unknown & (pl.col("how") != "uncovered")).then(CALLS).otherwise(nothing),
        moved=pl.col("moved").cast(pl.Int128) * pl.col(CALLS),
        dense_macs=pl.col("dense_macs").cast(pl.Int128) * pl.col(CALLS),
    ).select(
        "rank", "signature_id", "op", *kept, CALLS, "first_seq", "how", "family", "decided",
        "unmeasured", "moved", *FIGURES, *(FACTS if facts else ()),
    )  # fmt: skip
    return _narrowed(trace, collected(done, trace, engine="auto"))


def evaluated(counter: str, known: pl.DataFrame) -> pl.Expr:
    """Return a counter: null if it is unknown, or needs a statistic that some call lacks.

    Args:
        counter: of `COUNTERS`.
        known: what `forms` returned; the expression is of rows that are joined with it.
    """
    total = pl.col(f"{counter}:{CALLS}").cast(pl.Int128) * pl.col(CALLS)
    missing = pl.lit(False)
    for name in STATISTICS:
        if not (known[f"{counter}:{name}"] != 0).any():
            continue  # no rule needs it: nothing to compute, for millions of rows
        coefficient = pl.col(f"{counter}:{name}")
        total = total + coefficient.cast(pl.Int128) * pl.col(name)
        missing = missing | ((coefficient != 0) & (pl.col(f"{name}_unknown") > 0))
    return pl.when(missing).then(None).otherwise(total)


def _narrowed(trace: Trace, counted: pl.DataFrame) -> pl.DataFrame:
    """Return counts as int64, of which every sum fits too: none wraps around in silence."""
    for name in ("moved", *FIGURES):
        if int(counted[name].sum() or 0) > LARGEST:
            figure = {"moved": "bytes", "dense_macs": "dense MACs"}.get(name, name)
            raise TraceError(
                f"{trace.path}: the {figure} add up to more than 2**63. Count parts of it (where)."
            )
    return counted.with_columns(pl.col("moved", *FIGURES).cast(pl.Int64))
