"""How many samples the covered convolutions are the inference of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import ConfigError

if TYPE_CHECKING:
    from ..trace import Trace


def samples_of(
    trace: Trace, inside: pl.DataFrame, batch: int | None, time_steps: int | None
) -> tuple[int | None, int | None, int | None]:
    """Return the samples of all inferences, the batch, and the time steps of one sample.

    A call's batch is what the trace knows, else the one given, else the one that all neurons
    agree on, else its images over the given time steps. None: unknown, or not the same
    everywhere.

    Args:
        trace: the trace.
        inside: rows of `conv_calls` that are covered.
        batch: samples in a call of which the trace does not know it.
        time_steps: time steps in such a call.

    Raises:
        ConfigError: a given number is not at least 1.
    """
    for name, given in (("batch", batch), ("time_steps", time_steps)):
        if given is not None and given < 1:
            raise ConfigError(f"{name} = {given}: it is at least 1")
    if inside.is_empty():
        return None, batch, time_steps
    calls = _calls(trace, inside)
    if batch is None:
        batch = _agreed(trace)
    known = pl.lit(batch, pl.Int64)
    steps = pl.lit(time_steps, pl.Int64)
    images = pl.col("images")
    divided = pl.when((steps > 0) & (images % steps == 0)).then(images // steps)
    calls = calls.with_columns(batch=pl.coalesce("batch", known, divided))
    each = calls.group_by("rank", "sample").agg(
        pl.col("batch").max(), open=pl.col("batch").has_nulls()
    )
    if each["open"].any():
        return None, batch, time_steps
    runs = calls.group_by("rank", "sample", "module_id").agg(
        steps=(pl.col("images") / pl.col("batch")).sum()
    )
    return int(each["batch"].sum()), _one(each["batch"]), time_steps or _one(runs["steps"])


def _calls(trace: Trace, inside: pl.DataFrame) -> pl.DataFrame:
    """Return `rank`, `module_id`, `sample`, `batch` and `images` of the covered module calls."""
    images = pl.col("outputs").list.first().struct.field("shape")
    modules = inside.select("rank", "module_id", "training", "stage").unique()
    return (
        trace.module_calls.with_columns(pl.col("stage").cast(pl.String))
        .join(modules.lazy(), on=["rank", "module_id", "training", "stage"], how="semi")
        .select(
            "rank",
            "module_id",
            "sample",
            batch=pl.when(images.list.len() == 3).then(1).otherwise("batch"),
            images=pl.when(images.list.len() == 5)
            .then(images.list.get(0, null_on_oob=True) * images.list.get(1, null_on_oob=True))
            .when(images.list.len() == 3)
            .then(1)
            .otherwise(images.list.first()),
        )
        .collect()
    )


def _agreed(trace: Trace) -> int | None:
    """Return the batch that all neuron calls have; None if they differ or do not tell."""
    neurons = trace.modules.filter(pl.col("neuron").is_not_null()).select("rank", "module_id")
    return _one(
        trace.module_calls.join(neurons.lazy(), on=["rank", "module_id"], how="semi")
        .select(pl.col("batch").drop_nulls().unique())
        .collect()["batch"]
    )


def _one(values: pl.Series) -> int | None:
    """Return the one whole number that a column holds, None if it holds others too."""
    found = values.drop_nulls().unique()
    return int(found[0]) if len(found) == 1 and float(found[0]).is_integer() else None
