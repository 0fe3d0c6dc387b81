"""How many samples and time steps a layer call holds, where the trace does not say."""

from __future__ import annotations

import polars as pl

from ...schemas import TraceError

_STEPS = ("batch", "time_steps")


def with_steps(
    layers: pl.DataFrame, neurons: pl.DataFrame, batch: int | None, time_steps: int | None
) -> pl.DataFrame:
    """Return layer calls with `batch` and `time_steps` filled in.

    What the trace knows stays. Elsewhere the given numbers, else those that all neurons agree on,
    are looked for in the input's shape; a network without neurons has one time step.

    Args:
        layers: rows of `layer_calls`.
        neurons: rows of `neuron_calls`.
        batch: samples in a call, for calls of which the trace does not know it.
        time_steps: time steps of a sample, likewise.

    Raises:
        TraceError: a call stays open; names its module and the options that settle it.
    """
    batch, time_steps = batch or _agreed(neurons, "batch"), time_steps or _steps_of(neurons)
    keys = ["module", "in_shape", *_STEPS]
    rows = [
        (*row, *_resolve(*row, batch=batch, steps=time_steps))
        for row in layers.select(keys).unique(maintain_order=True).rows()
    ]
    found = pl.DataFrame(
        rows,
        schema={**{key: layers.schema[key] for key in keys}, "b": pl.Int64, "t": pl.Int64},
        orient="row",
    )
    return (
        layers.join(found, on=keys, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(batch="b", time_steps="t")
        .drop("b", "t")
    )


def _agreed(neurons: pl.DataFrame, column: str) -> int | None:
    """Return what all neuron calls have in a column, None if they differ or do not know."""
    found = neurons[column].drop_nulls().unique()
    return int(found[0]) if len(found) == 1 else None


def _steps_of(neurons: pl.DataFrame) -> int | None:
    return 1 if neurons.is_empty() else _agreed(neurons, "time_steps")


def _resolve(
    module: str,
    shape: list[int] | None,
    known_batch: int | None,
    known_steps: int | None,
    *,
    batch: int | None,
    steps: int | None,
) -> tuple[int, int]:
    """Return (batch, time steps) of an input of `shape`."""
    if known_batch and known_steps:
        return known_batch, known_steps
    first, second = [*(shape or []), 0, 0][:2]
    steps = known_steps or steps
    if steps == 1:
        return known_batch or first or 1, 1
    if steps and first == steps and second and batch in (None, second):
        return second, steps
    if steps and batch and first == steps * batch:
        return batch, steps
    if batch and first == batch:
        return batch, 1
    if steps and not batch and first and first % steps == 0:
        return first // steps, steps
    raise TraceError(
        f"{module}: an input of shape {shape} does not tell its batch and time steps: "
        "give batch and time_steps (--batch, --time-steps)"
    )


def samples_in(layers: pl.DataFrame) -> int | None:
    """Return how many samples the calls are the inference of: the batches of all samples added."""
    if layers.is_empty():
        return None
    batches = layers.group_by("rank", "sample").agg(pl.col("batch").max())["batch"]
    return None if batches.null_count() else int(batches.sum())


def steps_in_sample() -> pl.Expr:
    """Return, for each call, the time steps that its module runs in its sample."""
    return pl.col("time_steps").sum().over("rank", "module_id", "sample")
