"""How many samples and time steps a layer call holds, where the trace does not say."""

from __future__ import annotations

import polars as pl

from ...schemas import TraceError

SEEN = ("kind", "in_dims", "in_first", "in_second", "batch", "time_steps")
"""Columns of layer calls that batch and time steps are read off."""

_FOUND = {
    "module": pl.String,
    "kind": pl.String,
    **dict.fromkeys((*SEEN[1:], "b", "t"), pl.Int64),
}


def with_steps(
    layers: pl.DataFrame, neurons: pl.DataFrame, batch: int | None, time_steps: int | None
) -> pl.DataFrame:
    """Return layer calls with `batch` and `time_steps` filled in.

    What the trace knows stays. Elsewhere the given numbers, else those that all neurons agree on,
    are looked for in the input's shape; a network without neurons has one time step. An input
    without a batch dimension is one sample.

    Args:
        layers: rows with `module` and the columns of `SEEN`.
        neurons: rows of `neuron_calls`.
        batch: samples in a call, for calls of which the trace does not know it.
        time_steps: time steps of a sample, likewise.

    Raises:
        TraceError: a call stays open; names its module and the options that settle it.
    """
    batch = batch or agreed(neurons["batch"])
    steps = time_steps or (1 if neurons.is_empty() else agreed(neurons["time_steps"]))
    keys = ["module", *SEEN]
    rows = [
        (*row, *_resolve(*row, given_batch=batch, given_steps=steps))
        for row in layers.select(keys).unique(maintain_order=True).iter_rows()
    ]
    found = pl.DataFrame(rows, schema=_FOUND, orient="row")
    return (
        layers.join(found, on=keys, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(batch="b", time_steps="t")
        .drop("b", "t")
    )


def agreed(values: pl.Series) -> int | None:
    """Return the one number that a column holds, None if it holds several or none."""
    found = values.drop_nulls().unique()
    return int(found[0]) if len(found) == 1 else None


def _unbatched_dims(kind: str) -> int:
    """Return the dimensions of an input that is one sample: channels and space."""
    return 1 if kind == "Linear" else 1 + int(kind[-2])


def _resolve(
    module: str,
    kind: str,
    dims: int | None,
    first: int | None,
    second: int | None,
    known_batch: int | None,
    known_steps: int | None,
    *,
    given_batch: int | None,
    given_steps: int | None,
) -> tuple[int, int]:
    """Return (batch, time steps) of an input with so many dimensions, first and second size."""
    if dims == _unbatched_dims(kind):
        return 1, 1
    if known_batch and known_steps:
        return known_batch, known_steps
    first, second = first or 0, second or 0
    batch, steps = given_batch, known_steps or given_steps
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
        f"{module}: an input of {dims} dimensions, the first {first} and {second}, does not tell "
        "its batch and time steps: give batch and time_steps (--batch, --time-steps)"
    )


def samples_in(layers: pl.DataFrame) -> int | None:
    """Return how many samples the calls are the inference of: the batches of all samples added."""
    if layers.is_empty():
        return None
    batches = layers.group_by("rank", "sample").agg(pl.col("batch").max())["batch"]
    return None if batches.null_count() else int(batches.sum())


def steps_in_sample() -> pl.Expr:
    """Return, for grouped calls, the time steps that their module runs in their sample."""
    steps = pl.col("time_steps") * pl.col("calls")
    return steps.sum().over("rank", "module_id", "sample")
