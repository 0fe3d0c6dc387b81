"""The part of a trace that estimators of inference speak of: forward passes in eval mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError
from ..trace.files import collected
from ..trace.filters import of_numbers

if TYPE_CHECKING:
    from ..trace.trace import Trace


def forward_part(trace: Trace, *, eval_only: bool) -> Trace:
    """Return a trace with its forward calls alone.

    Args:
        trace: the trace.
        eval_only: leave out what ran in training mode. What ran outside every module has no mode
            of its own and goes with the module call of its rank before it, or with the first one.

    Raises:
        TraceError: nothing is left; says what is missing.
    """
    key = ("forward part", eval_only)
    if key not in trace.own:
        trace.own[key] = _forward_part(trace, eval_only)
    found: Trace = trace.own[key]
    return found


def forward_alone(trace: Trace, *, eval_only: bool) -> Trace:
    """Return the forward part of a trace as if nothing else had been recorded.

    Samples are those of the part, and no optimizer made a step. It is its own forward part, so
    that what one estimator derives of it the others find there.
    """
    part = forward_part(trace, eval_only=eval_only)
    steps = part.optimizer_steps.clear()
    alone = part.with_tables(sample_calls=part.module_calls, optimizer_steps=steps)
    for known in {eval_only, False}:
        alone.own["forward part", known] = alone
    return alone


def _forward_part(trace: Trace, eval_only: bool) -> Trace:
    forward = _stage() == "forward"
    if eval_only:
        trace = without_training(trace)
    calls, told, untold = trace.calls.filter(forward), forward, None
    if eval_only:
        outside = _outside_in_eval_mode(trace, calls)
        told = forward & ~pl.col("training")
        untold = of_numbers(calls.filter(pl.col("training").is_null()), outside)
        calls = pl.concat([calls.filter(~pl.col("training")), untold])
    part = trace.with_tables(
        calls=calls,
        conditions=None if trace.conditions is None else (*trace.conditions, told),
        untold=untold,
        module_calls=trace.module_calls.filter(told),
    )
    if not _any(trace, calls):
        raise TraceError(f"{trace.path}: {_what_is_missing(trace)}")
    return part


def without_training(trace: Trace) -> Trace:
    """Return a trace without training passes that hold modules in eval mode.

    A model in training mode may keep a part of itself in eval mode (frozen batch norms, a backbone
    that is not trained). That part is no inference if the trace has passes of whole models in eval
    mode: samples whose root calls ran in training mode are left out then, with all inside.
    """
    if "without training" not in trace.own:
        trace.own["without training"] = _without_training(trace)
    found: Trace = trace.own["without training"]
    return found


def _without_training(trace: Trace) -> Trace:
    root, training = pl.col("parent_call_id").is_null(), pl.col("training")
    sample = ["rank", "sample"]
    told = (
        trace.sample_calls.filter(_stage() == "forward")
        .group_by(sample)
        .agg(
            trained=(root & training).any(),
            evaluated=(root & ~training).any(),
            mixed=(~training).any(),
        )
        .pipe(collected, trace)
    )
    frozen = told.filter(pl.col("trained") & ~pl.col("evaluated") & pl.col("mixed")).lazy()
    if not told["evaluated"].any() or collected(frozen, trace, engine="auto").is_empty():
        return trace
    inside = trace.sample_calls.join(frozen, on=sample, how="semi").select("rank", "module_call_id")
    return trace.with_tables(
        calls=trace.calls.join(inside, on=["rank", "module_call_id"], how="anti"),
        module_calls=trace.module_calls.join(frozen, on=sample, how="anti"),
        sample_calls=trace.sample_calls.join(frozen, on=sample, how="anti"),
    )


def _outside_in_eval_mode(trace: Trace, calls: pl.LazyFrame) -> pl.DataFrame:
    """Return `rank` and `seq` of calls outside every module, next to a module call in eval mode."""
    mode, rank = pl.col("training"), pl.col("rank")
    near = mode.is_null() | mode.shift(1).is_null() | mode.shift(-1).is_null()
    told = pl.when(mode.is_not_null()).then(rank)  # the rank that a mode is filled in from
    before = pl.when(told.forward_fill() == rank).then(mode.forward_fill())
    after = pl.when(told.backward_fill() == rank).then(mode.backward_fill())
    filled = pl.coalesce(before, after, pl.lit(False))
    modes = calls.select("rank", "seq", "training").filter(near).with_columns(filled=filled)
    return collected(modes.filter(mode.is_null() & ~pl.col("filled")).select("rank", "seq"), trace)


def _stage() -> pl.Expr:
    return pl.col("stage").cast(pl.String)


def _any(trace: Trace, calls: pl.LazyFrame) -> bool:
    return collected(calls.select("seq").head(1), trace).height > 0


def _what_is_missing(trace: Trace) -> str:
    narrow = f" under {', '.join(trace.filters)}" if trace.filters else ""
    if not _any(trace, trace.calls):
        return f"no calls were recorded{narrow}."
    if not _any(trace, trace.calls.filter(_stage() == "forward")):
        return f"it has no forward pass{narrow}: record one, or widen --where."
    return (
        f"its forward passes ran in training mode{narrow}: call model.eval() before you record "
        "the inference."
    )
