"""How many inferences a part of a trace holds, told alike by every estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError
from .layers import MODULE, layers_of, neurons_of
from .sample_shares import seen_by_layers

if TYPE_CHECKING:
    from polars.lazyframe.group_by import LazyGroupBy

    from ..trace.trace import Trace

SAMPLE = ("rank", "sample")
"""What names a sample of the trace: a root call, or several that neurons carry state through."""


@dataclass(frozen=True)
class Samples:
    """The samples of a part of a trace.

    Attributes:
        frame: `SAMPLE`, `batch`, `time_steps` (null: unknown) and `given` (one of them was), a
            row for each.
        warnings: numbers that were given and not used, because the trace knows others.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()

    @property
    def samples(self) -> int | None:
        """Inferences in all: the batches of all samples added up; None if one is unknown."""
        batches = self.frame["batch"]
        return int(batches.sum()) if len(batches) and not batches.null_count() else None

    @property
    def batch(self) -> int | None:
        """The batch of every sample, None if they differ or one is unknown."""
        return _one(self.frame["batch"])

    @property
    def time_steps(self) -> int | None:
        """The time steps of every sample, None if they differ or one is unknown."""
        return _one(self.frame["time_steps"])


def _one(values: pl.Series) -> int | None:
    found = values.unique()
    return int(found[0]) if len(found) == 1 and found[0] is not None else None


def samples_of(
    trace: Trace,
    batch: int | None = None,
    time_steps: int | None = None,
    *,
    eval_only: bool = False,
    ran: pl.LazyFrame | None = None,
) -> Samples:
    """Return the samples of a trace with their batch and time steps.

    A sample's batch is that of its neurons, the smallest if they differ (some fold windows or
    tokens into it). Its time steps are the most that one of its neurons ran, over all its calls:
    a loop over single steps and one call of many steps agree, and a state that nobody resets
    carries a long sample. A sample without neurons has those of its root calls, told likewise,
    else the largest that a call of it knows. What is then unknown is filled in with the numbers
    given; a batch that stays open is looked for in what went into the first weight layer.

    Args:
        trace: the trace. Filters on modules and ops leave the samples what they are.
        batch: samples in a batch where the trace does not know.
        time_steps: time steps of a sample where the trace does not know.
        eval_only: of calls in eval mode alone.
        ran: `SAMPLE` of calls that an estimator speaks of: samples without any are left out.

    Raises:
        ConfigError: a given number is not at least 1.
    """
    for name, given in (("batch", batch), ("time_steps", time_steps)):
        if given is not None and given < 1:
            raise ConfigError(f"{name} = {given}: it is at least 1")
    calls = _forward(trace, eval_only)
    chosen = trace.module_calls if ran is None else ran
    known = _known(trace, calls).join(chosen.select(SAMPLE), on=SAMPLE, how="semi")
    frame = known.collect(engine="streaming").sort(SAMPLE)
    told = [
        text
        for name, given in (("batch", batch), ("time_steps", time_steps))
        if (text := _unused(name, given, frame[name]))
    ]
    frame = frame.select(
        *SAMPLE,
        given=_filled("batch", batch) | _filled("time_steps", time_steps),
        batch=pl.coalesce("batch", pl.lit(batch, pl.Int64)),
        time_steps=pl.coalesce("time_steps", pl.lit(time_steps, pl.Int64)),
    )
    if frame["batch"].null_count() and frame["time_steps"].count():
        frame = _by_shape(trace, frame)
    return Samples(frame, tuple(told))


def in_eval_mode(trace: Trace, samples: Samples) -> int | None:
    """Return how many of the samples ran in eval mode as a whole; None if batches are unknown.

    Modules without parameters, neurons apart, are not asked: nobody sets the mode of a loss.

    Args:
        trace: the trace that they are of.
        samples: what `samples_of` returned.
    """
    asked = trace.modules.filter(
        pl.col("neuron").is_not_null() | (pl.col("parameters").list.len() > 0)
    )
    evaluated = (
        _forward(trace, eval_only=False)
        .join(asked.lazy().select(MODULE), on=MODULE, how="semi")
        .group_by(SAMPLE)
        .agg(~pl.col("training").any())
        .filter("training")
        .collect(engine="streaming")
    )
    batches = samples.frame.join(evaluated, on=SAMPLE, how="semi")["batch"]
    return None if samples.samples is None else int(batches.sum())


def _filled(name: str, given: int | None) -> pl.Expr:
    return pl.col(name).is_null() & pl.lit(given is not None)


def _forward(trace: Trace, eval_only: bool) -> pl.LazyFrame:
    forward = pl.col("stage").cast(pl.String) == "forward"
    return trace.sample_calls.filter(forward & ~pl.col("training") if eval_only else forward)


def _known(trace: Trace, calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return what the calls know of each sample: `SAMPLE`, `batch` and `time_steps`."""
    of_neurons = calls.join(neurons_of(trace).lazy().select(MODULE), on=MODULE, how="semi")
    root = pl.col("parent_call_id").is_null()
    every = calls.group_by(SAMPLE).agg(
        largest=pl.col("batch").max(), longest=pl.col("time_steps").max()
    )
    neurons = _by_module(of_neurons).agg(batch=pl.col("batch").min(), steps=pl.col("steps").max())
    roots = _by_module(calls.filter(root)).agg(pl.col("batch", "steps").max())
    return (
        every.join(neurons, on=SAMPLE, how="left")
        .join(roots, on=SAMPLE, how="left", suffix="_of_roots")
        .select(
            *SAMPLE,
            batch=pl.coalesce("batch", "batch_of_roots", "largest"),
            time_steps=pl.coalesce("steps", "steps_of_roots", "longest"),
        )
    )


def _by_module(calls: pl.LazyFrame) -> LazyGroupBy:
    """Return `batch` (the smallest) and `steps` of each module in a sample, grouped by sample."""
    steps = pl.col("time_steps")
    return (
        calls.group_by(*SAMPLE, "module_id")
        .agg(pl.col("batch").min(), steps=pl.when(steps.null_count() == 0).then(steps.sum()))
        .group_by(SAMPLE)
    )


def _unused(name: str, given: int | None, known: pl.Series) -> str | None:
    """Return a warning if the trace knows another number than the given one."""
    found = known.drop_nulls().unique().sort().to_list()
    if given is None or not found or found == [given]:
        return None
    said = ", ".join(str(each) for each in found[:4]) + (", ..." if len(found) > 4 else "")
    unused = "is not used" if not known.null_count() else "is used where it does not tell"
    return f"the trace says {said}; {name}={given} {unused}"


def _by_shape(trace: Trace, frame: pl.DataFrame) -> pl.DataFrame:
    """Fill in batches by what went into the first weight layer of a sample of known time steps."""
    open_ones = frame.filter(pl.col("batch").is_null() & pl.col("time_steps").is_not_null())
    first, steps, more = pl.col("in_first"), pl.col("time_steps"), pl.col("more")
    folded = pl.when(first % steps == 0).then(first // steps)
    batched = pl.when((more > 1) & (first == steps)).then("in_second").otherwise(folded)
    found = (
        seen_by_layers(trace, layers_of(trace), open_ones)
        .join(open_ones.drop("batch"), on=SAMPLE)
        .select(*SAMPLE, found=pl.when(more == 0).then(1).otherwise(batched))
    )
    return (
        frame.join(found, on=SAMPLE, how="left", maintain_order="left")
        .with_columns(batch=pl.coalesce("batch", "found"))
        .drop("found")
    )
