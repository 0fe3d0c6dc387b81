"""Counting collapsed calls: the rules' linear forms, evaluated for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from .collapse import collapsed
from .rules import RuleSet
from .rules.amount import CALLS, STATISTICS, amount
from .rules.call import FLAGGED, call_of
from .rules.rule import Figures

if TYPE_CHECKING:
    from .trace import Trace

COUNTERS = ("flops", "bytes", "synops", "macs", "acs")
"""The five counters, in the order of the tables."""

_FLAGS = [f"{slot}_spikes" for slot in FLAGGED]
_PARTS = (CALLS, *STATISTICS)


FACTS = (*_FLAGS, *(f"{slot}_nonzero" for slot in FLAGGED), *(
    f"{slot}_nonzero_unknown" for slot in FLAGGED
))  # fmt: skip
"""What the data of counted calls was: which operands are spikes, sums of their nonzero elements,
and in how many calls those are not known."""


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
        spikes: what a spike tensor may hold.
        facts: return the columns `FACTS` too.

    Returns:
        `rank`, `signature_id`, `op`, `keys`, `calls`, `first_seq`, `how` (rule, class, free or
        uncovered), `family`, `decided`, `unmeasured` (calls with a counter that needs a statistic
        which was not recorded), `moved` (operands and results, dense, whatever the rules say), and
        the five counters as int64: null where no rule covers the op or a statistic is missing.
    """
    kept = list(keys)
    rows = collapsed(trace, kept, spikes=spikes, by_values_only=rules.by_values_only)
    forms = _forms(trace, rules, rows)
    joined = rows.lazy().join(
        forms.lazy(), on=["rank", "signature_id", *_FLAGS], how="left", nulls_equal=True,
        maintain_order="left",
    )  # fmt: skip
    counted = joined.with_columns(**{name: _evaluated(name, forms) for name in COUNTERS})
    unknown = pl.any_horizontal(pl.col(name).is_null() for name in COUNTERS)
    done = counted.with_columns(
        unmeasured=pl.when(unknown & (pl.col("how") != "uncovered"))
        .then("calls")
        .otherwise(pl.lit(0, pl.Int64)),
        moved=pl.col("moved") * pl.col("calls"),
    ).select(
        "rank", "signature_id", "op", *kept, "calls", "first_seq", "how", "family", "decided",
        "unmeasured", "moved", *COUNTERS, *(FACTS if facts else ()),
    )  # fmt: skip
    return done.collect()


def _forms(trace: Trace, rules: RuleSet, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the coefficients of each counter for each signature and kind of operands."""
    signatures = {
        (row["rank"], row["signature_id"]): row for row in trace.signatures.iter_rows(named=True)
    }
    kinds = rows.select("rank", "signature_id", *_FLAGS).unique(maintain_order=True)
    data: list[dict[str, Any]] = []
    for kind in kinds.iter_rows(named=True):
        signature = signatures[kind["rank"], kind["signature_id"]]
        call = call_of(signature, {slot: kind[f"{slot}_spikes"] for slot in FLAGGED})
        how, family, figures = rules.figures(call)
        data.append(
            {**kind, "op": call.op, "how": how, "family": family, "moved": call.moved}
            | _coefficients(figures)
        )
    return pl.DataFrame(data, schema=_SCHEMA, orient="row")


def _coefficients(figures: Figures | None) -> Mapping[str, int | None]:
    found: dict[str, int | None] = {}
    for counter in COUNTERS:
        figure = None if figures is None else getattr(figures, counter)
        parts = {} if figure is None else amount(figure).parts
        for part in _PARTS:
            found[f"{counter}:{part}"] = None if figure is None else parts.get(part, 0)
    return found


_SCHEMA: dict[str, Any] = {
    "rank": pl.Int32,
    "signature_id": pl.Int32,
    **dict.fromkeys(_FLAGS, pl.Boolean),
    "op": pl.String,
    "how": pl.String,
    "family": pl.String,
    "moved": pl.Int64,
    **{f"{counter}:{part}": pl.Int64 for counter in COUNTERS for part in _PARTS},
}


def _evaluated(counter: str, forms: pl.DataFrame) -> pl.Expr:
    """Return a counter: null if it is unknown, or needs a statistic that some call lacks."""
    total = pl.col(f"{counter}:{CALLS}") * pl.col(CALLS)
    missing = pl.lit(False)
    for name in STATISTICS:
        if not (forms[f"{counter}:{name}"] != 0).any():
            continue  # no rule needs it: nothing to compute, for millions of rows
        coefficient = pl.col(f"{counter}:{name}")
        total = total + coefficient * pl.col(name)
        missing = missing | ((coefficient != 0) & (pl.col(f"{name}_unknown") > 0))
    return pl.when(missing).then(None).otherwise(total)
