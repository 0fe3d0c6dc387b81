"""Which samples and time steps of its sample a call of a layer works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ...schemas import TraceError
from ..frames import at_once
from ..trace.files import collected

if TYPE_CHECKING:
    from ..trace.trace import Trace

SEEN = ("sample", "in_dims", "in_first", "in_second")
"""Columns of layer calls that their share is read off: sample, dimensions, first two sizes."""


def seen_by_layers(trace: Trace, layers: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Return what went into the first weight layer of samples.

    Args:
        trace: the trace.
        layers: what `layers_of` returns.
        samples: `rank` and `sample` of those that are asked for.

    Returns:
        `rank`, `sample`, `in_first`, `in_second` and `more`, dimensions beyond a single sample's.
    """
    shape = pl.col("inputs").list.first().struct.field("shape")
    return (
        trace.sample_calls.filter(pl.col("stage").cast(pl.String) == "forward")
        .join(samples.lazy().select("rank", "sample"), on=["rank", "sample"], how="semi")
        .join(layers.lazy().select("rank", "module_id", "kind"), on=["rank", "module_id"])
        .select(
            "rank", "sample", "first_seq",
            in_first=shape.list.get(0, null_on_oob=True),
            in_second=shape.list.get(1, null_on_oob=True),
            more=shape.list.len().cast(pl.Int64) - _alone(),
        )
        .pipe(collected, trace)
        .sort("rank", "first_seq")
        .unique(["rank", "sample"], keep="first", maintain_order=True)
        .drop("first_seq")
    )  # fmt: skip


def _alone() -> pl.Expr:
    """Return the dimensions of an input that is one sample: channels, and space."""
    space = pl.col("kind").str.extract(r"(\d)d$").cast(pl.Int64)
    return 1 + space.fill_null(0)


def with_shares(layers: pl.DataFrame, samples: pl.DataFrame, *, spiking: bool) -> pl.DataFrame:
    """Return grouped layer calls with `batch` and `time_steps`: their share of their sample.

    With B samples and T steps in the sample, and t = T over the calls of the layer in it, an input
    of [t, B, ...], t·B first or [B, t, ...] holds t steps; of [T, B, ...] or T·B all of them; of
    B, or a multiple of it (windows, tokens), one step. An input without a batch dimension is one
    sample, and so is what no batch is in: it does not depend on it. Where a layer is given all of
    B samples once and fewer at other times, these are what is left of the batch, for one step.

    Args:
        layers: rows with `rank`, `module_id`, `module`, `kind`, `stage`, `calls` and the columns of
            `SEEN`.
        samples: `Samples.frame`.
        spiking: whether the network has neurons; without, a sample of unknown time steps is one.

    Raises:
        TraceError: time steps of a sample are unknown, or the numbers given do not fit an input.
    """
    of = samples.lazy().rename({"batch": "of_batch", "time_steps": "of_steps"})
    steps = pl.col("of_steps") if spiking else pl.col("of_steps").fill_null(1)
    known = (
        layers.lazy()
        .drop("batch", "time_steps", strict=False)
        .join(of, on=["rank", "sample"], how="left", maintain_order="left")
        .with_columns(steps)
        .pipe(at_once)
    )
    _refuse_open(known)
    runs = pl.col("calls").sum().over("rank", "module_id", "sample", "stage")
    each = pl.when(pl.col("of_steps") % runs == 0).then(pl.col("of_steps") // runs).otherwise(1)
    return (
        known.lazy()
        .with_columns(
            each=each,
            more=pl.col("in_dims") - _alone(),
            of_batch=pl.coalesce("of_batch", "in_first", pl.lit(1)),
        )
        .with_columns(left=_left())
        .with_columns(of_batch=pl.when("left").then("in_first").otherwise("of_batch"))
        .with_columns(time_steps=_steps())
        .pipe(at_once)
        .pipe(_fitting)
        .lazy()
        .with_columns(batch=pl.when(pl.col("time_steps") == 0).then(1).otherwise("of_batch"))
        .with_columns(pl.max_horizontal("time_steps", 1).alias("time_steps"))
        .drop("each", "more", "left", "of_batch", "of_steps", "given")
        .pipe(at_once)
    )


def _left() -> pl.Expr:
    """Tell which inputs are what is left of a batch that the layer once took as a whole."""
    alone, first, batch = pl.col("more") == 1, pl.col("in_first"), pl.col("of_batch")
    whole = (alone & (first == batch)).any().over("rank", "module_id", "sample", "stage")
    return whole & alone & (first < batch)


def _steps() -> pl.Expr:
    """Return the time steps in an input; 0 if it holds no batch."""
    first, second = pl.col("in_first"), pl.col("in_second")
    batch, steps, each = pl.col("of_batch"), pl.col("of_steps"), pl.col("each")
    timed = pl.col("more") > 1
    return (
        pl.when(pl.col("more") <= 0)
        .then(0)
        .when((timed & (first == each) & (second == batch)) | (first == each * batch))
        .then(each)
        .when(timed & (each > 1) & (first == batch) & (second == each))
        .then(each)
        .when((timed & (first == steps) & (second == batch)) | (first == steps * batch))
        .then(steps)
        .when(first == batch)
        .then(1)
        .when(first % (each * batch) == 0)
        .then(each)
        .when(first % batch == 0)
        .then(1)
        .when(timed & (second == batch))
        .then(pl.when(first <= steps).then(first).otherwise(1))
        .otherwise(0)
    )


def _fitting(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the calls; raise TraceError if the numbers that were given fit an input nowhere."""
    wrong = calls.filter((pl.col("time_steps") == 0) & (pl.col("more") > 0) & pl.col("given"))
    if wrong.height:
        row = wrong.row(0, named=True)
        raise TraceError(
            f"{row['module']}: an input of {row['in_dims']} dimensions, of sizes "
            f"{row['in_first']}, {row['in_second']}, ..., is no part of {row['of_batch']} samples "
            f"in {row['of_steps']} time steps: give batch and time_steps that fit (--batch, "
            "--time-steps)"
        )
    return calls


def _refuse_open(calls: pl.DataFrame) -> None:
    """Raise TraceError for a spiking network whose time steps are not known."""
    open_ones = calls.filter(pl.col("of_steps").is_null())
    if open_ones.height:
        row = open_ones.row(0, named=True)
        raise TraceError(
            f"{row['module']}: the trace does not tell the batch and time steps of its sample: "
            "give batch and time_steps (--batch, --time-steps)"
        )


def steps_in_sample(*apart: str) -> pl.Expr:
    """Return, for grouped calls, the time steps that their module runs in their sample.

    Args:
        apart: columns that tell calls of a module apart, beside the sample.
    """
    steps = pl.col("time_steps") * pl.col("calls")
    return steps.sum().over("rank", "module_id", "sample", *apart)
