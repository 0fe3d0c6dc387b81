"""The part of a trace that estimators of inference speak of: forward passes in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError

if TYPE_CHECKING:
    from ..trace import Trace


@dataclass(frozen=True)
class Inferences:
    """How much one recorded part is the inference of; None: the trace does not tell.

    Attributes:
        samples: inferences in all: batches of all samples added up.
        batch: samples in one batch, if all are alike.
        time_steps: time steps of a sample, if all are alike.
    """

    samples: int | None
    batch: int | None
    time_steps: int | None


def narrowed(trace: Trace, where: str | Sequence[str] | None) -> Trace:
    """Return the trace narrowed by filters, one or several."""
    if not where:
        return trace
    return trace.where(*([where] if isinstance(where, str) else where))


def forward_part(trace: Trace, *, eval_only: bool) -> Trace:
    """Return a trace with its forward calls alone.

    Args:
        trace: the trace.
        eval_only: leave out what ran in training mode. What ran outside every module has no mode
            of its own and goes with the module call before it.

    Raises:
        TraceError: nothing is left; says what is missing.
    """
    forward = _stage() == "forward"
    calls = trace.calls.filter(forward)
    if eval_only:
        mode = pl.col("training")
        mode = pl.coalesce(mode.forward_fill(), mode.backward_fill(), pl.lit(False))
        calls = calls.with_columns(_mode=mode).filter(~pl.col("_mode")).drop("_mode")
    part = replace(
        trace,
        calls=calls,
        module_calls=trace.module_calls.filter(
            forward & ~pl.col("training") if eval_only else forward
        ),
    )
    if not _any(calls):
        raise TraceError(f"{trace.path}: {_what_is_missing(trace)}")
    return part


def _stage() -> pl.Expr:
    return pl.col("stage").cast(pl.String)


def _any(calls: pl.LazyFrame) -> bool:
    return calls.select("seq").head(1).collect().height > 0


def _what_is_missing(trace: Trace) -> str:
    narrow = f" under {', '.join(trace.filters)}" if trace.filters else ""
    if not _any(trace.calls):
        return f"no calls were recorded{narrow}."
    if not _any(trace.calls.filter(_stage() == "forward")):
        return f"it has no forward pass{narrow}: record one, or widen --where."
    return (
        f"its forward passes ran in training mode{narrow}: call model.eval() before you record "
        "the inference."
    )


def inferences(trace: Trace, batch: int | None = None, time_steps: int | None = None) -> Inferences:
    """Return how many inferences a part of a trace holds.

    A sample is what the recorder took for one inference: a root call, or several that neurons
    carry their state through. Its batch is that of its root calls, or if they were filtered out
    the largest of its modules'.

    Args:
        trace: the part.
        batch: samples in a batch where the trace does not know.
        time_steps: time steps of a sample where the trace does not know.
    """
    root = pl.col("parent_call_id").is_null()
    samples = (
        trace.module_calls.group_by("rank", "sample")
        .agg(
            root=pl.col("batch").filter(root).max(),
            any=pl.col("batch").max(),
            several=pl.col("time_steps").filter(root).sum(),
            most=pl.col("time_steps").max(),
        )
        .select(
            batch=pl.coalesce("root", "any"),
            steps=pl.when(pl.col("several") > 0).then("several").otherwise("most"),
        )
        .collect()
    )
    batches = samples["batch"].fill_null(batch) if batch else samples["batch"]
    steps = samples["steps"].fill_null(time_steps) if time_steps else samples["steps"]
    known = samples.height > 0 and not batches.null_count()
    return Inferences(
        samples=int(batches.sum()) if known else None,
        batch=_same(batches),
        time_steps=_same(steps),
    )


def _same(values: pl.Series) -> int | None:
    found = values.unique()
    return int(found[0]) if len(found) == 1 and found[0] is not None else None
